"""The nouns of the glossary, frozen. Nothing here does anything; every part of anew may import it.

Times are UTC seconds as float, durations seconds, weights integers per mille, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Digest = str  # "sha256:" and 64 hexadecimal digits
Seconds = float
PerMille = int
Bytes = int
Weights = Mapping[str, Mapping[str, PerMille]]  # service → group → weight; each service sums to 1000, or is empty

FULL: PerMille = 1000


@dataclass(frozen=True, slots=True)
class Scope:
    """Where things live: one environment of one project. `owner` is the id of the state that made them."""

    project: str
    environment: str
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.project}/{self.environment}"


@dataclass(frozen=True, slots=True)
class DebianHead:
    """An operating-system head made from a distribution's packages."""

    name: str
    suite: str  # "bookworm"
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TarHead:
    """An operating-system head from a tar archive of a root file system; `path` is relative to the project."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class HostHead:
    """The machine's own root, read-only; for the environment `local` only."""

    name: str


Head = DebianHead | TarHead | HostHead


@dataclass(frozen=True, slots=True)
class Copy:
    """One entry of `copy`: `source` relative to the project, `target` absolute; a trailing slash means a folder."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class BuildStep:
    """One command of `build`, run by `/bin/sh -c` in the sandbox."""

    run: str
    network: bool = False


@dataclass(frozen=True, slots=True)
class Http:
    """The service answers HTTP on ``$PORT``; `health` is the path that answers 200 when it is ready."""

    health: str = "/"


@dataclass(frozen=True, slots=True)
class Test:
    """One test of a service: an HTTP request (`get`) or a command in a fresh instance (`run`)."""

    get: str = ""  # path; "" if this is a `run` test
    status: int = 200
    contains: str = ""
    run: tuple[str, ...] = ()
    at: Literal["image", "preview"] = "image"
    eventually: Seconds = 10.0  # the bound within which it must pass

    def __str__(self) -> str:
        return f"http GET {self.get}" if self.get else "run " + " ".join(self.run)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a service is rolled out; see `rollout` in the reference of the spec."""

    stages: tuple[PerMille, ...] = (10, 100, 500)  # weights below 1000; `full` always follows
    each: Seconds = 10.0  # a stage lasts at least this long
    within: Seconds = 60.0  # a stage waits at most this long for evidence
    undecided: Literal["advance", "roll back"] = "advance"  # when `within` is over without enough evidence
    ready: Seconds = 60.0  # a group becomes ready within this, or the rollout goes back
    warm: Seconds = 1800.0  # the old groups stay warm this long after the switch
    drain: Seconds = 30.0  # requests in flight may take this long before an instance is stopped
    grace: Seconds = 10.0  # from SIGTERM to SIGKILL
    control: PerMille = 20  # a judged stage leaves the old group at least this much


@dataclass(frozen=True, slots=True)
class Service:
    """A role, as the spec describes it, free of any environment."""

    name: str
    os: str  # the name of its head
    command: tuple[str, ...]
    copy: tuple[Copy, ...] = ()
    build: tuple[BuildStep, ...] = ()
    http: Http | None = None
    hosts: tuple[str, ...] = ()  # `expose.hosts`
    is_exposed: bool = False
    size: int = 1
    flags: tuple[tuple[str, str], ...] = ()  # sorted by name
    writable: tuple[str, ...] = ()
    tests: tuple[Test, ...] = ()
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Override:
    """What an environment says differently of one service; None means as the service says."""

    service: str
    size: int | None = None
    flags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a project runs."""

    name: str
    engine: str = "embedded"
    host: str = "127.0.0.1"  # of the public listener
    port: int = 8080
    keep: int = 5  # generations kept as a way back
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """What one `anew.yaml` says, parsed and checked."""

    project: str
    heads: tuple[Head, ...]
    services: tuple[Service, ...]
    environments: tuple[Environment, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity ladder of an image: each rung is a digest, and the first is known before building."""

    input: Digest  # recipe, locked heads, context
    tree: Digest  # paths, modes, owners, contents; no times
    diffs: tuple[Digest, ...]  # one per layer, of its uncompressed bytes
    config: Digest
    manifest: Digest


