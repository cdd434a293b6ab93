"""Parsed specs, remembered: what parses takes longer to import than all else that `up` does when nothing has changed.

Rules

1. It is a shortcut and not truth. What is not there, damaged, of other words or of other code is parsed; and what can't
   be kept is left out.
2. What comes back is what went in, to the type of every number: else identities made of it would differ.
3. A spec with complaints is never kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from anew import __version__
from anew.model import (
    Allowance,
    BuiltHead,
    DebianHead,
    Environment,
    Head,
    HostHead,
    ImageHead,
    Service,
    Spec,
    TarHead,
)

KINDS: Mapping[str, type[Head]] = MappingProxyType(
    {one.__name__: one for one in (DebianHead, TarHead, ImageHead, BuiltHead, HostHead)}
)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A spec as it is kept; its heads are of several classes, so each goes with its name."""

    key: str
    project: str
    heads: tuple[tuple[str, msgspec.Raw], ...]
    services: tuple[Service, ...]
    environments: tuple[Environment, ...]
    allowances: tuple[Allowance, ...]
    registry: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The specs of all projects of one state, the last of each; `code` holds the folders of the code that parses."""

    folder: Path
    code: Sequence[Path]

    def spec(self, root: Path, text: str, parse: Callable[[str], Spec]) -> Spec:
        """Return what `text`, the spec of the project in `root`, says.

        Raises  what `parse` raises; it is asked only if the same text was not parsed before.
        """
        path = self.folder / f"{_digest(str(root))[:32]}.json"
        key = _digest("\n".join((__version__, *_stamps(self.code), text)))
        found = _read(path, key)
        if found is None:
            found = parse(text)
            data = _encoded(key, found)
            if repr(_decoded(data, key)) == repr(found):  # the model and its JSON have come apart: rule 2
                with contextlib.suppress(OSError):  # a full disk, or somebody else's folder: rule 1
                    _write(path, data)
        return found


def _stamps(code: Sequence[Path]) -> list[str]:
    files = sorted(path for folder in code for path in folder.glob("*.py"))
    return [f"{path} {(at := path.stat()).st_size} {at.st_mtime_ns}" for path in files]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path, key: str) -> Spec | None:
    try:
        return _decoded(path.read_bytes(), key)
    except (OSError, msgspec.MsgspecError):
        return None


def _decoded(data: bytes, key: str) -> Spec | None:
    kept = msgspec.json.decode(data, type=_Kept)
    if kept.key != key or any(kind not in KINDS for kind, _ in kept.heads):
        return None
    heads = tuple(msgspec.json.decode(body, type=KINDS[kind]) for kind, body in kept.heads)
    return Spec(kept.project, heads, kept.services, kept.environments, kept.allowances, kept.registry)


def _encoded(key: str, spec: Spec) -> bytes:
    heads = tuple((type(one).__name__, msgspec.Raw(msgspec.json.encode(one))) for one in spec.heads)
    kept = _Kept(key, spec.project, heads, spec.services, spec.environments, spec.allowances, spec.registry)
    return msgspec.json.encode(kept)


def _write(path: Path, data: bytes) -> None:
    """Write it whole or not at all, for its owner alone: flags are nobody else's business."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    fresh.replace(path)
