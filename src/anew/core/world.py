"""One reading of everything. `decide` sees nothing else; the shell fills it in, tests make it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from anew.core.names import original
from anew.model import Counts, EdgeReading, Environment, Generation, Group, Member, Rollout, Sample, Scope, Window

PASSED = "exit code 0"  # how a task ends that did what it should
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Allotment:
    """An ordinal in use: committed before launch, ended by `Retire`."""

    name: str
    group: str
    ordinal: int
    port: int
    draining: float = 0.0  # when `Drain` was committed; 0: not draining
    task: str = ""  # the key of the task that it runs to its end; "": it is a member of its group
    tainted: str = ""  # what touched it; "": nothing did
    aside: str = ""  # why somebody asked for it to leave; "": nobody did
    hold: float = 0.0  # until when it is kept then, after it has left
    launched: float = 0.0  # when it was launched; 0: nobody has written that down


@dataclass(frozen=True, slots=True)
class Seen:
    """What was observed of one allotted instance."""

    is_alive: bool
    is_ready: bool
    ended: str = ""  # how it ended, if it has
    since: float = 0.0  # when `is_ready` last changed, or the instance was launched
    started: float = 0.0  # when its process started
    falls: int = 0  # how often it was ready and then no longer, as far as this keeper saw
    host: str = LOOPBACK  # where its port is reached
    touched: str = ""  # what has touched it from outside; "": nothing has


@dataclass(frozen=True, slots=True)
class TaskState:
    """The last run of a task that was begun: a command of `before`, or a scheduled run."""

    instance: str
    due: float = 0.0  # the time for which it was scheduled
    outcome: str = ""  # how it ended; "" while it runs

    @property
    def is_passed(self) -> bool:
        """Whether it ended well."""
        return self.outcome == PASSED


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
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)  # by group, in all stages until now
    windows: tuple[Window, ...] = ()  # the same by window, to be committed
    recent: Mapping[str, Sample] = field(default_factory=dict)  # by group, the last seconds: for the breaker
    unread: Mapping[str, str] = field(default_factory=dict)  # by key of `samples`: why it can't be counted just now
    is_testing: bool = False  # preview tests are running
    strays: tuple[str, ...] = ()  # instances of this scope that no allotment knows
    tasks: Mapping[str, TaskState] = field(default_factory=dict)  # by key
    due: Mapping[str, tuple[float, float]] = field(
        default_factory=dict
    )  # by schedule: its last time until now, its next
    inside: str = LOOPBACK  # the address of the edge that instances call
    trouble: str = ""  # why an effect can't succeed however often it is tried, since the phase was entered

    @cached_property
    def by_group(self) -> Mapping[str, tuple[Allotment, ...]]:
        """The members of each group, by ordinal; instances that run a task are none."""
        out: dict[str, list[Allotment]] = {}
        for one in sorted(self.allotments, key=lambda a: (a.group, a.ordinal)):
            if not one.task:
                out.setdefault(one.group, []).append(one)
        return {name: tuple(ones) for name, ones in out.items()}

    @cached_property
    def running(self) -> Mapping[str, Allotment]:
        """The instances that run a task, by its key."""
        return {a.task: a for a in self.allotments if a.task}

    @cached_property
    def peopled(self) -> frozenset[str]:
        """The groups that have instances of any kind."""
        return frozenset(a.group for a in self.allotments)

    @cached_property
    def apart(self) -> frozenset[str]:
        """The instances that are out of traffic and drained, and may be kept though."""
        flying = self.edge.in_flight
        return frozenset(
            a.name
            for a in self.allotments
            if a.draining and (a.tainted or a.aside) and self.told.get(a.name, True) and not flying.get(a.name, 0)
        )

    @cached_property
    def active(self) -> frozenset[str]:
        """The groups that have instances which are not apart."""
        return frozenset(a.group for a in self.allotments if a.name not in self.apart)

    @cached_property
    def homes(self) -> Mapping[str, tuple[int, ...]]:
        """The generations that map to each group, oldest first; a baseline is at home where its original is."""
        out: dict[str, list[int]] = {}
        for number, generation in sorted(self.generations.items()):
            for member in generation.members:
                out.setdefault(member.group, []).append(number)
        for name in self.groups:
            if original(name) in out:
                out[name] = out[original(name)]
        return {group: tuple(numbers) for group, numbers in out.items()}

    @cached_property
    def alone(self) -> frozenset[str]:
        """The groups beside which no other group of their service may run.

        It is no part of a seal: what serves or moves now says so, and else the newest generation that has the group.
        """
        said = {m.group: m.is_alone for _, g in sorted(self.generations.items()) for m in g.members}
        now = (self.serving,) if self.rollout is None else (self.rollout.old, self.rollout.new)
        members = [m for number in now for m in self.members(number).values()]
        said |= dict.fromkeys((m.group for m in members), False)
        return frozenset(g for g, is_alone in said.items() if is_alone) | {m.group for m in members if m.is_alone}

    @cached_property
    def turns(self) -> frozenset[str]:
        """The groups of services that are handed over: of those that serve, or move now, one must be alone."""
        rollout = self.rollout
        now = (self.serving,) if rollout is None else (rollout.old, rollout.new)
        services = {s for n in now for s, m in self.members(n).items() if m.is_alone}
        return frozenset(name for name, state in self.groups.items() if state.group.service in services)

    @cached_property
    def busy(self) -> Mapping[str, frozenset[str]]:
        """The groups of each service that have members, alive or not."""
        out: dict[str, set[str]] = {}
        for name in self.by_group:
            if name in self.groups:
                out.setdefault(self.groups[name].group.service, set()).add(name)
        return {service: frozenset(names) for service, names in out.items()}

    @cached_property
    def haunted(self) -> frozenset[str]:
        """The services of which something may run that no allotment knows."""
        start = f"{self.scope.project}-{self.scope.environment}-"
        return frozenset(name.removeprefix(start).rsplit("-", 2)[0] for name in self.strays)

    @cached_property
    def _members(self) -> Mapping[int, Mapping[str, Member]]:
        return {number: {m.service: m for m in one.members} for number, one in self.generations.items()}

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
        if one.group in self.turns or one.group in self.alone:
            return False  # its successor may only start when it has ended
        return one.group in self.weighted and self.is_ready(one.name) and not self.ready(one.group)

    def weight(self, service: str, group: str) -> int:
        """Return the weight that the edge confirms."""
        return self.edge.weights.get(service, {}).get(group, 0)

    def members(self, number: int) -> Mapping[str, Member]:
        """Return what a generation maps each service to; nothing for generation 0."""
        return self._members.get(number, {})

    def counts(self, group: str) -> Counts:
        """Return the exact counters of a group."""
        return self.edge.counts.get(group, Counts())
