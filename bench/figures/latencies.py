"""Simulated latencies: what the new group's requests take, beside a group whose p95 was frozen before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import NormalDist

from figures.canaries import HORIZON, POINT, Scene, seconds
from figures.chance import binomial
from figures.follow import Second
from figures.judges import Series

MEDIAN = 100.0  # milliseconds
SPREAD = 0.5  # of the logarithm
WARM = 6000  # requests of the old group by which its p95 is estimated
SCENE = Scene(100, 0.005)  # errors, which are the same on both sides

KINDS: dict[str, Callable[[Random], float]] = {  # how many times as long a request takes on the new side
    "nothing": lambda _: 1.0,
    "median +20 %": lambda _: 1.2,
    "median +50 %": lambda _: 1.5,
    "5 % of the requests 5 times": lambda random: 5.0 if random.random() < 0.05 else 1.0,
    "20 % of the requests 3 times": lambda random: 3.0 if random.random() < 0.2 else 1.0,
    "one instance of four 2 times": lambda random: 2.0 if random.random() < 0.25 else 1.0,
}


@dataclass(frozen=True, slots=True)
class Trace:
    """A rollout: errors and slow requests by second, and latencies of the new group and of its baseline by point."""

    errors: list[Second]
    slow: list[Second]
    new: list[list[float]]
    control: list[list[float]]


def trace(kind: str, random: Random) -> Trace:
    """Return a rollout with this regression; the baseline is a part of the old group as large as the new one."""
    errors = seconds(SCENE, random)
    level = random.betavariate(0.95 * WARM, 0.05 * WARM + 1)  # that order statistic of uniform numbers
    frozen = latency(NormalDist().inv_cdf(level))
    slow: list[Second] = []
    new: list[list[float]] = [[] for _ in range(HORIZON // POINT)]
    control: list[list[float]] = [[] for _ in range(HORIZON // POINT)]
    for at, (stage, old, _, fresh, _) in enumerate(errors):
        did = [latency(random.gauss(0, 1)) * KINDS[kind](random) for _ in range(fresh)]
        beside = [latency(random.gauss(0, 1)) for _ in range(fresh)]
        rest = binomial(random, old - fresh, 1 - level)
        slow.append((stage, old, rest + _above(beside, frozen), fresh, _above(did, frozen)))
        new[at // POINT] += did
        control[at // POINT] += beside
    return Trace(errors, slow, new, control)


def latency(normal: float) -> float:
    """Return the milliseconds that belong to a standard normal number."""
    return MEDIAN * math.exp(SPREAD * normal)


def quantiles(points: list[list[float]], share: float, together: int = 1) -> Series:
    """Return a quantile of each point, or of so many together."""
    out: list[float | None] = []
    for start in range(0, len(points), together):
        values = sorted(one for point in points[start : start + together] for one in point)
        out.append(values[math.ceil(share * len(values)) - 1] if values else None)
    return out


def means(points: list[list[float]]) -> Series:
    """Return the mean of each point."""
    return [sum(point) / len(point) if point else None for point in points]


def _above(values: list[float], bound: float) -> int:
    return sum(one > bound for one in values)
