"""Observe: one reading of everything, from the journal, the engine, the edge and the health checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from anew.core import control
from anew.core.world import LOOPBACK, Seen, World
from anew.errors import EngineError, Unsupported

if TYPE_CHECKING:  # a command that only looks needs none of these
    from anew.core.world import Allotment, GroupState, TaskState
    from anew.model import EdgeReading, Generation, Instance, Rollout, Scope, Seal
    from anew.ports import Clock, Compute, Edge
    from anew.shell.deaths import Deaths
    from anew.shell.evidence import Evidence
    from anew.shell.journal import EnvironmentRow, Journal
    from anew.shell.meters import Meters
    from anew.shell.probe import Prober
    from anew.shell.touches import Touches

GONE = "gone: its engine has no such instance any more"


@dataclass(frozen=True, slots=True)
class Committed:
    """All that the journal knows of one environment; `stamp` is `Journal.stamp` when it was read."""

    stamp: tuple[int, ...]
    row: EnvironmentRow
    groups: Mapping[str, GroupState]
    allotments: tuple[Allotment, ...]
    rollout: Rollout | None
    generations: Mapping[int, Generation]
    tasks: Mapping[str, TaskState]

    @property
    def late_stage(self) -> int | None:
        """See `anew.core.control.late_stage`."""
        return control.late_stage(self.rollout, self.generations) if self.rollout else None

    def apart(self, reading: EdgeReading) -> frozenset[str]:
        """See `anew.core.control.apart`."""
        if self.rollout is None or not reading.is_up:
            return frozenset()
        return control.apart(self.rollout, self.generations, reading.weights)


@dataclass(slots=True)
class Observer:
    """Reads the world of one environment again and again."""

    scope: Scope
    journal: Journal
    compute: Compute
    edge: Edge
    clock: Clock
    prober: Prober | None = None  # None: only a look, health is not asked
    evidence: Evidence | None = None
    deaths: Deaths | None = None  # None: nobody waits to be told
    touches: Touches | None = None  # None: nobody looks who touches what
    meters: Meters | None = None  # None: nothing is counted but requests at the edge
    has_settled: bool = False
    has_news: bool = False  # `deaths` asks for another look at once
    committed: Committed | None = None
    cut_off: dict[str, float] = field(default_factory=dict)  # instances without an address, and since when

    def world(self, *, is_testing: bool = False, trouble: str = "") -> World:
        """Return the world as it is now."""
        known = self._committed()
        row, groups, allotments, rollout = known.row, known.groups, known.allotments, known.rollout
        try:
            instances = {one.name: one for one in self.compute.instances(self.scope)}
            inside = self.compute.inside(self.scope) if row.wish or allotments else LOOPBACK
        except (EngineError, Unsupported) as error:
            if self.prober is not None:
                raise
            # Who only looks is told what is known all the same; where nobody answers, no instance is said to be gone.
            instances, inside, trouble = {}, LOOPBACK, error.what
            known = replace(known, allotments=tuple(replace(one, launched=0.0) for one in allotments))
        if self.touches is not None:
            self.touches.alive = {one.name: one.pid for one in instances.values() if one.is_alive and one.pid}
        reading = self.edge.reading()
        if self.deaths is not None:
            alive = [one for one in instances.values() if one.is_alive]
            pids = (*reading.pids, *(one.pid for one in alive), *(one.warden for one in alive))
            self.has_news = self.deaths.watch(pids)
        now = self.clock.now()
        if self.evidence is not None and (reading.is_up or self.meters is not None):
            counted = self.meters.counts() if self.meters is not None else {}
            counts = {**(reading.counts if reading.is_up else {}), **counted}
            self.evidence.take(now, rollout, counts, known.late_stage, known.apart(reading))
        return World(
            now=now,
            scope=self.scope,
            environment=row.settings,
            preview_port=row.preview_port,
            wish=row.wish,
            wish_kind=row.wish_kind,
            serving=row.serving,
            generations=known.generations,
            groups=groups,
            rollout=rollout,
            allotments=allotments,
            seen=self._marked(self._seen(known, instances, reading, now)),
            edge=reading,
            samples=self.evidence.samples() if self.evidence else {},
            windows=tuple(self.evidence.windows) if self.evidence else (),
            recent=self.evidence.lately() if self.evidence else {},
            unread=self.meters.unread() if self.meters is not None else {},
            is_testing=is_testing,
            strays=tuple(sorted(instances.keys() - {a.name for a in allotments})),
            tasks=known.tasks,
            inside=inside,
            due={s: due(s, now) for s in sorted({g.group.seal.schedule for g in groups.values()}) if s},
            trouble=trouble,
        )

    def _committed(self) -> Committed:
        """Return what the journal knows, decoded anew only if anything was committed since."""
        project, environment = self.scope.project, self.scope.environment
        with self.journal.reading():
            stamp = self.journal.stamp()
            if self.committed is not None and self.committed.stamp == stamp:
                return self.committed
            row = self.journal.environment(project, environment)
            if row is not None:
                self.committed = Committed(
                    stamp,
                    row,
                    self.journal.instances.groups(self.scope),
                    self.journal.instances.allotments(self.scope),
                    self.journal.rollout(self.scope),
                    self.journal.generations.all(self.scope),
                    self.journal.instances.tasks(self.scope),
                )
                return self.committed
        return Committed(stamp, self.journal.open_environment(project, environment), {}, (), None, {}, {})

    def _marked(self, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Add what touched each instance."""
        found = self.touches.found() if self.touches is not None else {}
        return seen | {n: replace(seen[n], touched=found[n]) for n in found.keys() & seen.keys()}

    def _seen(
        self, known: Committed, instances: Mapping[str, Instance], reading: EdgeReading, now: float
    ) -> dict[str, Seen]:
        groups = known.groups
        ours = {a.name: a for a in known.allotments if a.name in instances and a.group in groups}
        seals = {n: groups[a.group].group.seal for n, a in ours.items()}
        quiet = {n: _unasked(instances[n], seals[n], now) for n in ours if ours[n].task or seals[n].kind != "http"}
        quiet |= {a.name: _lost(a) for a in known.allotments if a.launched and a.name not in instances}
        if self.prober is None:
            told = {t.name for g in (reading.declaration.groups if reading.declaration else ()) for t in g.targets}
            return {n: _glance(instances[n], is_told=n in told) for n in ours} | quiet
        watched = {
            n: (instances[n].host, ours[n].port, seals[n].health)
            for n in ours.keys() - quiet.keys()
            if instances[n].is_alive and instances[n].host
        }
        self.prober.watch(watched, may_rest=known.rollout is None or known.rollout.phase == "warm")
        if not self.has_settled:  # a keeper that takes over must not take what it has not asked yet for lost
            self.prober.settle()
            self.has_settled = True
        probed = self.prober.readings()
        out = dict(quiet)
        for name in ours.keys() - quiet.keys():
            one, probe = instances[name], probed.get(name)
            is_ready = one.is_alive and one.is_listening and probe is not None and probe.is_ready
            since = probe.since if probe is not None else self._unreached_since(one, now)
            falls = probe.falls if probe is not None else 0
            out[name] = Seen(one.is_alive, is_ready, one.ended, since, one.started, falls, one.host)
        return out

    def _unreached_since(self, one: Instance, now: float) -> float:
        """Return since when an instance can't be asked: as long as it lives, or since it was cut off."""
        if one.host or not one.is_alive:
            self.cut_off.pop(one.name, None)
            return one.started
        return self.cut_off.setdefault(one.name, now)


