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
from typing import TYPE_CHECKING, Literal

import msgspec

from anew import views
from anew.errors import Conflict, NotFound
from anew.shell.chain import Newest, chained, first_hash, walk
from anew.shell.database import clean

if TYPE_CHECKING:
    from anew.model import Scope
    from anew.ports import Clock
    from anew.shell.database import Database

__all__ = ["Kind", "Ledger", "chained", "first_hash"]

Kind = Literal["wish", "decision", "effect", "gate", "note"]
NO_FACTS: Mapping[str, str] = MappingProxyType({})


class Ledger:
    """What happened, for people and for auditors."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def note(self, scope: Scope, kind: Kind, text: str, facts: Mapping[str, str] = NO_FACTS) -> views.Event:
        """Append an event to the ledger of `scope`; inside a transaction it is committed with it."""
        with self._database.writing():
            return self.append(self._database.place(scope), kind, text, facts)

    def append(self, place: int, kind: Kind, text: str, facts: Mapping[str, str] = NO_FACTS) -> views.Event:
        """Append an event to the ledger of the environment whose row is `place`; inside `writing` only."""
        head = self._database.row("ledger_head", environment=place)
        if head is None:
            raise NotFound(f"the environment of row {place} is not there")
        plain = {clean(key): clean(value) for key, value in facts.items()}
        at = float(self._clock.now()) + 0.0  # SQLite gives -0.0 back as 0.0, which has another canonical form
        bare = views.Event(head["last_event"] + 1, at, kind, clean(text), plain)
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
        return views.Event(bare.number, bare.at, kind, bare.text, plain, link)

    def events(self, scope: Scope, limit: int) -> tuple[views.Event, ...]:
        """Return the newest `limit` events, oldest first. Raises Conflict for one that can't be read."""
        with self._database.reading():
            place = self._database.place(scope)
            rows = self._database.rows("newest_events", environment=place, limit=max(0, limit))
        return tuple(_event(row) for row in reversed(rows))

    def verify(self, scope: Scope) -> views.Verified:
        """Check the whole chain from the first event on; return what was found. A broken one raises nothing.

        Raises  NotFound if the environment was never used.
        """
        with self._database.reading():
            place = self._database.place(scope)
            head = self._database.row("ledger_head_as_it_is", environment=place)
            if head is None:
                raise NotFound(f"the environment of row {place} is not there")
            first = first_hash(self._database.owner, scope.project, scope.environment)
            newest = Newest(first, head["number"], bytes(head["hash"]).decode(errors="replace"))
            return walk(newest, self._database.stream("events_as_they_are", environment=place))

    def sealed(self, scope: Scope) -> tuple[Mapping[str, str], ...]:
        """Return the facts of all events that tell of a seal, oldest first; `verify` tells of those left out."""
        with self._database.reading():
            rows = self._database.rows("seal_events", environment=self._database.place(scope))
        found = (_facts(row["facts"]) for row in rows)
        return tuple(facts for facts in found if facts is not None)

    def hash_of(self, scope: Scope, number: int) -> str:
        """Return the hash of an event; "" if there is none of that number."""
        with self._database.reading():
            row = self._database.row("event_hash", environment=self._database.place(scope), number=number)
        return str(row["hash"]) if row else ""

    def latest(self, scope: Scope) -> float:
        """Return the latest time that was committed for `scope`; 0 if there is none."""
        with self._database.reading():
            row = self._database.row("latest_time", environment=self._database.place(scope))
        return float(row["at"]) if row else 0.0

    def forget_attempts(self, before: float, *, is_dry: bool) -> int:
        """Forget the attempts that began before a time, whose events stay; return how many. `is_dry` only counts."""
        if not is_dry:
            with self._database.writing():
                return self._database.change("forget_attempts", before=before)
        row = self._database.row("old_attempts", before=before)
        return int(row["number"]) if row else 0

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


def _facts(text: object) -> dict[str, str] | None:
    """Return the facts of an event; None if that is not what is written for an event."""
    try:
        return msgspec.json.decode(text, type=dict[str, str]) if isinstance(text, str) else None
    except (msgspec.MsgspecError, RecursionError):
        return None


def _event(row: sqlite3.Row) -> views.Event:
    facts = _facts(row["facts"])
    if facts is None or not isinstance(row["at"], float):
        raise Conflict(
            f"event {row['number']} of the ledger can't be read",
            where="the state file",
            hint="somebody changed it: `anew history --verify` tells more; restore the file from a copy",
        )
    return views.Event(row["number"], row["at"], row["kind"], row["text"], facts, row["hash"])
