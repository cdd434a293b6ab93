"""`anew.lock`: what each head was resolved to. It lies beside `anew.yaml` and belongs into version control.

::

    {"version": 3, "heads": {NAME: {"recipe": DIGEST, "layer": DIGEST, "tree": DIGEST, "resolved": TIME,
                                    "packages": ["curl 7.88 amd64 sha256:… 315000", …], "image": DIGEST}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from anew.build.drafts import write
from anew.build.packages import Package, parsed
from anew.errors import SpecError
from anew.model import Digest

NAME = "anew.lock"
VERSION = 3
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
class Lock:
    """All of the file."""

    version: int = VERSION
    heads: Mapping[str, LockedHead] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Written:
    """A head as it is written: a line for each package."""

    recipe: Digest
    layer: Digest
    tree: Digest
    packages: tuple[str, ...] = ()
    resolved: str = ""
    image: Digest = ""


def read(project: Path) -> Lock:
    """Return the project's lock, empty if there is none yet.

    Raises  SpecError if it can't be understood, or if a newer anew wrote it.
    """
    path = project / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Lock()
    try:
        text: Any = msgspec.json.decode(data)
        version = text["version"] if isinstance(text, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise SpecError(
                f"{NAME} has version {version}; this anew reads up to {VERSION}",
                where=str(path),
                hint="use a newer anew, or the file as it was before",
            )
        written = msgspec.convert(text["heads"], type=dict[str, _Written])
        heads = {name: _understood(one, is_old=version == 1) for name, one in written.items()}
        return Lock(msgspec.convert(version, type=int), heads)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as e:
        raise SpecError(
            f"{NAME} can't be read: {e}",
            where=str(path),
            hint="restore it from version control; or remove it, and `anew build` resolves the heads again",
        ) from e


def with_head(project: Path, name: str, head: LockedHead) -> None:
    """Write the lock with one head changed; the others stay as they are in the file now. Call it under a lock."""
    heads = {**read(project).heads, name: head}
    text = {"version": VERSION, "heads": {one: _text(heads[one]) for one in sorted(heads)}}
    write(project / NAME, json.dumps(text, indent=2, ensure_ascii=False).encode() + b"\n")


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
