"""Effects: what each step does. The only place where the journal, an engine and an edge are changed on a decision."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from anew.core import names, progress, tasks
from anew.core.consequences import Change, consequences
from anew.core.control import late_stage
from anew.core.names import address_of
from anew.core.slowness import thresholds, timed
from anew.core.steps import (
    Allot,
    Begin,
    Declare,
    Drain,
    Enter,
    Forget,
    Keep,
    Launch,
    Retire,
    Shift,
    Stop,
    Sweep,
    Taint,
    Test,
)
from anew.core.world import LOOPBACK
from anew.errors import AnewError, Bug
from anew.model import Order
from anew.shell.database import Stale
from anew.shell.dissecting import dissect
from anew.shell.evidence import kept
from anew.shell.journal import Also, Observed
from anew.shell.vouching import sign

if TYPE_CHECKING:
    from anew.core.steps import (
        Step,
    )
    from anew.core.world import Allotment, World
    from anew.model import Generation, Group, Rollout, Scope
    from anew.model import Test as OneTest
    from anew.ports import Compute, Edge, Inspection
    from anew.shell.journal import Journal
    from anew.shell.parts import Parts

SWEEP_GRACE = 5.0
POLL = 0.2  # seconds between two tries of a preview test
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a network of its own


def order_of(scope: Scope, group: Group, name: str, port: int, inside: str) -> Order:
    """Return all that an engine needs to run one instance of `group`, which calls the edge at the address `inside`."""
    seal = group.seal
    own = (("PORT", str(port)),) if port and seal.has_port else ()
    # Where instances share the machine's network nobody else shall reach them; elsewhere the edge is another machine.
    host = (("HOST", LOOPBACK if inside == LOOPBACK else EVERYWHERE),) if own else ()
    doors = tuple(flag for door in group.doors if door.service != group.service for flag in address_of(door, inside))
    return Order(
        name=name,
        group=group.name,
        scope=scope,
        image=group.image,
        command=seal.command,
        environment=(*host, *seal.flags, *doors, *own),
        writable=seal.writable,
        port=port if seal.listens else 0,
        secrets=seal.secrets,
        volumes=seal.volumes,
        service=seal.service,
        limits=seal.limits,
    )


def task_order(world: World, one: Allotment) -> Order:
    """Return what an engine needs to run a task of a group to its end."""
    order = order_of(world.scope, world.groups[one.group].group, one.name, 0, world.inside)
    # While a command of `before` runs, the old group still has what only one group may have.
    volumes = order.volumes if tasks.is_scheduled(one) else tuple(v for v in order.volumes if v.is_shared)
    return replace(order, command=tasks.command(world, one).run, volumes=volumes)


@dataclass(slots=True)
class Effects:
    """Carries out single steps."""

    scope: Scope
    journal: Journal
    compute: Compute
    inspection: Inspection
    edge: Edge
    parts: Parts
    testing: threading.Thread | None = field(default=None)

    @property
    def is_testing(self) -> bool:
        """Say whether preview tests are running now."""
        return self.testing is not None and self.testing.is_alive()

    def carry_out(self, world: World, step: Step) -> None:
        """Do what `step` says; returns when it is done (a test goes on in the background).

        Raises  what the port or the journal raises; `Stale` if the rollout moved meanwhile.
        """
        match step:
            case Begin() | Enter() | Allot() | Taint() | Drain() | Forget() | Keep():
                self._commit(world, step)
            case Launch():
                self.compute.launch(self._order(world, next(a for a in world.allotments if a.name == step.name)))
                self.journal.instances.launched(step.name)
            case Test():
                self._test(world, step)
            case Declare(declaration):
                if declaration.groups:
                    self.edge.declare(declaration)
                else:
                    self.edge.stop()
            case Shift(weights):
                self.edge.shift(weights)
            case Stop(name, grace):
                self._measure(name)
                self.compute.stop(name, grace)
            case Retire(name, outcome, is_death):
                self._measure(name)
                if is_death or _has_failed(world, name):
                    self._dissect(world, name)
                self.journal.instances.retire(name, outcome, is_death=is_death)
                self.compute.remove(name)
            case Sweep(name):
                self.compute.stop(name, SWEEP_GRACE)
                self.compute.remove(name)

    def _measure(self, name: str) -> None:
        """Note how much memory an instance had, before nobody can tell any more."""
        try:
            peak = self.inspection.peak_memory(name)
        except AnewError:
            return  # a figure is no reason to hold anything up
        if peak:
            self.journal.instances.note_memory(name, peak)

    def _dissect(self, world: World, name: str) -> None:
        """Write down what an instance that died, failed or was touched was like."""
        one = next((a for a in world.allotments if a.name == name), None)
        if one is not None and one.group in world.groups:
            dissect(self.journal, self.inspection, self._order(world, one))

    def _commit(self, world: World, step: Begin | Enter | Allot | Taint | Drain | Forget | Keep) -> None:
        match step:
            case Begin():
                self.journal.begin(self.scope, step, self.parts.is_free)
            case Enter():
                self._enter(world, step)
            case Allot():
                self.journal.instances.allot(self.scope, step, self.parts.is_free)
            case Taint(name, evidence):
                self._measure(name)
                self._dissect(world, name)
                self.journal.instances.taint(name, evidence, is_leaving=world.environment.taint == "replace")
            case Drain(name):
                self.journal.instances.drain(name)
            case Forget(group):
                self.journal.instances.forget_group(self.scope, group)
            case Keep(retired):
                self.journal.generations.change(self.scope, [Change(number, is_retired=True) for number in retired])

    def _enter(self, world: World, step: Enter) -> None:
        """Commit a phase with all that follows from it; the rollout is the journal's, not the world's.

        A decision may begin a rollout and move it at once, so the one that the world shows may be another.
        """
        rollout = world.rollout
        if rollout is None or rollout.id != step.rollout:
            raise Bug(f"the rollout {step.rollout} is not the one that was seen")
        moved = replace(rollout, phase=step.phase, since=world.now, stage=step.stage, reason=step.reason)
        follows = consequences(world, moved)
        also = Also(serving=follows.serving, wish=follows.wish, changes=follows.generations)
        counts, slows = kept(world.edge.counts)
        found = progress.verdicts(world, rollout) if rollout.phase != "full" else {}  # `warm` goes on with that
        seen = Observed(
            counts=counts,
            slows=slows,
            slow=self._slow(world) if step.phase == "stage" and rollout.phase != "stage" else (),
            windows=world.windows,
            verdicts=tuple((service, one.kind) for service, one in sorted(found.items())),
            stage=late_stage(rollout, world.generations) or rollout.stage,
        )
        self.journal.enter(self.scope, step, seen=seen, also=also)
        if any(change.outcome == "promoted" for change in follows.generations):
            sign(self.journal, self.parts.witness(self.scope), self.scope)

    def _slow(self, world: World) -> tuple[tuple[str, int], ...]:
        """Ask the edge how long answers took until now, and return from when on one is slow."""
        if not timed(world):
            return ()
        counts = self.edge.reading(has_times=True).counts
        return thresholds(world, {group: one.times for group, one in counts.items()})

    def _order(self, world: World, one: Allotment) -> Order:
        if one.task:
            return task_order(world, one)
        return order_of(world.scope, world.groups[one.group].group, one.name, one.port, world.inside)

    def _test(self, world: World, step: Test) -> None:
        rollout = world.rollout
        if rollout is None or self.is_testing:
            return
        generation = world.generations[step.generation]
        self.testing = threading.Thread(
            target=self._run_tests, args=(world, rollout, generation), name="preview tests", daemon=True
        )
        self.testing.start()

    def _run_tests(self, world: World, rollout: Rollout, generation: Generation) -> None:
        """Test the groups that are new, one test after the other, and commit what was found."""
        failures = []
        before = {member.group for member in world.members(rollout.old).values()}
        for member in generation.members:
            for test in member.tests if member.group not in before else ():
                says = self._within(world, member.group, test)
                if says:
                    failures.append(f"{member.service}: {test}: {says}")
        with suppress(Stale):  # the rollout has ended meanwhile, and nobody asks any more
            self.journal.tested(self.scope, rollout.id, "; ".join(failures) or "passed")

    def _within(self, world: World, group: str, test: OneTest) -> str:
        """Try a test until it passes, within its bound; return "" or why it failed last."""
        end = time.monotonic() + test.eventually
        while True:
            try:
                says = self._one_test(world, group, replace(test, eventually=max(POLL, end - time.monotonic())))
            except AnewError as error:
                says = error.what
            if not says or time.monotonic() + POLL > end:
                return says
            time.sleep(POLL)

    def _one_test(self, world: World, group: str, test: OneTest) -> str:
        state = world.groups[group].group
        if test.get:
            host = names.preview_host(self.scope, group)
            return self.parts.http_failure(test, world.preview_port, host)
        name = f"{self.scope.project}-{self.scope.environment}-{group}-test"
        order = replace(order_of(self.scope, state, name, 0, world.inside), command=test.run)
        outcome = self.compute.run(order, test.eventually)
        if outcome.is_late:
            return f"did not end within {test.eventually:g} s"
        last = outcome.output.strip().splitlines()[-3:]
        return "" if outcome.code == 0 else f"exit code {outcome.code}: {' / '.join(last)}"


def _has_failed(world: World, name: str) -> bool:
    """Say whether all generations that an instance is of were taken back."""
    groups = {a.group for a in world.allotments if a.name == name}
    outcomes = [world.generations[n].outcome for group in groups for n in world.homes.get(group, ())]
    return bool(outcomes) and all(outcome == "rolled back" for outcome in outcomes)
