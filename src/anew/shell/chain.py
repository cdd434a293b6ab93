"""The chain of a ledger: how an event is tied to the one before it, and how that is checked."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anew import views
from anew.core.digest import canonical, digest, digest_bytes

if TYPE_CHECKING:
    from anew.model import Digest

_CHANGED = "its text, facts, kind or time was changed"
_HASH = "its hash was changed"
_BOTH = "it is not what was written there, and neither is what follows"


def first_hash(owner: str, project: str, environment: str) -> Digest:
    """Return what stands before the first event of an environment."""
    return digest({"owner": owner, "project": project, "environment": environment})


def chained(before: Digest, event: views.Event) -> Digest:
    """Return the hash of `event`, which follows the event whose hash is `before`."""
    body = {
        "number": event.number,
        "at": event.at,
        "kind": event.kind,
        "text": event.text,
        "facts": dict(event.facts),
    }
    return digest_bytes(before.encode() + b"\n" + canonical(body))


@dataclass(frozen=True, slots=True)
class Newest:
    """What an environment remembers of its newest event, apart from the events; `first` stands before them all."""

    first: Digest
    number: int
    hash: Digest


def walk(newest: Newest, rows: Iterable[sqlite3.Row]) -> views.Verified:
    """Check all events, oldest first; `rows` are those of the statement `events_as_they_are`.

    Raises nothing for a broken chain. Holds two events at a time.
    """
    earlier, before, count = newest.first, newest.first, 0
    doubtful: tuple[Digest, Digest] | None = None  # of an event that breaks the chain: what it has, what it should
    for row in rows:
        event = _read(row)
        if doubtful is not None:
            return views.Verified(count, before, count + 1, _told(event, count + 2, doubtful))
        if count == newest.number:
            wrong = f"it was put in: the newest that the environment remembers is event {newest.number}"
            return views.Verified(count, before, count + 1, wrong)
        if event is None or event.number != count + 1:
            return views.Verified(count, before, count + 1, _misplaced(event, before, count + 1))
        link = chained(before, event)
        if link == event.hash:
            earlier, before, count = before, link, count + 1
        else:
            doubtful = (event.hash, link)
    if doubtful is not None:
        wrong = {doubtful[0]: _CHANGED, doubtful[1]: _HASH}.get(newest.hash, _BOTH)
        return views.Verified(count, before, count + 1, wrong if count + 1 == newest.number else _BOTH)
    if count < newest.number:
        wrong = f"it is missing, and so is all that followed: the environment remembers {newest.number} events"
        return views.Verified(count, before, count + 1, wrong)
    if (count, before) != (newest.number, newest.hash):
        return views.Verified(
            max(0, count - 1), earlier, max(1, count), "it is not the newest that the environment remembers"
        )
    return views.Verified(count, before)


def _told(following: views.Event | None, number: int, doubtful: tuple[Digest, Digest]) -> str:
    """Say what is wrong with an event, by the one that follows: it was tied to what the event was."""
    if following is None or following.number != number:
        return _BOTH
    had, should = doubtful
    if following.hash == chained(had, following):
        return _CHANGED
    return _HASH if following.hash == chained(should, following) else _BOTH


def _misplaced(event: views.Event | None, before: Digest, number: int) -> str:
    """Say what is wrong where event `number` should stand."""
    if event is None:
        return "what stands there is not even an event"
    if event.hash == chained(before, replace(event, number=number)):
        return f"it was renumbered, to {event.number}"
    return f"it is missing: the next one that is there is event {event.number}"


def _read(row: sqlite3.Row) -> views.Event | None:
    """Return the event of a row; None if it isn't exactly what is written for an event."""
    try:
        kind, text, facts, link = (bytes(row[name]).decode() for name in ("kind", "text", "facts", "hash"))
        known = json.loads(facts)
        event = views.Event(row["number"], row["at"], kind, text, known, link)
        is_exact = json.dumps(known) == facts and all(isinstance(value, str) for value in known.values())
        is_exact = is_exact and math.isfinite(event.at)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return event if is_exact and row["is_plain"] else None
