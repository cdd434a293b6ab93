"""One step that fails does not keep the others from being carried out, unless they rest on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from journal_rows import LOCAL, Ticks, opened

from anew.core.steps import Declare, Enter, Shift, Step, Stop, Sweep
from anew.core.world import World
from anew.errors import AnewError, Conflict, EngineError
from anew.model import Declaration, Environment
from anew.shell.database import Stale
from anew.shell.runner import MOST_FAILURES, Runner

WORLD = World(1.0, LOCAL, Environment("local"), 1, 1, "rollout", 1, {})
DECLARE = Declare(Declaration("127.0.0.1", 1, 2))
ENTER = Enter(1, 1, "stage", 0, "because")


@dataclass
class Failing:
    """Carries out all steps but those of which it knows an error."""

    errors: dict[str, AnewError]
    done: list[Step] = field(default_factory=list)

    def carry_out(self, _world: World, step: Step) -> None:
        error = self.errors.get(type(step).__name__) or self.errors.get(getattr(step, "name", ""))
        if error is not None:
            raise error
        self.done.append(step)

    def around(self, _when: str, _step: Step) -> None:
        """Take part in nothing."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def run(place: Path, steps: Sequence[Step], **errors: AnewError) -> tuple[list[Step], list[Step]]:
    """Carry out steps; return those that were done, and those that failed."""
    effects = Failing(errors)
    runner = Runner(LOCAL, opened(place, Ticks()), cast("Any", effects), cast("Any", effects))
    return effects.done, [step for step, _ in runner.run(WORLD, steps).failures]


def test_an_edge_that_can_not_be_had_keeps_nobody_from_healing(place: Path) -> None:
    taken = Conflict("its port is taken")
    assert run(place, (DECLARE, Sweep("a"), Sweep("b")), Declare=taken) == ([Sweep("a"), Sweep("b")], [DECLARE])
    stop = Stop("api", 1.0)
    done, failed = run(place, (stop, Stop("web", 1.0), Sweep("a")), api=EngineError("it hangs"))
    assert (failed, len(done)) == ([stop], 2)


def test_what_rests_on_a_phase_waits_for_it(place: Path) -> None:
    assert run(place, (ENTER, Shift({})), Enter=EngineError("the disk is full")) == ([], [ENTER])


def test_a_round_ends_when_somebody_else_has_committed_or_too_much_fails(place: Path) -> None:
    assert run(place, (Sweep("a"), Sweep("b")), a=Stale("it moved")) == ([], [Sweep("a")])
    many = tuple(Sweep(f"s{n}") for n in range(9))
    _, failed = run(place, many, Sweep=EngineError("it hangs"))
    assert len(failed) == MOST_FAILURES
