"""`anew.lock`: what each head was resolved to. It lies beside `anew.yaml` and belongs into version control.

{"version": 1, "heads": {NAME: {"recipe": DIGEST, "layer": DIGEST, "tree": DIGEST, "packages": ["curl=7.88", …]}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from anew.build.drafts import write
from anew.errors import SpecError
from anew.model import Digest

NAME = "anew.lock"
VERSION = 1


@dataclass(frozen=True, slots=True)
class LockedHead:
    """What one head was resolved to; `packages` are ``name=version``, sorted."""

    recipe: Digest
    layer: Digest
    tree: Digest
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """All of the file."""

    version: int = VERSION
    heads: Mapping[str, LockedHead] = field(default_factory=dict)


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
        return msgspec.convert(text, type=Lock)
    except (msgspec.MsgspecError, KeyError) as e:
        raise SpecError(
            f"{NAME} can't be read: {e}",
            where=str(path),
            hint="restore it from version control; or remove it, and `anew build` resolves the heads again",
        ) from e


def with_head(project: Path, name: str, head: LockedHead) -> None:
    """Write the lock with one head changed; the others stay as they are in the file now. Call it under a lock."""
    heads = {**read(project).heads, name: head}
    text = {"version": VERSION, "heads": {one: msgspec.to_builtins(heads[one]) for one in sorted(heads)}}
    write(project / NAME, json.dumps(text, indent=2, ensure_ascii=False).encode() + b"\n")
