"""Answers about what is kept: the ledger, secrets, volumes, keys, and the machine itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anew.model import Bytes, Digest


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
    lock: str | None  # what is wrong with anew.lock; "": nothing; None: there is none
    ledgers: Mapping[str, Verified]  # by environment
    seals: Mapping[str, tuple[str, ...]]  # by environment: what is recorded there and is not what was sealed


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
