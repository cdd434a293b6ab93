"""The windows of rollouts, as they were committed: those of ended rollouts stay, for they say why it went as it did."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anew.model import Rollout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anew.model import Scope
    from anew.shell.database import Database


class Windows:
    """The rollouts of all environments, under way or ended, with their windows."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
