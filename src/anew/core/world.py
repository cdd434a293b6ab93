"""One reading of everything. `decide` sees nothing else; the shell fills it in, tests make it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from anew.model import Counts, EdgeReading, Environment, Generation, Group, Member, Rollout, Sample, Scope


@dataclass(frozen=True, slots=True)
class Allotment:
    """An ordinal in use: committed before launch, ended by `Retire`."""

    name: str
    group: str
    ordinal: int
    port: int
    draining: float = 0.0  # when `Drain` was committed; 0: not draining


@dataclass(frozen=True, slots=True)
class Seen:
    """What was observed of one allotted instance."""

    is_alive: bool
    is_ready: bool
    ended: str = ""  # how it ended, if it has
    since: float = 0.0  # when `is_ready` last changed, or the instance was launched
    falls: int = 0  # how often it was ready and then no longer, as far as this keeper saw


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group that is not disposed of, and what the journal remembers of its instances."""

    group: Group
    next_ordinal: int = 0
    deaths: tuple[float, ...] = ()  # when instances died by themselves, oldest first, the last few
    outcome: str = ""  # how the last one died


@dataclass(frozen=True)
class World:
    """Everything that a decision may depend on, at one moment."""

    now: float
    scope: Scope
    environment: Environment
    preview_port: int
    wish: int  # generation number; 0: nothing is wanted
    wish_kind: str  # "rollout" or "rollback"
    serving: int  # the generation that has the traffic; 0: none
    generations: Mapping[int, Generation]
    groups: Mapping[str, GroupState] = field(default_factory=dict)
    rollout: Rollout | None = None  # the one under way
    allotments: tuple[Allotment, ...] = ()
    seen: Mapping[str, Seen] = field(default_factory=dict)  # by instance; absent: never launched
    edge: EdgeReading = field(default_factory=lambda: EdgeReading(is_up=False))
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)  # by group, since the stage was entered
    recent: Mapping[str, Sample] = field(default_factory=dict)  # by group, the last seconds: for the breaker
    is_testing: bool = False  # preview tests are running
    strays: tuple[str, ...] = ()  # instances of this scope that no allotment knows
    trouble: str = ""  # why an effect can't succeed however often it is tried, since the phase was entered

    @cached_property
    def by_group(self) -> Mapping[str, tuple[Allotment, ...]]:
        """The allotments of each group, by ordinal."""
        out: dict[str, list[Allotment]] = {}
        for one in sorted(self.allotments, key=lambda a: (a.group, a.ordinal)):
            out.setdefault(one.group, []).append(one)
        return {name: tuple(ones) for name, ones in out.items()}

    @cached_property
    def told(self) -> Mapping[str, bool]:
        """The targets that the edge knows: instance → whether it is draining there."""
        declared = self.edge.declaration.groups if self.edge.declaration else ()
        return {t.name: t.is_draining for g in declared for t in g.targets}

    @cached_property
    def weighted(self) -> frozenset[str]:
        """The groups that have traffic at the edge."""
        return frozenset(g for weights in self.edge.weights.values() for g, w in weights.items() if w)

    def is_ready(self, name: str) -> bool:
        """Say whether the instance answers its health check."""
        seen = self.seen.get(name)
        return seen is not None and seen.is_alive and seen.is_ready

    def ready(self, group: str) -> int:
        """Count the instances of `group` that are ready and not draining."""
        return sum(1 for a in self.by_group.get(group, ()) if not a.draining and self.is_ready(a.name))

    def reachable(self, group: str) -> int:
        """Count the instances of `group` that are ready, not draining, and known to the edge as such."""
        ones = self.by_group.get(group, ())
        return sum(1 for a in ones if not a.draining and self.is_ready(a.name) and self.told.get(a.name) is False)

    def is_last(self, one: Allotment) -> bool:
        """Say whether `one` is ready while its group has traffic and no ready instance that stays."""
        return one.group in self.weighted and self.is_ready(one.name) and not self.ready(one.group)

    def weight(self, service: str, group: str) -> int:
        """Return the weight that the edge confirms."""
        return self.edge.weights.get(service, {}).get(group, 0)

    def members(self, number: int) -> Mapping[str, Member]:
        """Return what a generation maps each service to; nothing for generation 0."""
        generation = self.generations.get(number)
        return {m.service: m for m in generation.members} if generation else {}

    def counts(self, group: str) -> Counts:
        """Return the exact counters of a group."""
        return self.edge.counts.get(group, Counts())
