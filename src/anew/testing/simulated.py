"""A journal, an engine and an edge in memory, as durable and as fallible as the real ones, under a clock that is told.

The journal compares and sets; the engine launches a name once; the edge may apply a change after it gave no answer.
Nothing here decides anything: `simulator` drives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from anew.core import names
from anew.core.consequences import consequences
from anew.core.machine import ENDS
from anew.core.steps import Allot, Begin, Drain, Enter, Forget, Keep, Retire
from anew.core.world import Allotment, GroupState, Seen, World
from anew.errors import Bug, Conflict, EngineError
from anew.model import (
    Declaration,
    EdgeReading,
    Environment,
    Generation,
    Group,
    Rollout,
    Sample,
    Scope,
    Seconds,
    Weights,
)

DEATHS_KEPT = 10
RECENT: Seconds = 10.0


@dataclass(frozen=True, slots=True)
class Nature:
    """How the instances of a group behave."""

    ready_after: Seconds | None = 0.0  # None: they never become ready
    dies_after: Seconds | None = None  # None: they live
    failures: float = 0.0  # part of their requests that fail
    is_refused: bool = False  # the engine can't launch them
    preview: str = "passed"  # what its preview tests find


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
    port: int = 20_000

    def seal(self, generation: Generation, groups: Iterable[Group]) -> None:
        """Commit a new generation and the groups that it brings."""
        self.generations[generation.number] = generation
        for group in groups:
            self.groups.setdefault(group.name, GroupState(group))

    def commit(self, world: World, step: Begin | Enter | Allot | Drain | Forget | Keep, now: float) -> None:
        """Commit a decision.

        Raises  Conflict if what it was decided on has changed meanwhile; Bug if an ordinal is used twice.
        """
        match step:
            case Begin(kind, old, new, reason, phase):
                if self.rollout is not None or self.wish != new:
                    raise Conflict("a rollout is under way, or another generation is wanted")
                number = len(self.ended) + 1
                self.rollout = Rollout(number, kind, old, new, phase, now, reason=reason, begun=now)
            case Enter():
                self._enter(world, step, now)
            case Allot(group, ordinal):
                self._allot(world, group, ordinal)
            case Drain(name):
                if name in self.allotments and not self.allotments[name].draining:
                    self.allotments[name] = replace(self.allotments[name], draining=now)
            case Forget(group):
                if any(a.group == group for a in self.allotments.values()):
                    raise Conflict(f"{group} has instances")
                self.groups.pop(group, None)
            case Keep(retired):
                for number in retired:
                    self.generations[number] = replace(self.generations[number], is_retired=True)

    def retire(self, step: Retire, now: float) -> None:
        """Commit that an instance has ended; success if that is known."""
        one = self.allotments.pop(step.name, None)
        if one is None or not step.is_death:
            return
        state = self.groups[one.group]
        deaths = (*state.deaths, now)[-DEATHS_KEPT:]
        self.groups[one.group] = replace(state, deaths=deaths, outcome=step.outcome)

    def ask(self, **changes: str) -> None:
        """Commit an operator's intention, or a test's result, in the rollout under way."""
        if self.rollout is not None:
            self.rollout = replace(self.rollout, version=self.rollout.version + 1, **changes)  # type: ignore[arg-type]

    def _allot(self, world: World, group: str, ordinal: int) -> None:
        name = names.instance_name(world.scope, group, ordinal)
        if name in self.allotments:
            return
        if (group, ordinal) in self.allotted:
            raise Bug(f"ordinal {ordinal} of {group} was used before")
        self.allotted.add((group, ordinal))
        self.port += 1
        self.allotments[name] = Allotment(name, group, ordinal, self.port)
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


@dataclass(slots=True)
class Engine:
    """Runs instances; a name is launched once."""

    natures: dict[str, Nature] = field(default_factory=dict)  # by group; absent: a good one
    processes: dict[str, Process] = field(default_factory=dict)
    launched: set[str] = field(default_factory=set)  # every name ever

    def nature(self, group: str) -> Nature:
        """Return how a group behaves."""
        return self.natures.get(group, Nature())

    def launch(self, name: str, group: str, now: float) -> None:
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
        self.processes[name] = Process(group, now, since=now)
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
        if nature.dies_after is not None and now >= one.started + nature.dies_after:
            self.end(name, "exit code 1")
        if not one.is_alive:
            return
        is_up = nature.ready_after is not None and now >= one.started + nature.ready_after
        is_ready = is_up and now >= one.hangs_until
        if is_ready != one.is_ready:
            one.is_ready, one.since = is_ready, now


@dataclass(slots=True)
class Edge:
    """Balances the load; what was asked for may come late, in the order in which it was asked."""

    is_up: bool = False
    declaration: Declaration | None = None
    weights: dict[str, dict[str, int]] = field(default_factory=dict)
    late: list[tuple[float, Weights]] = field(default_factory=list)

    def declare(self, declaration: Declaration) -> None:
        """Know exactly `declaration`; weights of groups that are forgotten go with them."""
        self.is_up, self.declaration = bool(declaration.groups), declaration if declaration.groups else None
        known = {g.name for g in declaration.groups}
        self.weights = {s: {g: w for g, w in ws.items() if g in known} for s, ws in self.weights.items()}
        if not self.is_up:
            self.weights, self.late = {}, []

    def shift(self, weights: Weights) -> None:
        """Set the weights of all services.

        Raises  EngineError if the edge does not run; Conflict for an undeclared group; Bug for a sum that is none.
        """
        self.land(float("inf"))
        if not self.is_up or self.declaration is None:
            raise EngineError("the edge does not answer", facts={"command": "show map"})
        known = {g.name for g in self.declaration.groups}
        for service, groups in weights.items():
            if sum(groups.values()) not in {0, 1000}:
                raise Bug(f"the weights of {service} sum to {sum(groups.values())}")
            if not {g for g, w in groups.items() if w} <= known:
                raise Conflict(f"{service} has a group that is not declared")
        self.weights = {s: dict(groups) for s, groups in weights.items()}

    def land(self, now: float) -> None:
        """Apply what was asked for earlier and is due."""
        due = [w for at, w in self.late if at <= now]
        self.late = [(at, w) for at, w in self.late if at > now]
        for weights in due:
            self.shift(weights)

    def fail(self) -> None:
        """Die with all workers."""
        self.is_up, self.declaration, self.weights, self.late = False, None, {}, []


@dataclass(slots=True)
class Evidence:
    """Windows of requests since the stage was entered, and of the last seconds."""

    stage: tuple[int, int] = (0, 0)
    windows: list[Mapping[str, Sample]] = field(default_factory=list)
    recent: list[tuple[float, Mapping[str, Sample]]] = field(default_factory=list)

    def add(self, now: float, rollout: Rollout | None, window: Mapping[str, Sample]) -> None:
        """Add one window; a new stage begins with none."""
        stage = (rollout.id, rollout.version) if rollout else (0, 0)
        if stage != self.stage:
            self.stage, self.windows = stage, []
        else:
            self.windows.append(window)
        self.recent = [(at, w) for at, w in self.recent if now - at < RECENT] + [(now, window)]

    def samples(self, groups: Iterable[str], rollout: Rollout | None) -> dict[str, tuple[Sample, ...]]:
        """Return the windows of each group since the present stage was entered, oldest first."""
        if self.stage != ((rollout.id, rollout.version) if rollout else (0, 0)):
            return {}
        return {g: tuple(w.get(g, Sample(0, 0)) for w in self.windows) for g in groups}

    def lately(self, groups: Iterable[str]) -> dict[str, Sample]:
        """Return what each group answered in the last seconds."""
        return {
            g: Sample(
                sum(w[g].requests for _, w in self.recent if g in w),
                sum(w[g].failures for _, w in self.recent if g in w),
            )
            for g in groups
        }


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

    @classmethod
    def of(cls, world: World) -> Platform:
        """Return a platform that looks like `world`."""
        allotments = {a.name: a for a in world.allotments}
        used = {(a.group, a.ordinal) for a in world.allotments}
        windows = max(map(len, world.samples.values()), default=0)
        evidence = Evidence(
            (world.rollout.id, world.rollout.version) if world.rollout else (0, 0),
            [{g: s[n] for g, s in world.samples.items() if n < len(s)} for n in range(windows)],
            [(world.now, world.recent)],
        )
        journal = Journal(
            world.wish,
            world.wish_kind,
            world.serving,
            dict(world.generations),
            dict(world.groups),
            world.rollout,
            allotments,
            used,
            port=max((a.port for a in world.allotments), default=20_000),
        )
        groups = {a.name: a.group for a in world.allotments}
        processes = {
            n: Process(groups[n], 0.0, s.is_alive, s.is_ready, s.since, ended=s.ended) for n, s in world.seen.items()
        }
        for name in processes.keys() & world.edge.in_flight.keys():
            processes[name].in_flight = world.edge.in_flight[name]
        processes |= {n: Process("", world.now) for n in world.strays}
        edge = Edge(world.edge.is_up, world.edge.declaration, {s: dict(w) for s, w in world.edge.weights.items()})
        engine = Engine({}, processes, set(processes))
        return cls(world.scope, world.environment, world.now, journal, engine, edge, evidence, trouble=world.trouble)

    def observe(self) -> World:
        """Return one reading of everything."""
        journal, edge = self.journal, self.edge
        flying = {n: p.in_flight for n, p in self.engine.processes.items() if p.in_flight}
        reading = EdgeReading(edge.is_up, edge.declaration, {s: dict(w) for s, w in edge.weights.items()}, {}, flying)
        seen = {
            n: Seen(p.is_alive, p.is_ready, p.ended, p.since)
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
            strays=tuple(sorted(self.engine.processes.keys() - journal.allotments.keys())),
            trouble=self.trouble,
        )
