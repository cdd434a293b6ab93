"""What `anew.yaml` says, parsed and checked: the spec."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from anew.model.hygiene import Allowance
from anew.model.measured import Criterion, Outcomes, Probe
from anew.model.units import Bytes, PerMille, Seconds


@dataclass(frozen=True, slots=True)
class DebianHead:
    """An operating-system head made from the packages of Debian, or of a distribution that is made as it is."""

    name: str
    suite: str  # "bookworm"
    packages: tuple[str, ...] = ()
    distribution: Literal["debian", "ubuntu"] = "debian"
    mirror: tuple[str, ...] = ()  # "URL SUITE COMPONENT…" each; (): where this machine's apt gets them
    keyring: str = ""  # of the mirror, relative to the project; "": the keys that this machine trusts


@dataclass(frozen=True, slots=True)
class TarHead:
    """An operating-system head from a tar archive of a root file system; `path` is relative to the project."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ImageHead:
    """An operating-system head from an image in a registry; `reference` begins with the registry's host."""

    name: str
    reference: str


@dataclass(frozen=True, slots=True)
class BuiltHead:
    """An operating-system head that a container engine builds; both paths are relative to the project."""

    name: str
    recipe: str  # a Dockerfile
    context: str  # the folder that it takes files from


@dataclass(frozen=True, slots=True)
class HostHead:
    """The machine's own root, read-only; for the environment `local` only."""

    name: str


Head = DebianHead | TarHead | ImageHead | BuiltHead | HostHead


@dataclass(frozen=True, slots=True)
class Copy:
    """One entry of `copy`: `source` relative to the project, `target` absolute; a trailing slash means a folder."""

    source: str
    target: str


StepKind = Literal["run", "ansible", "puppet", "files"]


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file from an address; `target` is absolute."""

    url: str
    target: str
    sha256: str = ""  # hexadecimal; "": whatever the address gave when it was locked
    is_executable: bool = False


@dataclass(frozen=True, slots=True)
class BuildStep:
    """One step of `build`: a command for `/bin/sh -c`, a playbook, a manifest, or templates; exactly one of them.

    Paths are those of the project.
    """

    run: str = ""
    network: bool = False
    name: str = ""  # "": it has none
    ansible: str = ""  # a playbook
    puppet: str = ""  # a manifest
    files: tuple[tuple[str, str], ...] = ()  # a template, and where it goes in the image
    vars: str = ""  # of a playbook or of templates: canonical JSON of a mapping; "": none
    inputs: tuple[str, ...] = ()  # what it reads besides
    secrets: tuple[str, ...] = ()  # sorted
    mode: int = 0o644  # of what templates become
    owner: str = ""  # of what templates become: USER or USER:GROUP, names of the image or numbers; "": root

    @property
    def kind(self) -> StepKind:
        """What it is."""
        if self.ansible:
            return "ansible"
        if self.puppet:
            return "puppet"
        return "files" if self.files else "run"

    @property
    def title(self) -> str:
        """What it does, in one line."""
        if self.kind == "run":
            line, _, more = self.run.strip().partition("\n")
            return f"{line} …" if more else line
        if self.kind == "files":
            return f"files {', '.join(target for _, target in self.files)}"
        return f"{self.kind} {self.ansible or self.puppet}"

    def plain(self) -> dict[str, object]:
        """Return what is said of it as plain data, and nothing else: what is new here changes no digest of before."""
        said: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _ALWAYS}
        usual = {one.name: one.default for one in fields(self)}
        kept = {name: value for name, value in said.items() if value != usual[name]}
        return {"run": self.run, "network": self.network, **kept}


_ALWAYS = ("run", "network")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a build is to go, where it is not to go as usual."""

    is_fresh: bool = False  # nothing that was made before is used again
    until: str = ""  # the step after which it ends, by its name or its number; "": none
    is_debugging: bool = False  # opens a shell where a step fails, or before the step `until`


AS_USUAL = Manner()


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


OnUndecided = Literal["extend", "promote", "rollback", "ask"]
Baseline = Literal["old", "fresh"]


@dataclass(frozen=True, slots=True)
class Judge:
    """From when on a new group is worse than the old one, and how often that may be said wrongly.

    Ratios are of odds, which for rare events are those of rates.
    """

    tolerated: float = 1.2  # times the old group's odds of failing: no more is ever held against it; at least 1
    unacceptable: float = 2.0  # a group passes once it can't be that bad; more than `tolerated`
    acceptable: float = 0.005  # or once no such share of its requests can be failing; 0: only the comparison counts
    alpha: float = 0.01  # chance that a group as good as the old one is taken back, over a whole rollout
    beta: float = 0.05  # chance that an unacceptable one passes
    slow: float = 0.0  # above this quantile of the old group's times an answer is slow; 0: time isn't judged


