"""Commands that are run to their end: once per generation before its first traffic, or by the clock.

A run is an allotment with the key of its task, so it has an ordinal that is never used again, is launched once however
often a keeper is killed, and is found again. Its outcome is committed when it is retired.

Rules

1. A command of `before` runs once for each generation that brings a new group of its service, one after the other, and
   before the group's own instances start. One that fails takes the rollout back.
2. A scheduled run belongs to the generation that serves, never overlaps the one before it, and is not made up for
   where it was missed more than once: the last time counts.
3. What takes longer than its bound is stopped, and has failed.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from anew.core import control, traffic
from anew.core.steps import Allot, Drain, Launch, Retire, Step, Stop
from anew.core.world import Allotment, TaskState, World
from anew.model import Member, Rollout, Seconds
from anew.model import Task as Command

GRACE: Seconds = 10.0  # from SIGTERM to SIGKILL


@dataclass(frozen=True, slots=True)
class Work:
    """What tasks need now, and when to look again."""

    steps: tuple[Step, ...] = ()
    waits: tuple[float, ...] = ()


def key_before(generation: int, service: str, index: int) -> str:
    """Return the key of a command of `before`.

    >>> key_before(43, "web", 0)
    'before g43 web 0'
    """
    return f"before g{generation} {service} {index}"


def key_scheduled(service: str) -> str:
    """Return the key of a service's scheduled runs: they share it, so that only one is under way."""
    return f"schedule {service}"


def is_scheduled(one: Allotment) -> bool:
    """Say whether an allotment is a run by the clock, and not a command of `before`."""
    return one.task.startswith("schedule ")


def command(world: World, one: Allotment) -> Command:
    """Return what an allotment runs, and its bound."""
    kind, *rest = one.task.split(" ")
    seal = world.groups[one.group].group.seal
    if kind == "schedule":
        return Command(seal.command, seal.within)
    number, service, index = int(rest[0][1:]), rest[1], int(rest[2])
    return world.members(number)[service].before[int(index)]


def is_prepared(world: World, rollout: Rollout, member: Member) -> bool:
    """Say whether all commands that must run before a group's instances have ended well."""
    return all(key in world.tasks and world.tasks[key].is_passed for key in _keys(world, rollout, member))


def failure(world: World, rollout: Rollout) -> str:
    """Say which command of `before` failed, and how; "" if none."""
    for member in world.members(rollout.new).values():
        for index, key in enumerate(_keys(world, rollout, member)):
            state = world.tasks.get(key)
            if state is not None and state.outcome and not state.is_passed:
                said = " ".join(member.before[index].run)
                where = f"`anew logs {state.instance}` shows what it wrote"
                return f"what must run before {member.group} failed: {said}: {state.outcome}; {where}"
    return ""


def waiting(world: World, rollout: Rollout) -> tuple[str, Seconds]:
    """Return which commands of `before` have not ended ("" if all have), and how long they all may take."""
    left, bound = [], 0.0
    for member in world.members(rollout.new).values():
        for index, key in enumerate(_keys(world, rollout, member)):
            bound += member.before[index].within
            if key not in world.tasks or not world.tasks[key].outcome:
                left.append(f"{' '.join(member.before[index].run)} of {member.service}")
    return ", ".join(left), bound


def look(world: World, taken: Container[str] = ()) -> Work:
    """Return what to do about tasks; groups that are `taken` allot an instance already, and have to wait."""
    steps: list[Step] = []
    waits: list[float] = []
    for _, one in sorted(world.running.items()):
        _tend(world, one, steps, waits)
    for group, key, due in (*_begun_before(world), *_begun_by_the_clock(world, waits)):
        if group in world.groups and group not in taken:
            steps.append(Allot(group, world.groups[group].next_ordinal, key, due))
    return Work(tuple(steps), tuple(waits))


def _keys(world: World, rollout: Rollout, member: Member) -> tuple[str, ...]:
    before = world.members(rollout.old).get(member.service)
    if rollout.kind == "rollback" or (before is not None and before.group == member.group):
        return ()  # it served before, so what had to run has run
    return tuple(key_before(rollout.new, member.service, n) for n in range(len(member.before)))


def _tend(world: World, one: Allotment, steps: list[Step], waits: list[float]) -> None:
    seen = world.seen.get(one.name)
    if seen is None:
        if _is_wanted(world, one) and not one.draining:
            steps.append(Launch(one.name, one.group))
        else:
            steps.append(Retire(one.name, "never started", is_death=False))
        return
    task = command(world, one)
    if not seen.is_alive:
        ended = seen.ended or "unknown"
        steps.append(Retire(one.name, f"stopped, {ended}" if one.draining else ended, is_death=False))
    elif one.draining:
        steps.append(Stop(one.name, GRACE))
    elif seen.started + task.within <= world.now or not _is_wanted(world, one):
        steps.append(Drain(one.name))
    else:
        waits.append(seen.started + task.within)


def _is_wanted(world: World, one: Allotment) -> bool:
    """A scheduled run ends by itself, whoever serves meanwhile; a command of `before` goes with its rollout.

    Where all is disposed of, nothing is wanted.
    """
    if is_scheduled(one):
        return bool(world.wish)
    rollout = world.rollout
    return rollout is not None and rollout.phase == "prepare" and one.task.startswith(f"before g{rollout.new} ")


def _begun_before(world: World) -> Iterator[tuple[str, str, float]]:
    rollout = world.rollout
    if rollout is None or rollout.phase != "prepare":
        return
    if any(key.startswith("before ") and not _is_wanted(world, one) for key, one in world.running.items()):
        return  # what another rollout has left is not disturbed: it ends first
    if any(world.reachable(one.group) < one.size for one in control.wanted(world)):
        return  # what can't be started again is no way back, so nothing is done yet that can't be undone
    for member in world.members(rollout.new).values():
        key = _next(world, _keys(world, rollout, member))
        if key and _can_call(world, rollout, member):
            yield member.group, key, 0.0


def _begun_by_the_clock(world: World, waits: list[float]) -> Iterator[tuple[str, str, float]]:
    serving = world.generations.get(world.serving)
    for member in world.members(world.serving).values():
        seal = world.groups[member.group].group.seal if member.group in world.groups else None
        if seal is None or not seal.schedule or serving is None:
            continue
        key = key_scheduled(member.service)
        last, following = world.due.get(seal.schedule, (0.0, 0.0))
        state = world.tasks.get(key, TaskState(""))
        if last > max(state.due, serving.at) and key not in world.running:
            yield member.group, key, last
        elif following:
            waits.append(following)


def _next(world: World, keys: tuple[str, ...]) -> str:
    """Return the first command that was not begun, if those before it have ended well."""
    for key in keys:
        if key in world.running:
            return ""
        if key not in world.tasks:
            return key
        if not world.tasks[key].is_passed:
            return ""
    return ""


def _can_call(world: World, rollout: Rollout, member: Member) -> bool:
    """Say whether what the member calls is there: in this generation, or in the old one that hands it over."""
    old, new = world.members(rollout.old), world.members(rollout.new)
    for callee in (new[s] for s in member.needs if s in new):
        before = old.get(callee.service)
        is_there = world.reachable(callee.group) > 0
        if before is not None and traffic.is_handed_over(callee, before):
            # Until `full` the old one is there in its place; where that never listened there is nobody to wait for.
            is_there = is_there or world.reachable(before.group) > 0 or before.kind != callee.kind
        if not is_there:
            return False
    return True
