"""Which instances have to go though they live: something touched them, somebody asked for it, or they are too old.

Rules

1. A tainted instance leaves at once, but not before another one can take its place. It is then kept for inspection.
2. Any other leaves when its group is at full size without it: its successor starts first.
3. Of those that nobody touched, one of a service goes at a time, and none while a rollout has stages to go.
4. What may exist once can't wait for a successor: it goes, and then its successor starts. It is not kept; neither is
   what is to be handed over, nor a worker, which would go on working.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anew.core.digest import digest
from anew.core.steps import Taint
from anew.core.world import Allotment, World
from anew.model import Seconds

MOST_KEPT = 3  # of a group, for inspection
JITTER = 0.1  # an instance is reborn up to this part of its age before the bound, so that not all are at once


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who has to go, of the living instances of a group; and when to look again."""

    urgent: tuple[Allotment, ...] = ()  # tainted
    next: Allotment | None = None  # the one whose turn it is
    waits: tuple[float, ...] = ()


def touched(world: World) -> tuple[Taint, ...]:
    """Return a step for each instance that was found touched, and is not known to be."""
    if world.environment.taint == "ignore":
        return ()
    found = ((a, world.seen[a.name].touched) for a in world.allotments if a.name in world.seen)
    return tuple(
        Taint(a.name, evidence)
        for a, evidence in found
        if evidence and not (a.tainted or a.draining or a.aside or a.task)
    )


def must_go(world: World, one: Allotment) -> bool:
    """Say whether an instance is to be replaced because something touched it."""
    return bool(one.tainted) and world.environment.taint == "replace"


def leaving(world: World, group: str, living: Sequence[Allotment]) -> Leaving:
    """Return who of the living instances of a group has to go, and when the next one will be too old."""
    urgent = tuple(one for one in living if must_go(world, one))
    rest = [one for one in living if one not in urgent]
    is_settled = world.rollout is None or world.rollout.phase == "warm"
    asked = [one for one in rest if one.aside and is_settled]
    old, waits = _aged(world, group, rest)
    if urgent or _is_in_transit(world, group) or not (asked or old):
        return Leaving(urgent, None, waits)
    return Leaving((), (asked or old)[0], waits)


def kept_until(world: World, one: Allotment) -> float:
    """Return until when an instance that has left is kept; 0: it is not.

    Of many only the last ones are kept; where all is disposed of, none.
    """
    if not one.draining or not world.wish or one.group in world.alone | world.turns:
        return 0.0
    if one.group in world.groups and world.groups[one.group].group.seal.kind == "worker":
        return 0.0  # it has no traffic to lose, and would work on
    if one.aside:
        return one.hold
    if not must_go(world, one):
        return 0.0
    others = [a for a in world.by_group.get(one.group, ()) if a.draining and must_go(world, a) and not a.aside]
    newest = sorted(others, key=lambda a: (a.draining, a.ordinal))[-MOST_KEPT:]
    return one.draining + world.environment.quarantine if one in newest else 0.0


def _is_in_transit(world: World, group: str) -> bool:
    """Say whether another instance of the group is on its way out already."""
    return any(a.draining and a.name not in world.apart for a in world.by_group.get(group, ()))


def _aged(world: World, group: str, living: Iterable[Allotment]) -> tuple[list[Allotment], tuple[float, ...]]:
    """Return those that are too old, oldest first, and when the next one will be."""
    member = world.members(world.serving).get(world.groups[group].group.service)
    if member is None or member.group != group or not member.max_age or world.rollout is not None:
        return [], ()
    due = sorted(
        (seen.started + _age(one.name, member.max_age), one.ordinal, one)
        for one in living
        if (seen := world.seen.get(one.name)) is not None and seen.is_alive
    )
    waits = tuple(at for at, _, _ in due if at > world.now)
    return [one for at, _, one in due if at <= world.now], waits[:1]


def _age(name: str, most: Seconds) -> Seconds:
    """Return the age at which the instance of that name is reborn: the same whenever it is asked.

    >>> 90.0 < _age("shop-local-web-g1-0", 100.0) <= 100.0
    True
    """
    share = int(digest(name)[-8:], 16) / 0xFFFFFFFF
    return most * (1.0 - JITTER * share)
