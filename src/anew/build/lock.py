"""`anew.lock`: what each head and each fetched file was resolved to. It lies beside `anew.yaml`, under version control.

::

    {"version": 3, "checksum": DIGEST,
     "heads": {NAME: {"recipe": DIGEST, "layer": DIGEST, "tree": DIGEST, "resolved": TIME,
                      "packages": ["curl 7.88 amd64 sha256:… 315000", …], "image": DIGEST}}}

The checksum is that of all the rest, in canonical form: what was changed by hand, or by an accident, is noticed.
Versions 1 and 2 have none. With fetched files there is ``"files": {URL: {"digest": DIGEST, "size": BYTES, "fetched":
TIME}}`` besides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from anew.build.drafts import sweep, write
from anew.build.packages import Package, parsed
from anew.core.digest import digest
from anew.errors import SpecError
from anew.model import Bytes, Digest

NAME = "anew.lock"
VERSION = 3
_CHECKED = 3  # the first version with a checksum
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DRAFT = f".{NAME}-"  # begins the names of drafts: they lie in the project until they are renamed
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class LockedHead:
    """What one head was resolved to; `resolved` is when, in UTC ("" if an older anew wrote it)."""

    recipe: Digest
    layer: Digest
    tree: Digest
    packages: tuple[Package, ...] = ()
    resolved: str = ""
    image: Digest = ""  # the manifest, of a head from a registry


@dataclass(frozen=True, slots=True)
class LockedFile:
    """What an address gave; `fetched` is when, in UTC."""

    digest: Digest
    size: Bytes
    fetched: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """All of the file."""

    version: int = VERSION
    heads: Mapping[str, LockedHead] = field(default_factory=dict)
    files: Mapping[str, LockedFile] = field(default_factory=dict)  # by address


@dataclass(frozen=True, slots=True)
class _Written:
    """A head as it is written: a line for each package."""

    recipe: Digest
    layer: Digest
    tree: Digest
    packages: tuple[str, ...] = ()
    resolved: str = ""
    image: Digest = ""


def seconds(resolved: str) -> float:
    """Return a time of the lock in UTC seconds; 0.0 for one that can't be read.

    >>> seconds("2026-11-22T18:00:00Z"), seconds("yesterday")
    (1795370400.0, 0.0)
    """
    try:
        time = datetime.fromisoformat(resolved)  # as `TIME`; what parses any format takes long to import
    except ValueError:
        return 0.0
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def read(project: Path) -> Lock:
    """Return the project's lock, empty if there is none yet.

    Raises  SpecError if it can't be understood, or if a newer anew wrote it.
    """
    path = project / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Lock()
    except IsADirectoryError as e:
        raise SpecError(f"{NAME} is a folder", where=str(path), hint="move it away; `anew lock` writes the file") from e
    try:
        text: Any = msgspec.json.decode(data)
        version = _required(text, "version")
        if isinstance(version, int) and version > VERSION:
            raise SpecError(
                f"{NAME} has version {version}; this anew reads up to {VERSION}",
                where=str(path),
                hint="use a newer anew, or the file as it was before",
            )
        has_checksum = "checksum" in text or (isinstance(version, int) and version >= _CHECKED)
        if has_checksum and text.get("checksum") != _checksum(text):
            raise SpecError(
                f"{NAME} is not as it was written: its checksum is another one",
                where=str(path),
                hint="restore it from version control; where two changes were merged, take either side and `anew lock`;"
                " or remove it, and `anew lock` resolves everything anew",
            )
        written = msgspec.convert(_required(text, "heads"), type=dict[str, _Written])
        heads = {name: _understood(one, is_old=version == 1) for name, one in written.items()}
        files = msgspec.convert(text.get("files", {}), type=dict[str, LockedFile])
        for one in files.values():
            _require_digest(one.digest)
        return Lock(msgspec.convert(version, type=int), heads, files)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as e:
        raise SpecError(
            f"{NAME} can't be read: {e}",
            where=str(path),
            hint="restore it from version control; or remove it, and `anew build` resolves the heads again",
        ) from e


def _required(text: object, key: str) -> object:
    if not isinstance(text, dict) or key not in text:
        raise ValueError(f"it has no {key!r}, as every lock has")
    return text[key]


def _require_digest(text: str) -> None:
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"{text!r} is no digest of a file")


def tidy(project: Path) -> None:
    """Remove what killed processes left of locks: it would be taken for a file of the project."""
    sweep(project, _DRAFT)


def with_head(project: Path, name: str, head: LockedHead) -> None:
    """Write the lock with one head changed; the others stay as they are in the file now. Call it under a lock."""
    known = read(project)
    _write(project, {**known.heads, name: head}, known.files)


def with_file(project: Path, url: str, file: LockedFile) -> None:
    """Write the lock with one fetched file changed; the rest stays as it is in the file now. Call it under a lock."""
    known = read(project)
    _write(project, known.heads, {**known.files, url: file})


def checked(said: Mapping[str, object]) -> bytes:
    """Return the file that says this, with its checksum."""
    rest = {name: value for name, value in said.items() if name not in ("version", "checksum")}
    text = {"version": said["version"], "checksum": _checksum(said), **rest}
    return json.dumps(text, indent=2, ensure_ascii=False).encode() + b"\n"


def _checksum(text: Mapping[str, object]) -> Digest:
    return digest({name: value for name, value in text.items() if name != "checksum"})


def _write(project: Path, heads: Mapping[str, LockedHead], files: Mapping[str, LockedFile]) -> None:
    text: dict[str, object] = {"version": VERSION}
    text["heads"] = {one: _text(heads[one]) for one in sorted(heads)}
    if files:
        text["files"] = {url: msgspec.to_builtins(files[url]) for url in sorted(files)}
    write(project / NAME, checked(text), prefix=_DRAFT)


def _text(head: LockedHead) -> dict[str, object]:
    said: dict[str, object] = {"recipe": head.recipe, "layer": head.layer, "tree": head.tree}
    more = {"resolved": head.resolved, "packages": [one.text for one in head.packages], "image": head.image}
    return said | {name: value for name, value in more.items() if value}


def _understood(one: _Written, *, is_old: bool) -> LockedHead:
    if is_old:  # it named no files
        pairs = (line.split("=", 1) for line in one.packages)
        packages = tuple(Package(name, version, "", "", 0) for name, version in pairs)
    else:
        packages = tuple(parsed(line) for line in one.packages)
    return LockedHead(one.recipe, one.layer, one.tree, packages, one.resolved, one.image)
