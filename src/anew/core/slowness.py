"""From when on an answer is slow: frozen before the first stage, from what the old groups answered until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anew.core import traffic
from anew.core.times import quantile
from anew.core.world import World

LEAST = 200  # answers by which a quantile is known


def timed(world: World) -> tuple[str, ...]:
    """Return the services of the rollout under way whose new groups are judged by the time that answers take."""
    rollout = world.rollout
    if rollout is None:
        return ()
    old, new = world.members(rollout.old), world.members(rollout.new)
    return tuple(s for s in traffic.judged(old, new) if new[s].kind == "http" and new[s].policy.judge.slow)


def thresholds(world: World, times: Mapping[str, Sequence[tuple[int, int]]]) -> tuple[tuple[str, int], ...]:
    """Return in microseconds what is slow of each service; of one with too few answers it is not known.

    Shapes   `times` by group, as `anew.core.times.quantile` takes them.
    """
    rollout = world.rollout
    old = world.members(rollout.old) if rollout else {}
    found = []
    for service in timed(world):
        mine = times.get(old[service].group, ())
        if rollout is not None and sum(count for _, count in mine) >= LEAST:
            part = world.members(rollout.new)[service].policy.judge.slow
            found.append((service, max(1, round(quantile(mine, part)))))
    return tuple(found)
