"""What is counted of groups that are compared; a rollout keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Requests and failures of one group in one window of time."""

    requests: int
    failures: int
    slow: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """What the groups did in one stretch of a stage."""

    at: float  # its end
    stage: int
    samples: Mapping[str, Sample]  # by group; those that did nothing are left out