@dataclass(frozen=True, slots=True)
class Policy:
    """How a service is rolled out; see `rollout` in the reference of the spec."""

    stages: tuple[PerMille, ...] = (10, 100, 500)  # weights below 1000; `full` always follows
    each: Seconds = 10.0  # a stage lasts at least this long
    at_most: Seconds = 60.0  # a stage waits this long for evidence, before `on_undecided` says what becomes of it
    on_undecided: OnUndecided | Literal[""] = ""  # "": nobody says; what is sealed always says it
    ready: Seconds = 60.0  # a group becomes ready within this, or the rollout goes back
    warm: Seconds = 1800.0  # the old groups stay warm this long after the switch
    drain: Seconds = 30.0  # requests in flight may take this long before an instance is stopped
    grace: Seconds = 10.0  # from SIGTERM to SIGKILL
    control: PerMille = 20  # a judged stage leaves the old group at least this much
    judge: Judge = field(default_factory=Judge)
    sticky: str = "none"  # what keeps a client on one side: "cookie", "address", "header:NAME"; "none": nothing does
    probes: tuple[Probe, ...] = ()  # of a service that speaks HTTP
    criteria: tuple[Criterion, ...] = ()  # besides the errors, sorted by name
    baseline: Baseline = "old"  # "fresh": the new group is compared with new instances of the old one
    warm_control: PerMille = 0  # this much stays where it was while it is warm, to compare on; 0: all is moved

    @property
    def is_fresh(self) -> bool:
        """Whether new instances of the old group are started to compare with."""
        return self.baseline == "fresh"


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder that outlives every instance; `path` is where its instances see it."""

    name: str
    path: str
    is_shared: bool = False  # several groups may have it at once; else one group at a time


@dataclass(frozen=True, slots=True)
class Task:
    """A command that is run to its end, in a throwaway instance of a group."""

    run: tuple[str, ...]
    within: Seconds = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one instance may use at most; 0: as much as there is."""

    memory: Bytes = 0
    cpu: float = 0.0  # processors; 0.5 is half of one
    pids: int = 0  # processes and threads


Kind = Literal["http", "tcp", "worker", "job"]
Taint = Literal["ignore", "report", "replace"]


@dataclass(frozen=True, slots=True)
class Service:
    """A role, as the spec describes it, free of any environment.

    It answers HTTP (`http`), or raw TCP (`is_tcp`), or is run by a clock (`schedule`), or is a worker, which takes work
    as soon as it runs.
    """

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
    is_tcp: bool = False
    port: int = 0  # `expose.port`: the public port of a TCP service; 0: none
    needs: tuple[str, ...] = ()  # the services that it calls, sorted
    secrets: tuple[str, ...] = ()  # sorted
    volumes: tuple[Volume, ...] = ()  # sorted by name
    before: tuple[Task, ...] = ()  # once per generation, before its first traffic
    is_singleton: bool = False  # never two at once: the old one is drained, then the new one starts
    ready_after: Seconds = 1.0  # a worker that is alive so long is ready
    schedule: str = ""  # five fields of cron, in UTC
    within: Seconds = 3600.0  # a scheduled run may take so long
    limits: Limits = field(default_factory=Limits)
    max_age: Seconds = 0.0  # an instance is reborn before it is older; 0: it may grow as old as it likes
    fetch: tuple[Fetch, ...] = ()  # sorted by address
    outcomes: Outcomes | None = None  # of a worker, or a service that speaks HTTP; None: it says nothing

    @property
    def kind(self) -> Kind:
        """What it is."""
        if self.http is not None:
            return "http"
        return "tcp" if self.is_tcp else "job" if self.schedule else "worker"

    @property
    def is_asked(self) -> bool:
        """Whether it is a worker that is asked for the outcomes of its work."""
        return self.kind == "worker" and self.outcomes is not None and bool(self.outcomes.metrics)

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """The flags that say where it finds what anew gives it, whatever the environment."""
        return self.outcomes.flags if self.outcomes else ()

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that it may write to: those that it says, and those that anew gives it."""
        return (*self.writable, *(self.outcomes.writable if self.outcomes else ()))


@dataclass(frozen=True, slots=True)
class Override:
    """What an environment says differently of one service; None means as the service says."""

    service: str
    size: int | None = None
    flags: tuple[tuple[str, str], ...] = ()
    port: int | None = None
    limits: Limits | None = None
    max_age: Seconds | None = None


@dataclass(frozen=True, slots=True)
class OsAge:
    """How old the head of an image may be that `up` brings somewhere; 0: as old as it likes."""

    warn: Seconds = 0.0  # `up` says so when it is older
    refuse: Seconds = 0.0  # and brings it nowhere when it is older than this


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a project runs."""

    name: str
    engine: str = "embedded"
    host: str = "127.0.0.1"  # of the public listener
    port: int = 8080
    keep: int = 5  # generations kept as a way back
    overrides: tuple[Override, ...] = ()
    taint: Taint = "replace"  # what is done about an instance that something touched
    quarantine: Seconds = 3600.0  # for so long it is kept for inspection
    trust: tuple[str, ...] = ()  # public keys whose word on images is taken here; none: the project's own one
    max_os_age: OsAge = field(default_factory=OsAge)  # its own, or else the project's
    on_undecided: OnUndecided | Literal[""] = ""  # of services that do not say it themselves; "": as is usual here


@dataclass(frozen=True, slots=True)
class Spec:
    """What one `anew.yaml` says, parsed and checked."""

    project: str
    heads: tuple[Head, ...]
    services: tuple[Service, ...]
    environments: tuple[Environment, ...]
    allowances: tuple[Allowance, ...] = ()  # no part of a service: an image is the same whatever is said of it
    registry: str = ""  # the repository that releases are pushed to and pulled from; "": none is said
