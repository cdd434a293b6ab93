"""How many instances each group shall have now.

Rules

1. What listens is prepared at full size before it gets traffic, and stays at it while a needed generation wants it.
2. A worker takes work as soon as it runs, so its number of instances is its weight: none before stage 1, in a stage at
   least one beside the old ones, all of them at `full`, and none while it is only warm. Going back starts it again.
3. What may exist once (a singleton, a group with a volume that is not shared) is handed over at `full`: the old group
   is drained to the last instance, and then the new one starts.
4. Where there is nobody yet whose work could be disturbed, all start at once.
5. A group whose generation has commands to run before waits for them.
"""

from __future__ import annotations

from anew.core import control, tasks, traffic
from anew.core.retention import AFTER_FULL, needed
from anew.core.world import World
from anew.model import Member, Rollout


def sizes(world: World) -> dict[str, int]:
    """Return how many instances each needed group must have: the most that a needed generation asks for.

    Once a generation has all the traffic, its own size holds for the groups that it shares with warm ones.
    """
    out: dict[str, int] = {}
    for number in needed(world):
        for member in world.members(number).values():
            out[member.group] = max(out.get(member.group, 0), _size(world, number, member))
    out |= {member.group: member.size for member in control.wanted(world)}
    if world.rollout is None or world.rollout.phase == "warm":
        for member in world.members(world.serving).values():
            out[member.group] = _size(world, world.serving, member)
    return out


def is_staffed(world: World, number: int) -> bool:
    """Say whether every group of a generation has as many ready instances as it shall have in the end."""
    return all(world.ready(m.group) >= m.size for m in world.members(number).values())


def is_taken_in_turn(world: World, member: Member, other: int) -> bool:
    """Say whether a member runs only while its generation has the traffic: it can't be prepared, nor kept warm.

    `other` is the generation between which and its own the traffic passes; 0: there is none, and all start at once.
    """
    beside = world.members(other).get(member.service)
    if not other or (beside is not None and beside.group == member.group):
        return False
    return member.kind == "worker" or traffic.is_handed_over(member, beside)


def must_yield(world: World, group: str) -> bool:
    """Say whether a group must end, though it has traffic, before the one may start that shall have it."""
    service = world.groups[group].group.service
    rollout = world.rollout
    number = world.serving
    if rollout is not None:
        number = rollout.new if rollout.phase in AFTER_FULL else rollout.old
    successor = world.members(number).get(service)
    if successor is None or successor.group == group:
        return False
    return group in world.alone or successor.group in world.alone


def _size(world: World, number: int, member: Member) -> int:
    rollout = world.rollout
    if rollout is None or number not in {rollout.old, rollout.new}:
        is_resting = number != world.serving and (member.kind == "worker" or _meets_one_alone(world, member))
        return 0 if is_resting else member.size
    is_new = number == rollout.new
    if is_new and not tasks.is_prepared(world, rollout, member):
        return 0
    other = rollout.old if is_new else rollout.new
    if not rollout.old or not is_taken_in_turn(world, member, other):
        return member.size
    beside = world.members(other).get(member.service)
    if traffic.is_handed_over(member, beside):
        return member.size if is_new == (rollout.phase in AFTER_FULL) else 0
    return _shared_out(world, rollout, member, beside, is_new=is_new)


def _meets_one_alone(world: World, member: Member) -> bool:
    """Say whether a member of a generation that is only warm, or one that has its place, must be alone."""
    rollout = world.rollout
    now = (world.serving,) if rollout is None else (rollout.old, rollout.new)
    others = (world.members(n).get(member.service) for n in now)
    return member.is_alone or any(traffic.is_handed_over(member, one) for one in others)


def _shared_out(world: World, rollout: Rollout, member: Member, beside: Member | None, *, is_new: bool) -> int:
    """Return the number of workers of one side; the other side keeps one until this side has what it needs."""
    if rollout.phase == "stage":
        old, new = (beside, member) if is_new else (member, beside)
        count = 0 if new is None or new.kind != "worker" else traffic.staged_size(old, new, rollout.stage)
        return count if is_new else min(member.size, max(1, member.size - count))
    if is_new == (rollout.phase in AFTER_FULL):
        return member.size
    has_successor = beside is None or world.ready(beside.group) >= beside.size
    if rollout.phase == "full" and not has_successor:
        return min(1, member.size, len(world.by_group.get(member.group, ())))
    return 0
