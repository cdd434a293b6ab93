"""Watching one rollout from outside, through the port alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from anew.cases import Viewer
from anew.errors import EngineError
from anew.model import Seconds
from anew.views import RolloutView, Status

POLL: Seconds = 0.05
BOUND: Seconds = 180.0
EVENTS = 200
BACK = "rolling back"


@dataclass(frozen=True, slots=True)
class Passage:
    """How a rollout went. `marks` are the phases in order, with the UTC seconds at which each was entered."""

    generation: str
    release: str
    is_good: bool
    reason: str
    marks: tuple[tuple[str, float], ...]
    decided: float  # when going back was decided; 0.0 if it was not

    @property
    def stages(self) -> tuple[tuple[str, Seconds], ...]:
        """How long each phase lasted, but for the last one, which is where the watching ended."""
        pairs = zip(self.marks, self.marks[1:], strict=False)
        return tuple((phase, entered - since) for (phase, since), (_, entered) in pairs)


def follow(anew: Viewer, environment: str, generation: str, seen: Callable[[Status], None]) -> Passage:
    """Watch until the rollout to `generation` has ended one way or the other; `seen` gets every status.

    Raises  EngineError if it has not ended within three minutes: every phase of the demo has a shorter bound.
    """
    marks: dict[str, float] = {}
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        status = anew.status(environment)
        seen(status)
        rollout = status.rollout
        if rollout is not None and rollout.generation == generation:
            marks.setdefault(rollout.phase, rollout.since)
            if rollout.is_over:
                return _ended(anew, environment, rollout, marks)
        time.sleep(POLL)
    raise EngineError(
        f"the rollout to {generation} did not end within {BOUND:g} s",
        where=f"environment {environment}",
        hint="its ledger says how far it came",
        facts={"command": f"anew history --environment {environment}", "reason": status.reason},
    )


def _ended(anew: Viewer, environment: str, rollout: RolloutView, marks: dict[str, float]) -> Passage:
    decided = 0.0 if rollout.is_good else marks.get(BACK, 0.0) or _told(anew, environment, min(marks.values()))
    return Passage(rollout.generation, rollout.release, rollout.is_good, rollout.reason, tuple(marks.items()), decided)


def _told(anew: Viewer, environment: str, since: float) -> float:
    """Return when the ledger says that going back was decided, if it was too short to be seen."""
    return next(
        (one.at for one in anew.history(environment, EVENTS) if one.at >= since and BACK in one.text.lower()), since
    )
