"""What was decided: seals, generations, rollouts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from anew.model.counted import Window
from anew.model.made import Image
from anew.model.measured import Outcomes
from anew.model.units import Digest, Seconds
from anew.model.wish import Kind, Limits, Policy, Task, Test, Volume


@dataclass(frozen=True, slots=True)
class Pin:
    """The version of a secret that a seal holds; `mac` tells another value without revealing this one."""

    name: str
    version: int  # 1, 2, … per environment and name, never reused
    mac: str  # "hmac-sha256:" and 64 hexadecimal digits


@dataclass(frozen=True, slots=True)
class Need:
    """A service that is called, and how it is reached: over HTTP or over TCP."""

    service: str
    is_tcp: bool = False


@dataclass(frozen=True, slots=True)
class Door:
    """A port of the edge that belongs to a group for as long as it lives: through it the group reaches `service`.

    The door of a TCP group to its own service is its preview.
    """

    service: str
    port: int
    is_tcp: bool = False


@dataclass(frozen=True, slots=True)
class Seal:
    """What one service runs in one environment, and nothing that may differ without a new group."""

    service: str
    image: Digest
    command: tuple[str, ...]
    flags: tuple[tuple[str, str], ...] = ()
    health: str = ""  # path; "" if the service speaks no HTTP
    writable: tuple[str, ...] = ()
    kind: Kind = "http"
    needs: tuple[Need, ...] = ()
    secrets: tuple[Pin, ...] = ()
    volumes: tuple[Volume, ...] = ()
    ready_after: Seconds = 0.0  # of a worker
    schedule: str = ""  # of a job
    within: Seconds = 0.0  # of a job's run
    limits: Limits = field(default_factory=Limits)
    is_asked: bool = False  # a worker that answers with the outcomes of its work

    @property
    def listens(self) -> bool:
        """Whether it waits for requests or connections, which come to it through the edge."""
        return self.kind in {"http", "tcp"}

    @property
    def has_port(self) -> bool:
        """Whether its instances get a port."""
        return self.listens or self.is_asked

    @property
    def is_exclusive(self) -> bool:
        """Whether a volume of it may be had by one group at a time."""
        return any(not v.is_shared for v in self.volumes)


@dataclass(frozen=True, slots=True)
class Group:
    """The instances of one service that share one seal; named after the generation that first launched it."""

    name: str  # "web-g43"
    service: str
    digest: Digest  # of the seal
    seal: Seal
    image: Image
    doors: tuple[Door, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """What a generation maps a service to."""

    service: str
    group: str
    size: int
    policy: Policy
    tests: tuple[Test, ...] = ()  # those marked `at: preview`
    hosts: tuple[str, ...] = ()  # Host names under which the edge serves it; empty: not routed
    kind: Kind = "http"
    needs: tuple[str, ...] = ()
    port: int = 0  # of its public TCP listener; 0: none
    before: tuple[Task, ...] = ()
    is_alone: bool = False  # a singleton, or with a volume that is not shared: never two groups of it at once
    max_age: Seconds = 0.0  # 0: none
    outcomes: Outcomes | None = None


GenerationOutcome = Literal["", "promoted", "rolled back", "withdrawn"]  # "" until its rollout has ended


@dataclass(frozen=True, slots=True)
class Generation:
    """A release sealed for one environment. Numbers are never reused."""

    number: int
    release: str  # the release's name
    digest: Digest  # the release's digest
    members: tuple[Member, ...]
    previous: int = 0  # the generation that served when this one was sealed; 0: none
    outcome: GenerationOutcome = ""
    reason: str = ""
    warm_until: float = 0.0  # its groups stay warm until then though it does not serve
    is_retired: bool = False  # no longer kept as a way back
    at: float = 0.0

    @property
    def name(self) -> str:
        """Its name for people, like ``g43``."""
        return f"g{self.number}"


Phase = Literal["prepare", "preview", "stage", "full", "warm", "done", "rolling back", "rolled back"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """The passage of traffic from one generation to the next, as committed in the journal."""

    id: int
    kind: Literal["rollout", "rollback"]
    old: int  # generation number; 0: nothing served before
    new: int
    phase: Phase
    since: float  # when the phase (or the stage) was entered
    stage: int = 0  # index into the stages, while phase is "stage"
    asked: Literal["", "abort", "promote"] = ""  # an operator's intention
    reason: str = ""
    version: int = 0  # incremented by every commit: compare-and-set
    counts: tuple[tuple[str, int, int], ...] = ()  # group, requests, failures when the stage was entered
    slow: tuple[tuple[str, int], ...] = ()  # service → microseconds above which an answer is slow, frozen at stage 1
    slows: tuple[tuple[str, int], ...] = ()  # group → slow answers when the stage was entered; goes with `counts`
    windows: tuple[Window, ...] = ()  # what the groups did in the stages until then, oldest first
    tested: str = ""  # "" not yet; "passed"; else why a preview test failed
    begun: float = 0.0