@dataclass(frozen=True, slots=True)
class Image:
    """What a recipe made; immutable; an OCI image in the image store."""

    identity: Identity
    layers: tuple[Digest, ...]  # lowest first; layer blobs are uncompressed, so these are the diff ids
    is_host: bool = False  # the head is the machine's own root: `layers` hold only what was added
    is_reproducible: bool = True  # false if a step had the network

    @property
    def digest(self) -> Digest:
        """The digest of the manifest, by which everything refers to the image."""
        return self.identity.manifest


@dataclass(frozen=True, slots=True)
class Part:
    """One service in a release: what to run, and from which image."""

    service: Service
    image: Image


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable set of images and service definitions, free of any environment; `name` is for people."""

    project: str
    name: str  # "r3"
    digest: Digest
    parts: tuple[Part, ...]
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Seal:
    """What one service runs in one environment, and nothing that may differ without a new group."""

    service: str
    image: Digest
    command: tuple[str, ...]
    flags: tuple[tuple[str, str], ...] = ()
    health: str = ""  # path; "" if the service speaks no HTTP
    writable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """The instances of one service that share one seal; named after the generation that first launched it."""

    name: str  # "web-g43"
    service: str
    digest: Digest  # of the seal
    seal: Seal
    image: Image


@dataclass(frozen=True, slots=True)
class Member:
    """What a generation maps a service to."""

    service: str
    group: str
    size: int
    policy: Policy
    tests: tuple[Test, ...] = ()  # those marked `at: preview`
    hosts: tuple[str, ...] = ()  # Host names under which the edge serves it; empty: not routed


@dataclass(frozen=True, slots=True)
class Generation:
    """A release sealed for one environment. Numbers are never reused."""

    number: int
    release: str  # the release's name
    digest: Digest  # the release's digest
    members: tuple[Member, ...]
    previous: int = 0  # the generation that served when this one was sealed; 0: none
    outcome: Literal["", "promoted", "rolled back"] = ""  # "" until its rollout has ended
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
    tested: str = ""  # "" not yet; "passed"; else why a preview test failed
    begun: float = 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """All that an engine needs to run one instance; nothing in it is computed by the engine."""

    name: str  # "shop-local-web-g43-2"
    group: str
    scope: Scope
    image: Image
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    writable: tuple[str, ...] = ()
    port: int = 0  # 0: it listens on nothing


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as an engine reports it."""

    name: str
    group: str
    is_alive: bool
    is_listening: bool = False  # it accepts connections on its port, on a socket of its own
    port: int = 0
    pid: int = 0  # of the process that the engine watches; 0 when ended
    started: float = 0.0
    ended: str = ""  # "exit code 1", "signal 9 (SIGKILL)", "unknown"; "" while alive


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command in a throwaway instance ended."""

    code: int  # exit code; -N for signal N
    output: str  # stdout and stderr together, the last 64 KiB
    is_late: bool = False  # it was ended because its bound was over


@dataclass(frozen=True, slots=True)
class Target:
    """One instance behind the edge."""

    name: str
    port: int
    is_draining: bool = False  # gets no new requests; those in flight go on


@dataclass(frozen=True, slots=True)
class EdgeGroup:
    """A group as the edge knows it: up to `slots` targets can come and go without a reload."""

    name: str
    service: str
    health: str
    targets: tuple[Target, ...] = ()
    preview_host: str = ""  # the Host name under which the preview listener serves it


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


@dataclass(frozen=True, slots=True)
class Counts:
    """Exact counters of one group since the edge knows it."""

    requests: int = 0
    failures: int = 0  # answers 5xx, and connections that failed
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class EdgeReading:
    """What the edge is doing now, over all its workers."""

    is_up: bool
    declaration: Declaration | None = None
    weights: Weights = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)  # by group
    in_flight: Mapping[str, int] = field(default_factory=dict)  # by instance


@dataclass(frozen=True, slots=True)
class Sample:
    """Requests and failures of one group in one window of time."""

    requests: int
    failures: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer from evidence."""

    kind: Literal["pass", "fail", "undecided"]
    reason: str
    evidence: Mapping[str, float] = field(default_factory=dict)
