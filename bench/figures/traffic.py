"""The load that the measurements of rollouts and rollbacks run under."""

from __future__ import annotations

import time

from anew.errors import EngineError
from anew.testing.load import Figures, Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

SETTLES = 10.0  # seconds until the first figures have come


def load(project: Rig, rate: float) -> Load:
    """Return load of that rate: mostly connections that are kept alive, some fresh ones, and two very slow requests."""
    return Load(project.port, rate=rate, keep_alive=28, fresh=4, slow=2, seconds=3000.0, most=10_000_000)


def wait_for_answer(traffic: LoadProcess, release: str) -> Figures:
    """Return the figures as soon as they hold an answer of `release`.

    Raises  EngineError if none came in time.
    """
    end = time.monotonic() + SETTLES
    while release not in traffic.figures().by_release:
        if time.monotonic() > end:
            raise EngineError(f"{release} answered nothing in {SETTLES:g} s")
        time.sleep(0.02)
    return traffic.figures()


def rate(figures: Figures) -> float:
    """Return requests per second over the whole run."""
    return figures.sent / figures.seconds