def _glance(one: Instance, *, is_told: bool) -> Seen:
    """Judge readiness without asking the application: it listens, and a keeper has found it ready before."""
    is_ready = one.is_alive and one.is_listening and is_told
    return Seen(one.is_alive, is_ready, one.ended, one.started, one.started, host=one.host)


def _unasked(one: Instance, seal: Seal, now: float) -> Seen:
    """Judge what speaks no HTTP: a TCP server is ready when it listens, a worker when it has lived for a while."""
    ready_at = one.started if seal.kind == "tcp" else one.started + seal.ready_after
    is_ready = one.is_alive and (one.is_listening if seal.kind == "tcp" else now >= ready_at)
    return Seen(one.is_alive, is_ready, one.ended, ready_at if is_ready else one.started, one.started, host=one.host)


def _lost(one: Allotment) -> Seen:
    """Judge what was launched and is not there: somebody took it away. It is dead, and its ordinal is used up."""
    return Seen(is_alive=False, is_ready=False, ended=GONE, since=one.launched, started=one.launched)


def due(schedule: str, now: float) -> tuple[float, float]:
    """Return the last time until `now`, and the next one, at which a schedule is due; UTC.

    >>> due("0 3 * * *", 86400.0 * 365)
    (31460400.0, 31546800.0)
    """
    from cronsim import CronSim  # noqa: PLC0415 - only environments with a schedule need it

    at = datetime.fromtimestamp(int(now), UTC)
    last = next(CronSim(schedule, at + timedelta(minutes=1), reverse=True), None)
    while last is not None and last > at:
        last = next(CronSim(schedule, last, reverse=True), None)
    following = next(CronSim(schedule, at), None)
    return last.timestamp() if last else 0.0, following.timestamp() if following else 0.0
