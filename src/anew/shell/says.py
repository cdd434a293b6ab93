"""What a keeper last said of itself, for those who watch: a file, because it is news and not truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Says:
    """Its reason, which instances it finds ready, and what can't succeed."""

    reason: str = ""
    ready: tuple[str, ...] = ()
    trouble: str = ""


def heard(path: Path) -> Says:
    """Return what the keeper last wrote to `path`; nothing if it never did."""
    try:
        data = json.loads(path.read_text())
        return Says(str(data["reason"]), tuple(data["ready"]), str(data["trouble"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Says()  # absent or damaged: the next one comes as soon as something changes


def write(path: Path, says: Says) -> None:
    """Write it down, whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"reason": says.reason, "ready": says.ready, "trouble": says.trouble}))
    fresh.replace(path)
