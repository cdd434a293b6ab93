"""What the edge knows and says: groups, routes, listeners, counters; and what is judged by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anew.model.units import Weights


@dataclass(frozen=True, slots=True)
class Target:
    """One instance behind the edge."""

    name: str
    port: int
    is_draining: bool = False  # gets no new requests; those in flight go on
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class EdgeGroup:
    """A group as the edge knows it: up to `slots` targets can come and go without a reload."""

    name: str
    service: str
    health: str
    targets: tuple[Target, ...] = ()
    preview_host: str = ""  # the Host name under which the preview listener serves it
    is_tcp: bool = False  # connections are passed on as they are, `health` is ""; else HTTP


@dataclass(frozen=True, slots=True)
class Listener:
    """One more port of the edge: for one caller of a service, for a TCP service's public, or for its preview."""

    name: str  # "web-g43>api": the caller's group and whom it reaches; "public>cache"; "preview>cache"; unique
    service: str  # whom it reaches
    port: int
    host: str = "127.0.0.1"
    group: str = ""  # reaches just this group, whatever the weights; "": follows the weights of the service
    is_tcp: bool = False  # connections are passed on as they are; else HTTP


@dataclass(frozen=True, slots=True)
class Route:
    """A Host name that belongs to a service; "*" is every name that no other route has."""

    host: str
    service: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the edge shall know, complete: groups that are not named are forgotten."""

    host: str
    port: int
    preview_port: int
    routes: tuple[Route, ...] = ()
    groups: tuple[EdgeGroup, ...] = ()
    listeners: tuple[Listener, ...] = ()
    sticky: tuple[tuple[str, str], ...] = ()  # service → by what its clients are known: see `Policy.sticky`
    slow: tuple[tuple[str, int], ...] = ()  # service → microseconds above which an answer is slow; 0: none is


@dataclass(frozen=True, slots=True)
class Counts:
    """Exact counters of one group since the edge knows it. Of a TCP group, a request is a connection.

    `trials`, `bad` and `slow` are what is judged, of HTTP only, and without previews. A trial is an answered request;
    where clients are known (`Declaration.sticky`), it is all requests of a client in one `CLIENT_WINDOW`, and a request
    of nobody in particular. How long an answer took is from when its request was there to when it began.
    """

    requests: int = 0
    failures: int = 0  # answers 5xx, and connections that failed; of a TCP group, instances that were not reached
    in_flight: int = 0
    trials: int = -1  # -1: all requests are, and all failures are bad
    bad: int = 0  # trials with an answer 5xx, and each answer that was broken off; at most as many as trials
    slow: int = 0  # trials with an answer that took longer than `Declaration.slow`
    times: tuple[tuple[int, int], ...] = ()  # answers of instances: see `anew.core.times`; () if nobody asked for them


@dataclass(frozen=True, slots=True)
class EdgeReading:
    """What the edge is doing now, over all its workers."""

    is_up: bool
    declaration: Declaration | None = None
    weights: Weights = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)  # by group
    in_flight: Mapping[str, int] = field(default_factory=dict)  # by instance
    pids: tuple[int, ...] = field(default=(), compare=False)  # whose ends change all this; () if not known


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer from evidence."""

    kind: Literal["pass", "fail", "undecided"]
    reason: str
    evidence: Mapping[str, float] = field(default_factory=dict)
