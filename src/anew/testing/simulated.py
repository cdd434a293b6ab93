"""A journal, an engine and an edge in memory, as durable and as fallible as the real ones, under a clock that is told.

The journal compares and sets; the engine launches a name once; the edge may apply a change after it gave no answer.
Nothing here decides anything: `simulator` drives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from anew.core import names
from anew.core.consequences import consequences
from anew.core.control import groups_beside
from anew.core.machine import ENDS
from anew.core.names import original
from anew.core.preview import ageless
from anew.core.steps import Allot, Begin, Drain, Enter, Forget, Keep, Retire, Taint
from anew.core.world import PASSED, Allotment, GroupState, Seen, TaskState, World
from anew.errors import Bug, Conflict, EngineError
from anew.model import EdgeReading, Environment, Generation, Group, Rollout, Scope, Seconds
from anew.testing.groups import SCHEDULE
from anew.testing.simulated_edge import Edge, Evidence

DEATHS_KEPT = 64
PERIOD: Seconds = 7.0  # of every schedule


@dataclass(frozen=True, slots=True)
class Nature:
    """How the instances of a group behave."""

    ready_after: Seconds | None = 0.0  # None: they never become ready
    dies_after: Seconds | None = None  # None: they live
    failures: float = 0.0  # part of their requests that fail
    is_refused: bool = False  # the engine can't launch them
    preview: str = "passed"  # what its preview tests find
    flaps: Seconds = 0.0  # it is ready and not ready in turn, each so long
    takes: Seconds | None = 0.5  # how long its tasks run; None: they never end
    ends: str = PASSED  # how its tasks end


@dataclass(slots=True)
class Journal:
    """Committed decisions; survives every crash."""

    wish: int = 0
    wish_kind: str = "rollout"
    serving: int = 0
    generations: dict[int, Generation] = field(default_factory=dict)
    groups: dict[str, GroupState] = field(default_factory=dict)
    rollout: Rollout | None = None
    allotments: dict[str, Allotment] = field(default_factory=dict)
    allotted: set[tuple[str, int]] = field(default_factory=set)  # every ordinal ever
    ended: list[Rollout] = field(default_factory=list)
    tasks: dict[str, TaskState] = field(default_factory=dict)
    beside: dict[str, int] = field(default_factory=dict)  # of baselines that are disposed of, their next ordinal
    port: int = 20_000

    def seal(self, generation: Generation, groups: Iterable[Group]) -> None:
        """Commit a new generation and the groups that it brings."""
        self.generations[generation.number] = generation
        for group in groups:
            self.groups.setdefault(group.name, GroupState(group))

    def commit(self, world: World, step: Begin | Enter | Allot | Taint | Drain | Forget | Keep, now: float) -> None:
        """Commit a decision.

        Raises  Conflict if what it was decided on has changed meanwhile; Bug if an ordinal is used twice.
        """
        match step:
            case Begin():
                self._begin(world, step, now)
            case Enter():
                self._enter(world, step, now)
            case Allot():
                self._allot(world, step)
            case Taint(name, evidence):
                self._taint(name, evidence, now, is_leaving=world.environment.taint == "replace")
            case Drain(name):
                if name in self.allotments and not self.allotments[name].draining:
                    self.allotments[name] = replace(self.allotments[name], draining=now)
            case Forget(group):
                self._forget(group)
            case Keep(retired):
                for number in retired:
                    self.generations[number] = replace(self.generations[number], is_retired=True)

    def _begin(self, world: World, step: Begin, now: float) -> None:
        """Begin a rollout, with its baselines: they have doors of their own, and ordinals are never used again."""
        if self.rollout is not None or self.wish != step.new:
            raise Conflict("a rollout is under way, or another generation is wanted")
        number = max((one.id for one in self.ended), default=0) + 1
        begun = Rollout(number, step.kind, step.old, step.new, step.phase, now, reason=step.reason, begun=now)
        self.rollout = begun
        for name, state in groups_beside(replace(world, rollout=begun)).items():
            doors = self.groups[original(name)].group.doors
            moved = tuple(replace(door, port=door.port + 100_000 * step.new) for door in doors)
            first = self.beside.get(name, 0)
            self.groups[name] = replace(state, group=replace(state.group, doors=moved), next_ordinal=first)

    def _forget(self, group: str) -> None:
        if any(a.group == group for a in self.allotments.values()):
            raise Conflict(f"{group} has instances")
        gone = self.groups.pop(group, None)
        if gone is not None and original(group) != group:
            self.beside[group] = gone.next_ordinal

    def retire(self, step: Retire, now: float) -> None:
        """Commit that an instance has ended; success if that is known."""
        one = self.allotments.pop(step.name, None)
        if one is not None and one.task:
            self.tasks[one.task] = replace(self.tasks[one.task], outcome=step.outcome)
        if one is None or not step.is_death:
            return
        self._add_death(one.group, step.outcome, now)

    def ask(self, **changes: str) -> None:
        """Commit an operator's intention, or a test's result, in the rollout under way."""
        if self.rollout is not None:
            self.rollout = replace(self.rollout, version=self.rollout.version + 1, **changes)  # type: ignore[arg-type]

    def _taint(self, name: str, evidence: str, now: float, *, is_leaving: bool) -> None:
        one = self.allotments.get(name)
        if one is not None and not one.tainted:
            self.allotments[name] = replace(one, tainted=evidence)
            if is_leaving:
                self._add_death(one.group, f"tainted: {evidence}", now)

    def _add_death(self, group: str, outcome: str, now: float) -> None:
        state = self.groups[group]
        self.groups[group] = replace(state, deaths=(*state.deaths, now)[-DEATHS_KEPT:], outcome=outcome)

    def set_aside(self, name: str, reason: str, hold: float) -> None:
        """Commit that somebody asks for an instance to leave."""
        if name in self.allotments:
            self.allotments[name] = replace(self.allotments[name], aside=reason, hold=hold)

    def _allot(self, world: World, step: Allot) -> None:
        group, ordinal = step.group, step.ordinal
        name = names.instance_name(world.scope, group, ordinal)
        if name in self.allotments:
            return
        if (group, ordinal) in self.allotted:
            raise Bug(f"ordinal {ordinal} of {group} was used before")
        if step.task.startswith("before ") and step.task in self.tasks:
            raise Bug(f"{step.task} is run a second time")
        self.allotted.add((group, ordinal))
        self.port += 1
        self.allotments[name] = Allotment(name, group, ordinal, self.port, task=step.task)
        if step.task:
            self.tasks[step.task] = TaskState(name, step.due)
        state = self.groups[group]
        self.groups[group] = replace(state, next_ordinal=max(state.next_ordinal, ordinal + 1))

    def _enter(self, world: World, step: Enter, now: float) -> None:
        going = self.rollout
        if going is None or (going.id, going.version) != (step.rollout, step.version):
            raise Conflict("the rollout has moved meanwhile")
        entered = replace(
            going, phase=step.phase, stage=step.stage, since=now, reason=step.reason, version=going.version + 1
        )
        also = consequences(world, entered)
        for change in also.generations:
            self.generations[change.number] = change.applied(self.generations[change.number])
        self.serving = self.serving if also.serving is None else also.serving
        if also.wish is not None and self.wish == going.new:
            self.wish = also.wish
        self.rollout = entered
        if step.phase in ENDS:
            self.ended.append(entered)
            self.rollout = None


@dataclass(slots=True)
class Process:
    """One instance in the engine."""

    group: str
    started: float
    is_alive: bool = True
    is_ready: bool = False
    since: float = 0.0  # when `is_ready` last changed
    hangs_until: float = 0.0  # it does not answer until then
    ended: str = ""
    in_flight: int = 0
    task: str = ""  # it runs this to its end, and is never ready
    falls: int = 0
    touched: str = ""


@dataclass(slots=True)
class Engine:
    """Runs instances; a name is launched once."""

    natures: dict[str, Nature] = field(default_factory=dict)  # by group; absent: a good one
    usual: Nature = Nature()  # of a group that has no other
    processes: dict[str, Process] = field(default_factory=dict)
    launched: set[str] = field(default_factory=set)  # every name ever

    def nature(self, group: str) -> Nature:
        """Return how a group behaves."""
        return self.natures.get(original(group), self.usual)

    def launch(self, name: str, group: str, now: float, task: str = "") -> None:
        """Start an instance; one of that name is left as it is.

        Raises  Bug if the name was used before; EngineError if its nature is to be refused.
        """
        if name in self.processes:
            return
        if name in self.launched:
            raise Bug(f"{name} was launched before")
        nature = self.nature(group)
        if nature.is_refused:
            raise EngineError(f"{name} does not start", facts={"command": f"launch {name}"})
        self.launched.add(name)
        self.processes[name] = Process(group, now, since=now, task=task)
        self._live(name, now)

    def stop(self, name: str) -> None:
        """End an instance; success if it has ended or is unknown."""
        self.end(name, "exit code 0")

    def end(self, name: str, how: str) -> None:
        """Let an instance end."""
        process = self.processes.get(name)
        if process is not None and process.is_alive:
            process.is_alive, process.is_ready, process.ended, process.in_flight = False, False, how, 0

    def remove(self, name: str) -> None:
        """Forget an ended instance; success if it is gone."""
        process = self.processes.get(name)
        if process is not None and process.is_alive:
            raise Conflict(f"{name} is alive")
        self.processes.pop(name, None)

    def tick(self, now: float) -> None:
        """Let instances become ready, hang and die as their nature is."""
        for name in self.processes:
            self._live(name, now)

    def _live(self, name: str, now: float) -> None:
        one = self.processes[name]
        nature = self.nature(one.group)
        if one.task:
            if nature.takes is not None and now >= one.started + nature.takes:
                self.end(name, nature.ends)
            return
        if nature.dies_after is not None and now >= one.started + nature.dies_after:
            self.end(name, "exit code 1")
        if not one.is_alive:
            return
        is_up = nature.ready_after is not None and now >= one.started + nature.ready_after
        is_in_a_bad_spell = nature.flaps > 0 and int((now - one.started) / nature.flaps) % 2 == 1
        is_ready = is_up and now >= one.hangs_until and not is_in_a_bad_spell
        if is_ready != one.is_ready:
            one.is_ready, one.since, one.falls = is_ready, now, one.falls + one.is_ready


@dataclass(slots=True)
class Platform:
    """All that a keeper sees and acts on."""

    scope: Scope
    environment: Environment
    now: float
    journal: Journal = field(default_factory=Journal)
    engine: Engine = field(default_factory=Engine)
    edge: Edge = field(default_factory=Edge)
    evidence: Evidence = field(default_factory=Evidence)
    testing: tuple[int, float, str] | None = None  # rollout, when it ends, what it finds; dies with the keeper
    trouble: str = ""  # dies with the keeper
    has_schedules: bool = True  # false: what the clock brings is over

    @classmethod
    def of(cls, world: World) -> Platform:
        """Return a platform that looks like `world`."""
        allotments = {a.name: a for a in world.allotments}
        used = {(a.group, a.ordinal) for a in world.allotments}
        windows = max(map(len, world.samples.values()), default=0)
        evidence = Evidence(
            world.rollout.id if world.rollout else 0,
            [{g: s[n] for g, s in world.samples.items() if n < len(s)} for n in range(windows)],
            [(world.now, world.recent)],
        )
        journal = Journal(
            world.wish,
            world.wish_kind,
            world.serving,
            dict(ageless(world).generations),
            dict(world.groups),
            world.rollout,
            allotments,
            used,
            tasks=dict(world.tasks),
            port=max((a.port for a in world.allotments), default=20_000),
        )
        groups = {a.name: a.group for a in world.allotments}
        processes = {
            n: Process(
                groups[n], s.started, s.is_alive, s.is_ready, s.since, ended=s.ended, falls=s.falls, touched=s.touched
            )
            for n, s in world.seen.items()
        }
        for one in world.running.values():
            if one.name in processes:
                processes[one.name].task = one.task
        for name in processes.keys() & world.edge.in_flight.keys():
            processes[name].in_flight = world.edge.in_flight[name]
        processes |= {n: Process("", world.now) for n in world.strays}
        edge = Edge(world.edge.is_up, world.edge.declaration, {s: dict(w) for s, w in world.edge.weights.items()})
        engine = Engine(processes=processes, launched=set(processes))
        return cls(
            world.scope,
            world.environment,
            world.now,
            journal,
            engine,
            edge,
            evidence,
            trouble=world.trouble,
            has_schedules=False,
        )

    def observe(self) -> World:
        """Return one reading of everything."""
        journal, edge = self.journal, self.edge
        flying = {n: p.in_flight for n, p in self.engine.processes.items() if p.in_flight and edge.is_up}
        reading = EdgeReading(edge.is_up, edge.declaration, {s: dict(w) for s, w in edge.weights.items()}, {}, flying)
        seen = {
            n: Seen(p.is_alive, p.is_ready, p.ended, p.since, p.started, p.falls, touched=p.touched)
            for n in journal.allotments
            if (p := self.engine.processes.get(n)) is not None
        }
        return World(
            now=self.now,
            scope=self.scope,
            environment=self.environment,
            preview_port=9000,
            wish=journal.wish,
            wish_kind=journal.wish_kind,
            serving=journal.serving,
            generations=dict(journal.generations),
            groups=dict(journal.groups),
            rollout=journal.rollout,
            allotments=tuple(journal.allotments.values()),
            seen=seen,
            edge=reading,
            samples=self.evidence.samples(journal.groups, journal.rollout),
            recent=self.evidence.lately(journal.groups),
            is_testing=self.testing is not None,
            tasks=dict(journal.tasks),
            due={SCHEDULE: (self.now // PERIOD * PERIOD, self.now // PERIOD * PERIOD + PERIOD)}
            if self.has_schedules
            else {},
            strays=tuple(sorted(self.engine.processes.keys() - journal.allotments.keys())),
            trouble=self.trouble,
        )
