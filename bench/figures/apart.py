"""A rig whose instances have ports far from those of other states on the machine, so that neither gets in the way."""

from __future__ import annotations

import secrets
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any

from anew.testing.rig import Rig, rig

LOWEST, HIGHEST = 22_000, 31_000  # where the ports of instances begin
LISTENS = range(21_000, 22_000)  # below those from which the kernel takes ports for outgoing connections


@contextmanager
def rig_apart(**shape: Any) -> Iterator[Rig]:
    """Make a rig with a state that gives its ports out from a random one on.

    Every new state begins with the same port, so two that begin at the same time want the same ones.
    """
    with rig(port=listening_port(), **shape) as project:
        project.write("nothing")
        project.anew("status")  # the state is made by whatever looks first
        with closing(sqlite3.connect(project.home / "state.db")) as database, database:
            start = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
            changed = database.execute("update state set last_port = ?", (start,)).rowcount
            if changed != 1:
                raise LookupError(f"the state has {changed} rows, not one")
        yield project


def listening_port() -> int:
    """Return a free port for the edge, that no outgoing connection takes meanwhile."""
    start = secrets.randbelow(len(LISTENS))
    for port in chain(LISTENS[start:], LISTENS[:start]):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                return port
    raise LookupError("no port is free")
