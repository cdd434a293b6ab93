"""The windows of rollouts, as they were committed: those of ended rollouts stay, for they say why it went as it did.

They are committed with each phase that is entered, and every few seconds of a stage. The latter is no decision, so no
ledger tells of it; it is for those who only look, and for the keeper after this one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anew.model import Rollout
from anew.shell.database import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anew.model import Scope, Seconds
    from anew.shell.database import Database

EVERY: Seconds = 5.0  # windows are committed in a stage


class Windows:
    """The rollouts of all environments, under way or ended, with their windows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, scope: Scope, seen: Rollout) -> bool:
        """Commit the counts and windows of a rollout as it was `seen`; False if it has moved since."""
        with self._database.writing():
            place = self._database.place(scope)
            return bool(
                self._database.change(
                    "keep_windows", environment=place, id=seen.id, version=seen.version, body=encode(seen)
                )
            )

    def of(self, scope: Scope, rollouts: Iterable[int]) -> Rollout | None:
        """Return the first of these rollouts that has windows; if none has, the first; None if there is none."""
        first: Rollout | None = None
        with self._database.reading():
            place = self._database.place(scope)
            for number in rollouts:
                row = self._database.row("rollout", environment=place, id=number)
                if row is None:
                    continue
                found = replace(self._database.decode(row["body"], Rollout), id=row["id"], version=row["version"])
                if found.windows:
                    return found
                first = first or found
        return first
