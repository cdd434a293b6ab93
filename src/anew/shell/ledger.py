"""The ledger: every decision and effect of an environment, append-only, each chained to the one before it.

Rules

1. An event that tells of a commit is written in the same transaction, so one is never there without the other.
2. An event's hash covers the hash before it, and the first one the state and the environment; the newest stands
   apart. So an event that was changed, moved, taken out or cut off is noticed.
3. Events are ordered by number. Their times are only shown: a clock may step back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from anew.core.digest import canonical, digest, digest_bytes
from anew.errors import Conflict, NotFound
from anew.model import Digest, Scope
from anew.ports import Clock
from anew.shell.database import Database, clean
from anew.views import Event

Kind = Literal["wish", "decision", "effect", "gate", "note"]
NO_FACTS: Mapping[str, str] = MappingProxyType({})


def first_hash(owner: str, project: str, environment: str) -> Digest:
    """Return what stands before the first event of an environment."""
    return digest({"owner": owner, "project": project, "environment": environment})


def chained(before: Digest, event: Event) -> Digest:
    """Return the hash of `event`, which follows the event whose hash is `before`."""
    body = {
        "number": event.number,
        "at": event.at,
        "kind": event.kind,
        "text": event.text,
        "facts": dict(event.facts),
    }
    return digest_bytes(before.encode() + b"\n" + canonical(body))


class Ledger:
    """What happened, for people and for auditors."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def note(self, scope: Scope, kind: Kind, text: str, facts: Mapping[str, str] = NO_FACTS) -> Event:
        """Append an event to the ledger of `scope`; inside a transaction it is committed with it."""
        with self._database.writing():
            return self.append(self._database.place(scope), kind, text, facts)

    def append(self, place: int, kind: Kind, text: str, facts: Mapping[str, str] = NO_FACTS) -> Event:
        """Append an event to the ledger of the environment whose row is `place`; inside `writing` only."""
        head = self._database.row("ledger_head", environment=place)
        if head is None:
            raise NotFound(f"the environment of row {place} is not there")
        plain = {clean(key): clean(value) for key, value in facts.items()}
        at = float(self._clock.now()) + 0.0  # SQLite gives -0.0 back as 0.0, which has another canonical form
        bare = Event(head["last_event"] + 1, at, kind, clean(text), plain)
        link = chained(head["last_hash"], bare)
        self._database.change(
            "add_event",
            environment=place,
            number=bare.number,
            at=bare.at,
            kind=kind,
            text=bare.text,
            facts=json.dumps(plain),
            hash=link,
        )
        self._database.change("set_ledger_head", environment=place, number=bare.number, hash=link)
        return Event(bare.number, bare.at, kind, bare.text, plain, link)

    def events(self, scope: Scope, limit: int) -> tuple[Event, ...]:
        """Return the newest `limit` events, oldest first."""
        with self._database.reading():
            place = self._database.place(scope)
            rows = self._database.rows("newest_events", environment=place, limit=max(0, limit))
        return tuple(_event(row) for row in reversed(rows))

    def verify(self, scope: Scope) -> int:
        """Check the whole chain; return how many events it has.

        Raises  Conflict that names the first record that is not what was written.
        """
        with self._database.reading():
            place = self._database.place(scope)
            head = self._database.row("ledger_head", environment=place)
            assert head is not None  # noqa: S101 - `place` has just found it
            before, number = first_hash(self._database.owner, head["project"], head["name"]), 0
            for row in self._database.stream("all_events", environment=place):
                number += 1
                if not _is_link(row, before, number):
                    raise _broken(scope, number)
                before = row["hash"]
            if (number, before) != (head["last_event"], head["last_hash"]):
                raise _broken(scope, number + 1)
        return number

    def latest(self, scope: Scope) -> float:
        """Return the latest time that was committed for `scope`; 0 if there is none."""
        with self._database.reading():
            row = self._database.row("latest_time", environment=self._database.place(scope))
        return float(row["at"]) if row else 0.0

    def attempt(self, scope: Scope, step: str) -> int:
        """Record that an effect is about to be tried; return the number of the attempt."""
        with self._database.writing():
            place = self._database.place(scope)
            return self._database.add("add_attempt", environment=place, step=clean(step), at=self._clock.now())

    def attempted(self, number: int, outcome: str) -> None:
        """Record how an attempt ended (``ok`` means well), and tell the ledger; the first answer counts."""
        with self._database.writing():
            row = self._database.row("attempt", number=number)
            if row is None:
                raise NotFound(f"there is no attempt {number}")
            if row["outcome"]:
                return
            outcome = clean(outcome) or "ok"
            self._database.change("end_attempt", number=number, outcome=outcome, at=self._clock.now())
            text = row["step"] if outcome == "ok" else f"{row['step']}: {outcome}"
            self.append(row["environment"], "effect", text, {"attempt": str(number), "outcome": outcome})


def _event(row: sqlite3.Row) -> Event:
    facts: dict[str, str] = json.loads(row["facts"])
    return Event(row["number"], row["at"], row["kind"], row["text"], facts, row["hash"])


def _is_link(row: sqlite3.Row, before: Digest, number: int) -> bool:
    try:
        return bool(row["number"] == number and row["hash"] == chained(before, _event(row)))
    except (ValueError, TypeError):  # what stands there is not even a record
        return False


def _broken(scope: Scope, number: int) -> Conflict:
    return Conflict(
        f"the ledger of {scope} is broken at event {number}: it is not what was written",
        where=f"{scope} event {number}",
        hint="compare it with a copy; everything before it is as it was written",
    )
