"""What the ledger of a rig says of its rollouts, with the times as they were committed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from anew.testing.rig import Rig


@dataclass(frozen=True, slots=True)
class Entry:
    """One event; `at` is UTC seconds."""

    at: float
    kind: str
    text: str


def entries(project: Rig, after: float = 0.0) -> list[Entry]:
    """Return the events since `after`, oldest first."""
    with closing(sqlite3.connect(f"file:{project.home / 'state.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("select at, kind, text from events where at >= ? order by number", (after,))
        return [Entry(*row) for row in rows]


def first(found: list[Entry], start: str, kind: str = "") -> float:
    """Return when the first event of a kind that begins with `start` was committed.

    Raises  LookupError if there is none.
    """
    for one in found:
        if one.text.startswith(start) and kind in {"", one.kind}:
            return one.at
    raise LookupError(f"no {kind or 'event'} begins with {start!r} among: " + "; ".join(one.text for one in found))
