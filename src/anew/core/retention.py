"""Which generations are needed, kept or can be gone back to."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from anew.core.world import World
from anew.model import Generation, Phase

AFTER_FULL: frozenset[Phase] = frozenset({"full", "warm", "done"})  # the new generation has the traffic, or gets all


def needed(world: World) -> tuple[int, ...]:
    """Return the generations whose groups must run now: the one that serves, those of the rollout, the warm ones."""
    numbers = {world.serving}
    rollout = world.rollout
    if rollout is not None:
        numbers.add(rollout.old)
        if rollout.phase != "rolling back":
            numbers.add(rollout.new)
        else:
            numbers.discard(rollout.new)
    numbers |= {n for n, g in world.generations.items() if g.warm_until > world.now and not g.is_retired}
    return tuple(sorted(n for n in numbers if n in world.generations))


def way_back(generations: Mapping[int, Generation], serving: int, lost: Collection[int] = ()) -> int:
    """Return the last generation that served before `serving`; 0 if there is none.

    Skipped are those that failed, are retired, or are `lost`: they hold something that was revoked.
    """
    seen = {serving}
    number = generations[serving].previous if serving in generations else 0
    while number in generations and number not in seen:
        one = generations[number]
        if one.outcome == "promoted" and not one.is_retired and number not in lost:
            return number
        seen.add(number)
        number = one.previous
    return 0


def expired(world: World) -> tuple[int, ...]:
    """Return the generations that are no longer kept as a way back: all but the newest `keep` that served.

    One that failed, or was sealed and never begun, is remembered until a newer one is kept.
    """
    served = [n for n, g in world.generations.items() if g.outcome == "promoted" and not g.is_retired]
    kept = set(sorted(served)[-max(1, world.environment.keep) :]) | set(needed(world)) | {world.wish}
    others = [n for n, g in world.generations.items() if g.outcome != "promoted" and not g.is_retired]
    return tuple(sorted(n for n in (*served, *others) if n not in kept and n < max(kept, default=0)))
