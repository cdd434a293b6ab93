"""What the demo tells: what became of each release, in figures, and whether it is what should have become of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from anew.model import Seconds
from anew.testing.load import Answerer, Figures

Outcome = Literal["promoted", "rolled back", "refused"]
Milliseconds = float

EXPECTED: Mapping[str, Outcome] = MappingProxyType(
    {"r1": "promoted", "r2": "promoted", "r3": "rolled back", "r4": "rolled back", "r5": "refused"}
)
BAD = "r3"  # the release that fails under load
UNHEALTHY = "r4"


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one release."""

    name: str  # "r3", as the example calls it
    outcome: Outcome
    reason: str
    generation: str = ""  # "g7"; "" if it was never sealed
    stages: tuple[tuple[str, Seconds], ...] = ()  # phase and how long it lasted
    decided: float = 0.0  # when it was decided to take it back, UTC seconds
    sealed: tuple[str, ...] = ()  # releases and generations that appeared though it was refused


@dataclass(frozen=True, slots=True)
class ByHand:
    """The rollback that was asked for by hand."""

    come_from: str  # "r2"
    to: str  # "r1"; "" if it did not come about
    asked: float  # UTC seconds
    reason: str = ""


@dataclass(slots=True)
class Story:
    """Everything that happened, as far as it went."""

    told: list[Told] = field(default_factory=list)
    by_hand: ByHand | None = None
    figures: Figures = field(default_factory=Figures)
    seconds: Seconds = 0.0
    url: str = ""

    def answerer(self, name: str) -> Answerer:
        """Return what a release answered; all zero if nothing."""
        return self.figures.by_release.get(name, Answerer())

    def rollback_ms(self) -> Milliseconds | None:
        """Return the time from the decision to the last request that the bad release got; None if it had none."""
        for one in self.told:
            if one.name == BAD and one.decided:
                return _late(self.answerer(BAD).last_sent, one.decided)
        return None

    def by_hand_ms(self) -> Milliseconds | None:
        """Return the time from the command `rollback` to the last request that the release before it got."""
        if self.by_hand is None:
            return None
        return _late(self.answerer(self.by_hand.come_from).last_sent, self.by_hand.asked)


def _late(last: float, decided: float) -> Milliseconds:
    return max(0.0, round((last - decided) * 1000, 1))


def complaints(story: Story) -> tuple[str, ...]:
    """Return what did not happen as it should have, a sentence each; () if all of it did."""
    found = [*_outcomes(story.told), *_traffic(story)]
    if story.by_hand is None:
        found.append("the rollback by hand was not reached")
    elif story.by_hand.to != "r1":
        found.append(f"the rollback by hand did not lead to r1: {story.by_hand.reason}")
    return tuple(found)


def _outcomes(told: Sequence[Told]) -> list[str]:
    found = []
    by_name = {one.name: one for one in told}
    for name, expected in EXPECTED.items():
        one = by_name.get(name)
        if one is None:
            found.append(f"{name} was not reached")
        elif one.outcome != expected:
            found.append(f"{name} should have been {expected} but was {one.outcome}: {one.reason}")
        elif one.sealed:
            found.append(f"{name} was refused, but there is {', '.join(one.sealed)}")
    staged = by_name.get("r2")
    if staged and sum(phase.startswith("stage") for phase, _ in staged.stages) < 2:
        found.append("r2 did not come in stages")
    return found


def _traffic(story: Story) -> list[str]:
    figures = story.figures
    found = []
    if figures.dropped:
        why = ", ".join(sorted({one.why for one in figures.drops}))
        found.append(f"{figures.dropped} of {figures.sent} requests were dropped: {why}")
    found.extend(
        f"there was no {kind} load" for kind in ("keep-alive", "fresh", "slow") if not figures.by_kind.get(kind)
    )
    found.extend(f"{name} answered no request" for name in ("r1", "r2") if not story.answerer(name).answered)
    if not story.answerer(BAD).errors:
        found.append(f"{BAD} was to answer with errors and did not")
    if story.answerer(UNHEALTHY).answered:
        found.append(f"{UNHEALTHY} got {story.answerer(UNHEALTHY).answered} requests though it never was healthy")
    for name, one in figures.by_release.items():
        if one.errors and name != BAD:
            found.append(f"{name} answered {one.errors} requests with 5xx")
    return found


def report(story: Story) -> dict[str, object]:
    """Return the story as plain data, which `--report` writes."""
    errors = {name: story.answerer(name).errors for name in EXPECTED if name != "r5"}
    errors |= {name: one.errors for name, one in story.figures.by_release.items() if one.errors}
    failed = complaints(story)
    figures = story.figures
    return {
        "requests": figures.sent,
        "answered": figures.answered,
        "dropped": figures.dropped,
        "retried": figures.retried,
        "errors_by_generation": errors,
        "rollback_ms": story.rollback_ms(),
        "manual_rollback_ms": story.by_hand_ms(),
        "generations": [_row(story, one) for one in story.told],
        "seconds": round(story.seconds, 2),
        "load": {
            "seconds": round(figures.seconds, 2),
            "by_kind": dict(figures.by_kind),
            "by_status": dict(figures.by_status),
            "milliseconds": figures.milliseconds,
            "connections": figures.connections,
            "reopened": figures.reopened,
            "late": figures.late,
        },
        "is_good": not failed,
        "complaints": list(failed),
    }


def _row(story: Story, one: Told) -> dict[str, object]:
    answerer = story.answerer(one.name)
    return {
        "name": one.name,
        "generation": one.generation,
        "outcome": one.outcome,
        "reason": one.reason,
        "requests": answerer.answered,
        "errors": answerer.errors,
        "stages": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in one.stages],
    }
