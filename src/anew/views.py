"""What the faces show: flat, frozen answers of the use cases. All of it turns into JSON as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anew.model import Bytes, Digest, Finding, PerMille, Seconds


@dataclass(frozen=True, slots=True)
class HeadUsed:
    """A head that an image was made from, and how long ago it was resolved; 0 where that can't be said."""

    head: str
    age: Seconds


@dataclass(frozen=True, slots=True)
class Built:
    """One image that was built, or recognised; and which inputs led to what was used again."""

    service: str
    manifest: Digest  # "" if the build was to end before there is one
    input: Digest
    is_reused: bool  # recognised from its input digest; nothing was run
    seconds: Seconds
    size: int  # bytes of all its layers
    findings: tuple[Finding, ...] = ()  # what is not as it should be in it, and does not keep it from being released
    heads: tuple[HeadUsed, ...] = ()  # its own, then those of the tools of its steps
    files: int = 0  # of the project that it was made from
    steps: int = 0
    steps_reused: int = 0  # of them, those that were not run
    age: Seconds = 0.0  # of the image if it is reused, else of the oldest result of a step that is; 0: none
    again: Literal["", "same", "differs"] = (
        ""  # how it came out, where all steps were run again and it was there before
    )
    until: str = ""  # the step at which the build was to end


@dataclass(frozen=True, slots=True)
class PackageMove:
    """A package of which a head has another version, or the image that it stands for; "" for none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class HeadView:
    """One operating-system head, or a fetched file by its address: what it is locked to, and what moved."""

    head: str
    source: str  # as "debian bookworm", "tar rootfs.tar", "image localhost:5000/base:1", "host" or "file"
    layer: Digest  # "" if it is not locked as the spec says
    resolved: str  # when, in UTC; "" if that is not known
    age: Seconds  # since then; 0 if that is not known
    packages: int
    size: Bytes  # of all package files
    moves: tuple[PackageMove, ...]  # `lock`: what it changed; `outdated`: what an update would change
    overdue: tuple[str, ...] = ()  # environments for which it is too old: "production takes none older than 30 days"
    image: Digest = ""  # the manifest that an image's reference was resolved to; "" of other heads


Verdict = Literal["identical", "same tree", "differs", "not proved"]  # of making an image again


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that came out otherwise when an image was made again."""

    path: str
    what: str  # as "content", "only now", "mode 644 before, 600 now"
    cause: str  # "" if none is known


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of making an image again."""

    service: str
    manifest: Digest
    verdict: Verdict
    why: str  # what stands in the way of a proof; "" if nothing
    differences: tuple[Difference, ...]
    seconds: Seconds
    releases: tuple[str, ...] = ()  # that have it


@dataclass(frozen=True, slots=True)
class Carried:
    """A release that was brought to a registry, or from there."""

    release: str  # its name here
    digest: Digest
    repository: str
    index: Digest  # by which it is named there for good: REPOSITORY@INDEX
    tags: tuple[str, ...]  # `push`: under which it and its images are there
    is_new: bool  # where it was brought to it was not known
    images: Mapping[str, Digest]  # manifests, by service
    statements: int  # what is said of its images
    size: Bytes  # of all its blobs
    moved: Bytes  # of them: the others were there
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Tested:
    """The verdict of the image gate about one image."""

    service: str
    manifest: Digest
    is_passed: bool
    is_reused: bool
    results: tuple[tuple[str, str], ...]  # test, "" if it passed, else why it failed
    at: float  # when the verdict was given


@dataclass(frozen=True, slots=True)
class Plan:
    """What `up` would do."""

    environment: str
    release: str  # its name, or "new" if it would be made
    builds: tuple[str, ...]  # a line per image that would be built
    steps: tuple[str, ...]  # `describe()` of each step, in order
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group as it is now."""

    name: str
    generation: str  # "g3": the newest generation that maps to it
    weight: PerMille
    ready: int
    size: int
    in_flight: int
    role: Literal["live", "new", "warm", "leaving"]
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


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """One release and where it runs."""

    name: str
    digest: Digest
    at: float
    images: Mapping[str, Digest]
    generations: tuple[str, ...]  # "local g3 promoted"


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the ledger."""

    number: int
    at: float
    kind: str  # "wish", "decision", "effect", "gate", "note"
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)
    hash: Digest = ""


@dataclass(frozen=True, slots=True)
class SecretView:
    """One version of a secret, without its value."""

    name: str
    version: int
    at: float  # when it was set
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class VolumeView:
    """One volume of an environment: a folder that outlives every instance of its service."""

    service: str
    name: str
    size: Bytes  # on the disk


@dataclass(frozen=True, slots=True)
class VolumeRemoved:
    """A volume that is gone with all that was in it, and the generations that would find it empty."""

    service: str
    name: str
    size: Bytes
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """What `init` found in a folder, and what it wrote."""

    folder: str
    project: str
    kind: Literal["python", "node", "php", "binary", "static"]
    found: str  # "a Flask application: `app` in app.py"
    notes: tuple[str, ...]
    files: tuple[str, ...]  # that were written, or would be
    is_written: bool
    spec: str  # the text of anew.yaml


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of `doctor`."""

    name: str
    state: Literal["ok", "missing", "limited"]
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that `gc` did not remove, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What `gc` removed (or would remove), how many bytes that freed, and why the rest was kept."""

    removed: tuple[str, ...]
    freed: Bytes
    kept: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a walk along the chain of a ledger found."""

    events: int
    head: str  # the hash of the newest event
    broken: int = 0  # the number of the first event that does not hold; 0: all hold
    wrong: str = ""  # what is wrong with it
    signed: int = 0  # the number of the event up to which it was signed; 0: nothing was ever promoted, or signed
    key: str = ""  # that signed it


@dataclass(frozen=True, slots=True)
class Vouched:
    """An image, and whether it may be sealed; `problems` are why not."""

    service: str
    manifest: Digest
    releases: tuple[str, ...]  # that have it
    keys: tuple[str, ...]  # trusted ones that said something of it
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SigningKeyView:
    """The public half of a project's key."""

    project: str
    id: str  # as `ssh-keygen -l` shows it
    line: str  # for `trust` in a spec


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether all is what it was when it was made."""

    environment: str  # whose trust is meant
    trusted: tuple[str, ...]  # the ids of the keys
    images: tuple[Vouched, ...]
    lock: str  # what is wrong with anew.lock; "": nothing
    ledgers: Mapping[str, Verified]  # by environment


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


@dataclass(frozen=True, slots=True)
class SecretSet:
    """The version of a secret that holds what was given."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class SecretErased:
    """A version of a secret that is gone, and the generations that are no way back any more."""

    name: str
    version: int
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Installed:
    """The unit of systemd that runs the keeper of an environment, and what became of it."""

    environment: str
    unit: str  # "anew-shop.production.service"
    path: str
    state: Literal["shown", "written", "runs"]
    notes: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Uninstalled:
    """The unit that an environment's keeper is run by no more; `is_removed` is false if there was none."""

    environment: str
    unit: str
    path: str
    is_removed: bool
