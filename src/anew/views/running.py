"""Answers about what runs, and why it does or does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anew.model import Bytes, Digest, PerMille
from anew.views.judged import Judgement
from anew.views.kept import Event


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group as it is now."""

    name: str
    generation: str  # "g3": the newest generation that maps to it
    weight: PerMille
    ready: int
    size: int
    in_flight: int
    role: Literal["live", "new", "control", "warm", "leaving"]
    marked: Mapping[str, str] = field(default_factory=dict)  # instances that are tainted or have to leave, and why


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service as it is now."""

    name: str
    urls: tuple[str, ...]
    groups: tuple[GroupView, ...]


@dataclass(frozen=True, slots=True)
class RolloutView:
    """The rollout that is under way, or the last that ended."""

    generation: str
    release: str
    kind: Literal["rollout", "rollback"]
    phase: str  # a phase, or "stage 2 of 4"
    weight: PerMille  # of the new groups
    since: float
    reason: str
    is_over: bool  # `up` has nothing more to wait for: warm, done or rolled back
    is_good: bool  # the wanted generation has all traffic
    guard: str = ""  # once nothing is compared any more: what still takes it back by itself


@dataclass(frozen=True, slots=True)
class Status:
    """One environment as it is now."""

    project: str
    environment: str
    serving: str  # "g3", or ""
    release: str
    wish: str
    reason: str  # the keeper's one sentence
    keeper: int  # its pid, or 0
    edge: str  # "http://127.0.0.1:8080", or ""
    services: tuple[ServiceView, ...] = ()
    rollout: RolloutView | None = None
    warm: tuple[str, ...] = ()  # generations that can be gone back to at once
    trouble: str = ""  # why some of this could not be looked at
    notes: tuple[str, ...] = ()  # heads that are too old, as `max_os_age` says
    judgements: tuple[Judgement, ...] = ()  # while a stage is under way; of each course only what is known now


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a command that moves traffic: the generation that it was about, and the environment after it."""

    generation: str
    status: Status


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one service of a generation runs."""

    service: str
    group: str
    size: int
    image: Digest
    command: tuple[str, ...]
    flags: Mapping[str, str]
    secrets: tuple[str, ...]  # "db_password v2"
    limits: Mapping[str, float]  # "memory" in bytes, "cpu" in processors, "pids"


@dataclass(frozen=True, slots=True)
class Ordered:
    """All that one instance was given when it was launched; of secrets the versions only."""

    image: Digest
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int  # 0: it listened on nothing
    writable: tuple[str, ...]
    volumes: Mapping[str, str]  # by name: where it saw them
    secrets: tuple[str, ...]  # "db_password v2"
    limits: Mapping[str, float]  # "memory" in bytes, "cpu" in processors, "pids"


@dataclass(frozen=True, slots=True)
class Autopsy:
    """How one instance ended, or what it was like when it was found touched."""

    instance: str
    group: str
    outcome: str
    is_death: bool
    tainted: str  # what touched it; "": nothing did
    peak_memory: Bytes  # 0: not known
    at: float
    last: tuple[str, ...]  # the end of its log, where it did not end as it should
    changed: tuple[str, ...] = ()  # files that were not as in its image: "added: /usr/lib/more"; the first 200
    more_changed: int = 0  # so many besides
    ordered: Ordered | None = None  # where it did not end as it should


@dataclass(frozen=True, slots=True)
class Why:
    """Why a generation is what it is."""

    generation: str
    release: str
    outcome: str  # "serves", "promoted", "rolled back", "withdrawn", "sealed"
    reason: str
    at: float
    before: str  # the generation that served when it was sealed, or ""
    sealed: tuple[Sealed, ...]
    course: tuple[Event, ...]  # of its rollouts, oldest first
    instances: tuple[Autopsy, ...]  # that have ended
    judgements: tuple[Judgement, ...] = ()  # by the windows of its rollout


@dataclass(frozen=True, slots=True)
class Debugged:
    """How a look into an instance ended."""

    instance: str
    code: int  # the exit code of the shell or command; -N for signal N


@dataclass(frozen=True, slots=True)
class Reborn:
    """The instances that were replaced, or are to be."""

    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that an instance wrote."""

    instance: str
    line: str
