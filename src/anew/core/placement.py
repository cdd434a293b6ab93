"""Turn the wanted size of a group into named launches, drains and disposals, where the engine does not do it itself.

Rules

1. An ordinal is committed before it is launched, and never used twice: a dead instance gets a successor, not a restart.
2. Of too many instances the ready ones stay.
3. A group whose instances keep dying is replaced ever more slowly; a rollout gives up long before that.
4. What may exist once waits for its predecessor's end, also within its group.
5. Who has to go though it lives (see `aside`) waits for its successor.
6. An instance is stopped only when the edge no longer sends it anything, and nothing is in flight or the bound is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from anew.core import aside
from anew.core.aside import Leaving
from anew.core.steps import Allot, Drain, Launch, Retire, Step, Stop
from anew.core.world import Allotment, World
from anew.model import Policy, Seconds

SLOWEST: Seconds = 60.0  # between two launches of a group whose instances keep dying
FORGIVEN: Seconds = 600.0  # a death this long ago no longer slows the next launch
MOST_FORGIVEN = 56  # deaths at once; the journal remembers a few more, by which it gets slow


@dataclass(frozen=True, slots=True)
class Placement:
    """What a group needs now, and when to look again."""

    steps: tuple[Step, ...] = ()
    waits: tuple[float, ...] = ()


def place(world: World, group: str, size: int, policy: Policy) -> Placement:
    """Bring `group` to `size` living instances, at least one; dead, hung and surplus ones go."""
    dead, leaving, living = _sorted(world, group)
    steps: list[Step] = list(_retire(world, dead))
    waits: list[float] = []
    _part(world, leaving, policy, steps, waits)
    hung = _hung(world, living, policy, waits)
    steps += [Drain(one.name) for one in hung]
    sound = [one for one in living if one not in hung]
    going = aside.leaving(world, group, sound)
    waits += going.waits
    staying = [one for one in sound if one not in going.urgent and one != going.next]
    steps += [Drain(one.name) for one in _parting(world, group, size, going, staying)]
    ranked = sorted(staying, key=lambda a: (not world.is_ready(a.name), a.ordinal))
    steps += [Drain(one.name) for one in ranked[size:]]
    kept = ranked[:size]
    room = _room(world, group, size)
    steps += [Launch(one.name, group) for one in [k for k in kept if k.name not in world.seen][:room]]
    missing = min(size - len(kept), room)
    if missing > 0:
        at = next_launch(world, group, size)
        if at > world.now:
            waits.append(at)
        else:
            first = world.groups[group].next_ordinal
            steps += [Allot(group, first + n) for n in range(missing)]
    return Placement(tuple(steps), tuple(waits))


def clear(world: World, group: str, policy: Policy) -> Placement:
    """Drain, stop and dispose of all instances of a group that nothing needs. It must have no weight."""
    dead, leaving, living = _sorted(world, group)
    steps: list[Step] = list(_retire(world, dead))
    waits: list[float] = []
    for one in living:
        if one.name in world.seen:
            steps.append(Drain(one.name))
        else:
            steps.append(Retire(one.name, "never started", is_death=False))
    _part(world, leaving, policy, steps, waits)
    return Placement(tuple(steps), tuple(waits))


def _parting(world: World, group: str, size: int, going: Leaving, staying: Iterable[Allotment]) -> Iterator[Allotment]:
    """Yield those who have to go and may: who listens and is ready waits for those who take its place."""
    ready = sum(1 for one in staying if world.is_ready(one.name))
    is_alone = group in world.alone
    for one in going.urgent:
        if ready or is_alone or not world.is_ready(one.name):
            yield one
    one_more = going.next
    if one_more is not None and (ready >= size or is_alone or not world.is_ready(one_more.name)):
        yield one_more


def next_launch(world: World, group: str, size: int) -> float:
    """Return the earliest time of the next launch: at once while each of `size` has died once, then later and later."""
    recent = [at for at in world.groups[group].deaths if world.now - FORGIVEN < at <= world.now]
    # The first death is an accident, and may be everybody's: a machine that was restarted.
    more = len(recent) - min(max(1, size), MOST_FORGIVEN)
    return recent[-1] + min(SLOWEST, 2.0 ** (more - 1)) if more > 0 else world.now


def _sorted(world: World, group: str) -> tuple[list[Allotment], list[Allotment], list[Allotment]]:
    dead, leaving, living = [], [], []
    for one in world.by_group.get(group, ()):
        seen = world.seen.get(one.name)
        if seen is not None and not seen.is_alive:
            dead.append(one)
        elif one.draining:
            leaving.append(one)
        else:
            living.append(one)
    return dead, leaving, living


def _retire(world: World, dead: Iterable[Allotment]) -> Iterable[Retire]:
    for one in dead:
        ended = world.seen[one.name].ended or "unknown"
        if one.draining:
            why = f"tainted ({one.tainted}), " if one.tainted else ""
            yield Retire(one.name, f"{why}stopped, {ended}", is_death=False)
        else:
            yield Retire(one.name, f"died, {ended}", is_death=True)


def _part(world: World, leaving: Iterable[Allotment], policy: Policy, steps: list[Step], waits: list[float]) -> None:
    for one in leaving:
        if one.name not in world.seen:
            steps.append(Retire(one.name, "never started", is_death=False))
        elif not _is_out_of_traffic(world, one.name) or world.is_last(one):
            continue  # the edge is told first, or a successor must be ready first
        elif not world.edge.in_flight.get(one.name, 0) or world.now >= one.draining + policy.drain:
            until = aside.kept_until(world, one)
            if until > world.now:
                waits.append(until)
            else:
                steps.append(Stop(one.name, policy.grace))
        else:
            waits.append(one.draining + policy.drain)


def _room(world: World, group: str, size: int) -> int:
    """Return how many more may start: of what may exist once none beside others that run, or may run."""
    service = world.groups[group].group.service
    others = world.busy.get(service, frozenset()) - {group}
    if group not in world.alone:
        return size if others.isdisjoint(world.alone) else 0
    if others or service in world.haunted:
        return 0
    seen = (world.seen.get(one.name) for one in world.by_group.get(group, ()))
    return max(0, size - sum(1 for one in seen if one is not None and one.is_alive))


def _is_out_of_traffic(world: World, name: str) -> bool:
    if not world.edge.is_up:
        return not any(world.edge.weights.values())
    return world.told.get(name, True)


def _hung(world: World, living: Iterable[Allotment], policy: Policy, waits: list[float]) -> tuple[Allotment, ...]:
    """Return the one instance that has been alive and not ready for longest, if that is too long."""
    slow = [
        (seen.since + policy.ready, one.ordinal, one)
        for one in living
        if (seen := world.seen.get(one.name)) is not None and not seen.is_ready
    ]
    over = sorted((at, ordinal, one) for at, ordinal, one in slow if at <= world.now)
    waits += [at for at, _, _ in slow if at > world.now]
    return (over[0][2],) if over else ()
