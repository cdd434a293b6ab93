"""Observe: one reading of everything, from the journal, the engine, the edge and the health checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anew.core.world import Allotment, GroupState, Seen, World
from anew.model import EdgeReading, Instance, Scope
from anew.ports import Clock, Compute, Edge
from anew.shell.evidence import Evidence
from anew.shell.journal import Journal
from anew.shell.probe import Prober


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
    has_settled: bool = False

    def world(self, *, is_testing: bool = False, trouble: str = "") -> World:
        """Return the world as it is now."""
        row = self.journal.open_environment(self.scope.project, self.scope.environment)
        with self.journal.reading():
            groups = self.journal.instances.groups(self.scope)
            allotments = self.journal.instances.allotments(self.scope)
            rollout = self.journal.rollout(self.scope)
            generations = self.journal.generations.all(self.scope)
        instances = {one.name: one for one in self.compute.instances(self.scope)}
        reading = self.edge.reading()
        now = self.clock.now()
        if self.evidence is not None and reading.is_up:
            self.evidence.take(now, rollout, reading.counts)
        return World(
            now=now,
            scope=self.scope,
            environment=row.settings,
            preview_port=row.preview_port,
            wish=row.wish,
            wish_kind=row.wish_kind,
            serving=row.serving,
            generations=generations,
            groups=groups,
            rollout=rollout,
            allotments=tuple(allotments),
            seen=self._seen(groups, allotments, instances, reading),
            edge=reading,
            samples=self.evidence.samples() if self.evidence else {},
            recent=self.evidence.lately() if self.evidence else {},
            is_testing=is_testing,
            strays=tuple(sorted(instances.keys() - {a.name for a in allotments})),
            trouble=trouble,
        )

    def _seen(
        self,
        groups: Mapping[str, GroupState],
        allotments: tuple[Allotment, ...] | list[Allotment],
        instances: Mapping[str, Instance],
        reading: EdgeReading,
    ) -> dict[str, Seen]:
        ours = {a.name: a for a in allotments if a.name in instances}
        if self.prober is None:
            told = {t.name for g in (reading.declaration.groups if reading.declaration else ()) for t in g.targets}
            return {n: _glance(instances[n], is_told=n in told) for n in ours}
        watched = {
            n: (a.port, groups[a.group].group.seal.health)
            for n, a in ours.items()
            if instances[n].is_alive and a.group in groups
        }
        self.prober.watch(watched)
        if not self.has_settled:  # a keeper that takes over must not take what it has not asked yet for lost
            self.prober.settle()
            self.has_settled = True
        probed = self.prober.readings()
        out = {}
        for name in ours:
            one, probe = instances[name], probed.get(name)
            is_ready = one.is_alive and one.is_listening and probe is not None and probe.is_ready
            since = probe.since if probe is not None else one.started
            out[name] = Seen(one.is_alive, is_ready, one.ended, since, probe.falls if probe is not None else 0)
        return out


def _glance(one: Instance, *, is_told: bool) -> Seen:
    """Judge readiness without asking the application: it listens, and a keeper has found it ready before."""
    return Seen(one.is_alive, one.is_alive and one.is_listening and is_told, one.ended, one.started)
