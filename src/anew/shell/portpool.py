"""Which port comes next: round robin, so that a port that was just given back is the last to be given again."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from anew.errors import Conflict
from anew.shell.database import FIRST_PORT, LAST_PORT
from anew.shell.processes import process_start

if TYPE_CHECKING:
    from anew.shell.database import Database


def next_port(database: Database, free: Callable[[int], bool]) -> int:
    """Return the next port that is promised to nobody and that `free` says can be bound; call it inside `writing`.

    Raises  Conflict if there is none.
    """
    state = database.row("state")
    last = state["last_port"] if state else LAST_PORT
    reserved = {row["port"] for row in database.rows("reserved_ports")}
    count = LAST_PORT - FIRST_PORT + 1
    for ahead in range(1, count + 1):
        port = FIRST_PORT + (last - FIRST_PORT + ahead) % count
        if port not in reserved and free(port):
            database.change("set_last_port", port=port)
            return port
    raise Conflict(
        f"no port from {FIRST_PORT} to {LAST_PORT} is free",
        where="127.0.0.1",
        hint="dispose of instances that are not needed, or end the programs that listen there",
    )


class PortPool:
    """Ports for throwaway instances, lent to a process and taken back from those that died."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lend(self, free: Callable[[int], bool]) -> int:
        """Promise a port to this process until it gives it back or ends; Conflict if none is free."""
        with self._database.writing():
            self.reclaim()
            port = next_port(self._database, free)
            own = os.getpid()
            self._database.change("lend_port", port=port, pid=own, started=process_start(own))
        return port

    def reclaim(self) -> None:
        """Take back what was lent to processes that have ended. Idempotent."""
        with self._database.writing():
            for row in self._database.rows("lent_ports"):
                if process_start(row["pid"]) != row["started"]:
                    self._database.change("return_port", port=row["port"])

    def give_back(self, port: int) -> None:
        """Give a port back; success if it was not lent."""
        with self._database.writing():
            self._database.change("return_port", port=port)
