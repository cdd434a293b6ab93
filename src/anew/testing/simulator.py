"""Whole lives of an environment, simulated: rollouts, faults, an operator and a keeper that dies, from one seed.

Every decision is checked against the invariants before it is carried out, and every effect against what it did to
the traffic. At the end the faults cease, and the fixed point must be reached: what is wanted serves, and nothing else
is left. The same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random

from anew.core.decide import decide
from anew.core.machine import BEFORE_FULL, ENDS
from anew.core.retention import needed
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
    Step,
    Stop,
    Sweep,
    Taint,
)
from anew.core.verdict import PLENTY
from anew.core.world import World
from anew.errors import AnewError, Bug, Conflict, EngineError, NotFound
from anew.model import FULL, Seconds
from anew.testing.invariants import breaches
from anew.testing.looks import LISTENING
from anew.testing.passages import is_current, skewed
from anew.testing.scenes import NONE, Faults, Scene
from anew.testing.simulated import Nature, Platform

ROUNDS = 20_000
QUIET_ROUNDS = 1_500  # from the last fault to the fixed point
KIND_ROUNDS = 1_000
FINAL = (Conflict, NotFound, Bug)


@dataclass(slots=True)
class Report:
    """What a simulated life was like."""

    seed: int = 0
    rounds: int = 0
    effects: int = 0
    crashes: int = 0
    setbacks: int = 0  # effects that failed, or seemed to
    services: int = 0
    accidents: int = 0  # instances that died or hung, edges that died
    superseded: int = 0  # rollouts that another wish overtook
    tasks: int = 0  # commands and scheduled runs that were begun
    ends: dict[str, int] = field(default_factory=dict)  # how rollouts ended → how often
    steps: list[Step] = field(default_factory=list)  # that were carried out
    violations: list[str] = field(default_factory=list)
    world: World | None = None  # the last


class Crash(Exception):  # noqa: N818 - it is what happens to the keeper, not an error of it
    """The keeper was killed."""


class LostError(AnewError):
    """An effect of which nothing is known."""


@dataclass(slots=True)
class Keeper:
    """Observes, decides and runs on a simulated platform, round by round."""

    platform: Platform
    report: Report
    random: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - a reproducible run is wanted
    faults: Faults = NONE
    may_crash_at: Callable[[int], bool] = lambda _number: False  # by the number of the boundary, before and after each
    test_takes: Seconds = 1.0
    is_doubled: bool = False  # each effect happens twice
    boundary: int = 0
    entered: tuple[int, int] = (0, 0)
    is_idle: bool = False  # it waits for nothing but the clock
    is_disturbed: bool = False  # something else than the keeper changed the world since it looked

    def round(self) -> float | None:
        """Observe, decide and run once; return when to look again: now after steps, None if nothing is left."""
        world = self.platform.observe()
        at = (world.rollout.id, world.rollout.version) if world.rollout else (0, 0)
        if at != self.entered:
            if self.entered != (0, 0) or world.rollout is None:
                self.platform.trouble = ""
                world = replace(world, trouble="")
            self.entered = at
        decision = decide(world)
        self.is_idle = not decision.steps and world.rollout is None
        self.report.rounds += 1
        for one in breaches(world, decision.steps):
            self.report.violations.append(f"{one.invariant}: {one.step}: {one.says}")
        self.is_disturbed = False
        try:
            self._run(world, decision.steps)
        except Crash:
            self.report.crashes += 1
            self.platform.testing, self.platform.trouble, self.entered = None, "", (0, 0)
            return world.now
        return world.now if decision.steps else decision.wait_until

    def _run(self, world: World, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                self._attempt(world, step)
            except AnewError as error:
                if isinstance(error, Bug):
                    self.report.violations.append(f"{step.describe()}: {error.what}")
                self.report.setbacks += 1
                self._note_trouble(world, step, error)
                return

    def _note_trouble(self, world: World, step: Step, error: AnewError) -> None:
        if isinstance(step, Launch):
            ended = Retire(step.name, f"could not start: {error.what}", is_death=True)
            self.platform.journal.retire(ended, self.platform.now)
        is_final = isinstance(error, (*FINAL, EngineError)) and isinstance(step, Launch | Declare | Allot)
        if is_final and world.rollout is not None and world.rollout.phase in BEFORE_FULL:
            self.platform.trouble = f"{step.describe()}: {error.what}"

    def _attempt(self, world: World, step: Step) -> None:
        self._may_crash()
        if self._chance(self.faults.failed):
            raise LostError("it did not happen")
        if isinstance(step, Shift | Declare) and self._chance(self.faults.late):
            asked = step.weights if isinstance(step, Shift) else step.declaration
            self.platform.edge.late.append((self.platform.now + self.random.uniform(0.1, 4.0), asked))
            raise LostError("no answer in time")
        if self._chance(self.faults.death):
            self.is_disturbed = True
            self.platform.engine.end(self.random.choice([*self.platform.engine.processes, ""]), "signal 9 (SIGKILL)")
        with self._watched(world, step):
            self._carry_out(world, step)
        if self.is_doubled:
            with suppress(Conflict):  # a commit that was there before
                self._carry_out(world, step)
        self.report.effects += 1
        self.report.steps.append(step)
        self._may_crash()
        if self._chance(self.faults.lost_reply):
            raise LostError("the reply was lost")

    def _carry_out(self, world: World, step: Step) -> None:
        """Do what `step` says, in two parts where the real one has two."""
        platform = self.platform
        match step:
            case Begin() | Enter() | Allot() | Taint() | Drain() | Forget() | Keep():
                platform.journal.commit(world, step, platform.now)
            case Launch(name, group):
                one = platform.journal.allotments.get(name)
                platform.engine.launch(name, group, platform.now, one.task if one else "")
            case Declare(declaration):
                platform.edge.declare(declaration)
            case Shift(weights):
                platform.edge.shift(weights)
            case Stop(name):
                platform.engine.stop(name)
            case Retire(name):
                platform.journal.retire(step, platform.now)
                self._may_crash()
                platform.engine.remove(name)
            case Sweep(name):
                platform.engine.stop(name)
                self._may_crash()
                platform.engine.remove(name)
            case _:
                self._test(world)

    def _test(self, world: World) -> None:
        if world.rollout is None:
            return
        members = world.members(world.rollout.new).values()
        found = [self.platform.engine.nature(m.group).preview for m in members]
        result = next((one for one in found if one != "passed"), "passed")
        self.platform.testing = (world.rollout.id, self.platform.now + self.test_takes, result)

    def _may_crash(self) -> None:
        self.boundary += 1
        if self.may_crash_at(self.boundary) or self._chance(self.faults.crash):
            raise Crash

    def _chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    @contextmanager
    def _watched(self, world: World, step: Step) -> Iterator[None]:
        """Note an effect that leaves a service without anything that answers, though it had something."""
        before, met = answering(self.platform), meeting(self.platform, step)
        yield
        self.report.violations += [f"{step.describe()}: {one}" for one in sorted(meeting(self.platform, step) - met)]
        if self.is_disturbed:
            return
        for service in sorted(before.keys() - answering(self.platform).keys()):
            rollout = self.platform.journal.rollout
            wanted = (rollout.old, rollout.new) if rollout else (world.serving,)
            members = [world.members(n).get(service) for n in wanted]
            lonely = {m.group for g in world.generations.values() for m in g.members if m.is_alone}
            is_passed_on = any(m.is_alone for m in members if m) or any(g in lonely for g in before[service])
            if all(m and m.kind in LISTENING for m in members) and not is_passed_on:
                self.report.violations.append(f"{step.describe()}: {service} has nothing left that answers")


def meeting(platform: Platform, step: Step) -> frozenset[str]:
    """Return what must never meet and does, as far as `step` may change it: through doors, or on one volume."""
    if isinstance(step, Launch):
        alone = {m.group for g in platform.journal.generations.values() for m in g.members if m.is_alone}
        running = sorted({p.group for p in platform.engine.processes.values() if p.is_alive and not p.task})
        pairs = ((one, other) for one in running if one in alone for other in running if other != one)
        same = ((one, other) for one, other in pairs if one.rpartition("-")[0] == other.rpartition("-")[0])
        return frozenset(f"{one} runs beside {other}" for one, other in same)
    is_over = isinstance(step, Enter) and step.phase in ENDS
    if isinstance(step, Begin | Enter | Declare | Shift) and not is_over:
        world = platform.observe()
        pairs = (pair for pair in skewed(world) if isinstance(step, Declare | Shift) or is_current(world, pair[0]))
        return frozenset(f"{caller} reaches {callee}" for caller, callee in pairs)
    return frozenset()


def answering(platform: Platform) -> dict[str, list[str]]:
    """Return the services that answer requests, and by which groups: with weight, and a ready target in traffic."""
    edge = platform.edge
    out: dict[str, list[str]] = {}
    if not edge.is_up or edge.declaration is None:
        return {}
    for group in edge.declaration.groups:
        targets = (platform.engine.processes.get(t.name) for t in group.targets if not t.is_draining)
        if edge.weights.get(group.service, {}).get(group.name, 0) and any(p and p.is_ready for p in targets):
            out.setdefault(group.service, []).append(group.name)
    return out


def run_kindly(
    world: World, may_crash_at: Callable[[int], bool] = lambda _number: False, *, is_doubled: bool = False
) -> Report:
    """Run from `world` until nothing is left, where all succeeds at once and traffic is good; but the keeper may die.

    `is_doubled`: each effect happens twice. Raises  Bug if no fixed point is reached.
    """
    platform, report = Platform.of(world), Report()
    platform.engine.usual = Nature(takes=0.0)
    keeper = Keeper(platform, report, may_crash_at=may_crash_at, test_takes=0.0, is_doubled=is_doubled)
    for _ in range(KIND_ROUNDS):
        until = keeper.round()
        if platform.testing is not None:
            platform.journal.ask(tested=platform.testing[2])
            platform.testing = None
        if until is None:
            report.world = platform.observe()
            return report
        if until > platform.now:
            platform.now = until
            platform.engine.tick(until)
            good = dict.fromkeys(platform.journal.groups, PLENTY)
            rollout = platform.journal.rollout
            platform.evidence.rollout = rollout.id if rollout else 0
            platform.evidence.windows, platform.evidence.recent = [good], []
    raise Bug(f"no fixed point within {KIND_ROUNDS} rounds")


def simulate(seed: int, *, faults: Faults = NONE, rollouts: int = 5, may_act: bool = True) -> Report:
    """Simulate one life: about `rollouts` rollouts, good and bad, with `faults`; then quiet, up to the fixed point.

    `may_act`: an operator also aborts, promotes, rolls back, overtakes, and ups while a generation is warm.
    Raises  nothing for a broken invariant: `violations` lists them.
    """
    random = Random(seed)  # noqa: S311 - a reproducible run is wanted
    report = Report(seed)
    scene = Scene.begin(random, faults, rollouts, may_act=may_act)
    keeper = Keeper(scene.platform, report, random, faults)
    quiet_since = None
    for number in range(ROUNDS):
        until = keeper.round()
        now = scene.platform.now
        if quiet_since is None and scene.is_over and (keeper.is_idle or number > ROUNDS // 2):
            quiet_since = number
            keeper.faults = NONE
            scene.calm()
        elif until is None and quiet_since is not None:
            break
        elif quiet_since is not None and number - quiet_since > QUIET_ROUNDS:
            report.violations.append(f"no fixed point: {decide(scene.platform.observe()).reason}")
            break
        scene.go_on(now + scene.poll if until is None else min(until, now + scene.poll))
    report.world = scene.platform.observe()
    report.violations += _left_over(report.world)
    for one in scene.platform.journal.ended:
        end = f"{one.kind} {one.phase}"
        report.ends[end] = report.ends.get(end, 0) + 1
    report.services, report.accidents, report.superseded = len(scene.services), scene.accidents, scene.superseded
    report.tasks = sum(1 for step in report.steps if isinstance(step, Allot) and step.task)
    report.violations += scene.violations
    return report


def _left_over(world: World) -> Iterator[str]:
    """Yield what is wrong with the world as a fixed point."""
    if world.wish != world.serving or world.rollout is not None:
        yield f"g{world.wish} is wanted, g{world.serving} serves"
    groups = {m.group for n in needed(world) for m in world.members(n).values()}
    for one in world.allotments:
        if one.group not in groups:
            yield f"{one.name} is left over"
    for name in world.strays:
        yield f"{name} is a stray"
    for one in world.running.values():
        yield f"{one.task} is still under way"
    for service, member in world.members(world.serving).items():
        is_behind_edge = member.kind in LISTENING
        ready = world.reachable(member.group) if is_behind_edge else world.ready(member.group)
        weight = world.weight(service, member.group)
        if ready != member.size or weight != (FULL if is_behind_edge else 0):
            yield f"{member.group} has {ready} of {member.size} ready, and {weight}"
