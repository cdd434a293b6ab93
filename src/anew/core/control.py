"""Whom a new group is compared with, how much traffic that keeps, and for how long.

Rules

1. It is the old group; or, with `baseline: fresh`, instances of the same seal that are started together with the new
   ones, for what has run for long differs from what has just begun. They are a group of their own, the baseline:
   `web-g1b2` has the seal of `web-g1`, and stands beside the new group of g2.
2. An instance of the baseline gets as much traffic as a new one, as far as the stage leaves so much; the old group has
   the rest, and has all of that while no instance of the baseline can be reached.
3. With `warm: {control: 2%}` the comparison goes on after `full`: whom the new group was compared with keeps so much
   until the warm window is over, or as long as any instance of it can be reached.
4. A service that others call has a baseline only if each of these callers is shared by both generations, or calls it
   in both and has a baseline itself: no other requests would come there than to the new group.
5. What is not judged in stages is compared with nobody; nor is what a rollback goes back to.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from anew.core import names, traffic
from anew.core.machine import BEFORE_FULL
from anew.core.world import GroupState, World
from anew.model import Generation, Group, Member, PerMille, Phase, Rollout

MOST_FRESH = 3  # instances of a baseline
_AFTER: frozenset[Phase] = frozenset({"full", "warm"})

Members = Mapping[str, Member]  # by service


def sides(rollout: Rollout, generations: Mapping[int, Generation]) -> tuple[Members, Members]:
    """Return the members of the old and of the new generation of a rollout."""
    old, new = ({m.service: m for m in generations[n].members} if n else {} for n in (rollout.old, rollout.new))
    return old, new


def controls(rollout: Rollout, old: Members, new: Members) -> dict[str, Member]:
    """Return with whom the new group of each judged service is compared."""
    if rollout.kind == "rollback":
        return {}
    judged = traffic.judged(old, new)
    fresh = _fresh([s for s in judged if _may_be_fresh(new[s])], old, new)
    return {s: _baseline(old[s], new[s], rollout.new) if s in fresh else old[s] for s in judged}


def baselines(rollout: Rollout, old: Members, new: Members) -> tuple[Member, ...]:
    """Return the members of no generation that stand beside the new ones, to be compared with."""
    return tuple(one for s, one in controls(rollout, old, new).items() if one.group != old[s].group)


def wanted(world: World) -> tuple[Member, ...]:
    """Return the baselines that shall run now."""
    rollout = world.rollout
    if rollout is None or rollout.phase not in BEFORE_FULL | _AFTER:
        return ()
    old, new = world.members(rollout.old), world.members(rollout.new)
    is_before = rollout.phase in BEFORE_FULL
    return tuple(m for m in baselines(rollout, old, new) if is_before or new[m.service].policy.warm_control)


def watched(rollout: Rollout, old: Members, new: Members) -> dict[str, Member]:
    """Return with whom each service is compared in the phase that the rollout is in."""
    found = controls(rollout, old, new)
    if rollout.phase == "stage":
        return found
    if rollout.phase not in _AFTER:
        return {}
    return {service: one for service, one in found.items() if new[service].policy.warm_control}


def late_stage(rollout: Rollout, generations: Mapping[int, Generation]) -> int | None:
    """Return the number under which is counted what is compared after `full`, as if it were one more stage.

    Returns  None if nothing is compared then, or it is not yet `full`.
    """
    if rollout.phase not in _AFTER:
        return None
    old, new = sides(rollout, generations)
    return traffic.stage_count(old, new) if watched(rollout, old, new) else None


def apart(
    rollout: Rollout, generations: Mapping[int, Generation], has: Mapping[str, Mapping[str, PerMille]]
) -> frozenset[str]:
    """Return the groups whose requests say nothing just now: whom they are compared with has no part of the traffic.

    Of an outage in that time only one side would tell, and be blamed for it. Those are among them that nothing is
    compared with any more, while others are.
    """
    old, new = sides(rollout, generations)
    found = watched(rollout, old, new)
    lonely = [
        one
        for s, one in controls(rollout, old, new).items()
        if s not in found or (new[s].kind in traffic.LISTENING and not has.get(s, {}).get(one.group))
    ]
    return frozenset(group for one in lonely for group in (one.group, new[one.service].group))


def weights(world: World, rollout: Rollout) -> dict[str, dict[str, PerMille]]:
    """Return the weights that belong to the phase of a rollout, as `traffic.wanted_weights` does."""
    old, new = world.members(rollout.old), world.members(rollout.new)
    found = controls(rollout, old, new)
    if rollout.phase in _AFTER:
        found = {s: one for s, one in found.items() if world.reachable(one.group)}
    else:
        found = {s: one if world.reachable(one.group) else old[s] for s, one in found.items()}
    return traffic.wanted_weights(old, new, rollout.phase, rollout.stage, found)


def groups_beside(world: World) -> dict[str, GroupState]:
    """Return the groups that are added when the rollout begins, without doors that could be opened."""
    rollout = world.rollout
    ones = baselines(rollout, world.members(rollout.old), world.members(rollout.new)) if rollout else ()
    states = {m.group: world.groups.get(names.original(m.group)) for m in ones if m.group not in world.groups}
    return {name: GroupState(_copied(state.group, name)) for name, state in states.items() if state}


def _copied(group: Group, name: str) -> Group:
    return replace(group, name=name, doors=tuple(replace(door, port=0) for door in group.doors))


def _fresh(services: Sequence[str], old: Members, new: Members) -> set[str]:
    """Return which of these services have a baseline to which the same requests come as to the new group.

    A changed caller reaches the callee of its own generation, whatever the weights are; so does its baseline.
    """
    found = set(services)
    kept = {m.group for m in old.values()} & {m.group for m in new.values()}
    calls = [{s: m.needs for s, m in members.items() if m.group not in kept} for members in (old, new)]
    callers = {*calls[0], *calls[1]}
    while lost := {s for s in found if any(not _calls_alike(s, caller, calls, found) for caller in callers)}:
        found -= lost
    return found


def _calls_alike(
    service: str, caller: str, calls: Sequence[Mapping[str, Sequence[str]]], found: Container[str]
) -> bool:
    """Say whether a changed caller calls in neither generation, or in both, and then with a baseline of its own."""
    does = [service in one.get(caller, ()) for one in calls]
    return not any(does) or (all(does) and caller in found)


def _may_be_fresh(member: Member) -> bool:
    return member.policy.is_fresh and member.kind in traffic.LISTENING


def _baseline(old: Member, new: Member, generation: int) -> Member:
    name = names.baseline_name(old.group, generation)
    return replace(old, group=name, size=min(MOST_FRESH, new.size), before=(), tests=(), hosts=(), port=0)
