"""Run: carry out a decision's steps, note each attempt, and say what could not be done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from anew.core.steps import Allot, Begin, Declare, Drain, Enter, Forget, Keep, Launch, Retire, Step, Stop, Taint
from anew.core.world import World
from anew.errors import AnewError, Bug, Conflict, EngineError, NotFound, SpecError, Unsupported
from anew.model import Scope
from anew.shell.database import Stale
from anew.shell.effects import Effects
from anew.shell.journal import Journal
from anew.shell.parts import Parts

AT_ONCE = 8
MOST_FAILURES = 3  # of a round: an engine that hangs lets each wait
COMMITS = (Begin, Enter, Allot, Taint, Drain, Retire, Forget, Keep)
SIDE_BY_SIDE = (Launch, Stop)  # steps that don't wait for each other
FINAL = (SpecError, Conflict, NotFound, Unsupported, Bug)  # trying again would meet the same


@dataclass(frozen=True, slots=True)
class Done:
    """How a round went: what failed (step and error), and whether the world moved under it."""

    failures: tuple[tuple[Step, AnewError], ...] = ()

    @property
    def trouble(self) -> str:
        """Say what can't succeed however often it is tried; "" if nothing is like that."""
        for step, error in self.failures:
            is_final = isinstance(error, FINAL) or (
                isinstance(error, EngineError) and isinstance(step, Launch | Declare)
            )
            if is_final and isinstance(step, Launch | Declare | Allot):
                return f"{step.describe()}: {error.what}"
        return ""


@dataclass(slots=True)
class Runner:
    """Carries out decisions for one environment."""

    scope: Scope
    journal: Journal
    effects: Effects
    parts: Parts

    def run(self, world: World, steps: Sequence[Step]) -> Done:
        """Carry out `steps` in order, neighbours that don't wait for each other side by side.

        Steps rest on the world that was seen, and not on each other, except on what begins or enters a phase: if that
        fails, the round ends. So it does after `MOST_FAILURES`, or if somebody else has committed; the next one decides
        again, from the world.
        """
        failures: list[tuple[Step, AnewError]] = []
        for batch in batches(steps):
            failed = self._batch(world, batch)
            failures += failed
            is_moved = any(isinstance(error, Stale) for _, error in failed)
            if is_moved or len(failures) >= MOST_FAILURES or (failed and isinstance(batch[0], Begin | Enter)):
                break
        return Done(tuple(failures))

    def _batch(self, world: World, batch: Sequence[Step]) -> tuple[tuple[Step, AnewError], ...]:
        if len(batch) == 1:
            failure = self._one(world, batch[0])
            return ((batch[0], failure),) if failure else ()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="steps") as pool:
            results = list(pool.map(lambda step: self._one(world, step), batch))
        return tuple((step, failure) for step, failure in zip(batch, results, strict=True) if failure)

    def _one(self, world: World, step: Step) -> AnewError | None:
        is_commit = isinstance(step, COMMITS)  # the journal notes its own commits
        number = 0 if is_commit else self.journal.ledger.attempt(self.scope, step.describe())
        self.parts.around("before", step)
        try:
            self.effects.carry_out(world, step)
        except AnewError as error:
            if not is_commit:
                self.journal.ledger.attempted(number, f"{error.code}: {error.what}")
            if isinstance(step, Launch):
                # The ordinal is spent: what could not be started is not started again under the same name.
                self.journal.instances.retire(step.name, f"could not start: {error.what}", is_death=True)
            return error
        self.parts.around("after", step)
        if not is_commit:
            self.journal.ledger.attempted(number, "ok")
        return None


def batches(steps: Sequence[Step]) -> Iterator[tuple[Step, ...]]:
    """Group neighbours of one kind that may run side by side; every other step stands alone."""
    for kind, same in groupby(steps, type):
        if issubclass(kind, SIDE_BY_SIDE):
            yield tuple(same)
        else:
            for step in same:
                yield (step,)
