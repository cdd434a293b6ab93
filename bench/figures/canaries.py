"""Simulated rollouts, second by second: what both groups did, as counts that are drawn from their exact laws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from anew.model import CLIENT_WINDOW
from figures.chance import binomial, poisson
from figures.follow import Second

HORIZON = 600  # seconds
POINT = 10  # seconds of a point in the series that others look at
WAVE = 100  # seconds after which drifting traffic goes up or down
DRIFT = 0.5  # how far traffic and errors go up and down, as parts of their mean
LEVELS = 40  # of drifting errors; fewer different laws are made that way
FEW = 50  # requests per second; so few come at random, more are dealt out in turn
REPEATS = 4  # requests per second of a client that failed, which all fail


@dataclass(frozen=True, slots=True)
class Scene:
    """The traffic of a rollout: `rate` requests per second, of which a share of `base` fails on the old side."""

    rate: int
    base: float
    stages: tuple[float, ...] = (0.1,)  # the weights of the new group; all stages take the same time
    times: float = 1.0  # the odds of the new group's failures, as a multiple of the old one's
    is_drifting: bool = False
    lasts: float = 0.0  # chance that a client which failed in a second goes on failing in the next one
    breaks: float = 0.0  # the share that fails on both sides from some second on, if more than 0
    is_by_request: bool = False  # bursts are counted by request, not once per client and window

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        weights = "/".join(f"{100 * one:g}" for one in self.stages)
        parts = [f"{100 * self.base:g} % fail", f"{self.rate}/s", f"{weights} %"]
        parts += ["drift"] * self.is_drifting + ["bursts"] * bool(self.lasts) + ["by request"] * self.is_by_request
        return ", ".join(parts)

    def worse(self, share: float) -> float:
        """Return the share that fails on the new side where `share` does on the old one."""
        odds = self.times * share / (1 - share)
        return odds / (1 + odds)


def seconds(scene: Scene, random: Random) -> list[Second]:
    """Return what both groups did in each second."""
    if scene.lasts:
        return list(_bursts(scene, random))
    out = []
    for (stage, old, new), share in zip(_dealt(scene, random), shares(scene, random), strict=True):
        bad = binomial(random, new, share if scene.times == 1 else scene.worse(share))
        out.append((stage, old, binomial(random, old, share), new, bad))
    return out


def shares(scene: Scene, random: Random) -> list[float]:
    """Return the share that fails on the old side in each second."""
    if not scene.is_drifting:
        first = random.randrange(HORIZON) if scene.breaks else HORIZON
        return [scene.base] * first + [scene.breaks] * (HORIZON - first)
    phase, period = random.uniform(0, math.tau), random.uniform(60, HORIZON)
    levels = [scene.base * (1 + DRIFT * (2 * level / LEVELS - 1)) for level in range(LEVELS + 1)]
    half = LEVELS / 2
    return [levels[round(half + half * math.sin(phase + math.tau * at / period))] for at in range(HORIZON)]


def _dealt(scene: Scene, random: Random) -> list[tuple[int, int, int]] | tuple[tuple[int, int, int], ...]:
    """Return stage and requests of both sides in each second."""
    if scene.rate >= FEW:
        return in_turn(scene.rate, scene.stages, scene.is_drifting)
    weights = [
        (stage, weight) for stage, weight in enumerate(scene.stages) for _ in range(HORIZON // len(scene.stages))
    ]
    return [
        (stage, poisson(random, scene.rate * (1 - weight)), poisson(random, scene.rate * weight))
        for stage, weight in weights
    ]


@lru_cache(maxsize=64)
def in_turn(rate: int, stages: tuple[float, ...], is_drifting: bool = False) -> tuple[tuple[int, int, int], ...]:  # noqa: FBT001, FBT002 -- a key
    """Return stage and requests of both sides in each second, as an edge deals them out that keeps weights exactly."""
    out, due = [], 0.0
    for at in range(HORIZON):
        stage = at * len(stages) // HORIZON
        wave = (DRIFT if at // WAVE % 2 else -DRIFT) if is_drifting else 0.0
        requests = round(rate * (1 + wave))
        due += requests * stages[stage]
        new = int(due + 1e-9)
        due -= new
        out.append((stage, requests - new, new))
    return tuple(out)


def _bursts(scene: Scene, random: Random) -> Iterator[Second]:
    """Each request is of another client, which stays with its side, and repeats what failed until it works."""
    failing = [0, 0]
    dealt_out = zip(in_turn(scene.rate, scene.stages), shares(scene, random), strict=True)
    for at, ((stage, *dealt), share) in enumerate(dealt_out):
        did = []
        for side, requests in enumerate(dealt):
            going_on = binomial(random, failing[side], scene.lasts)
            begin = binomial(random, requests, share)
            failing[side] = begin + going_on
            bad = begin if at % CLIENT_WINDOW else failing[side]  # who goes on counts again in the next window only
            bad = REPEATS * failing[side] if scene.is_by_request else bad
            did += [requests - begin + bad, bad]
        yield stage, did[0], did[1], did[2], did[3]
