"""The sockets of an edge: which master serves, and which ones only finish what they have begun.

::

    haproxy.sock → m3.1f2e3d4c    the master that serves; a master is never given another's name
    m2.9a8b7c6d                   one that has handed over, and lives as long as what it serves
    fds                           hands out all that the newest worker listens on

The end of a name is the beginning of the identity of the program that was started so. It stands in the command line of
its processes too, so that they can be told apart.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from anew.core.digest import PREFIX

LINK, EXPOSED = "haproxy.sock", "fds"
_NAME = re.compile(r"m(\d+)\.([0-9a-f]*)\Z")
_DIGITS = 8  # of an identity: a path of a socket must be short


@dataclass(frozen=True, slots=True)
class Run:
    """One master: its number grows with each hand-over; `mark` is "" if it was started before there were any."""

    number: int
    mark: str
    path: Path

    @property
    def name(self) -> str:
        """What nobody else is called while it runs."""
        return str(self.number)


def mark(identity: str) -> str:
    """Return what a run's name holds of a program's identity."""
    return identity.removeprefix(PREFIX)[:_DIGITS]


class Runs:
    """The sockets in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = folder / LINK
        self.exposed = folder / EXPOSED

    def current(self) -> Run:
        """Return the run that serves, or would."""
        try:
            name = os.readlink(self.link)  # noqa: PTH115 - the name alone
        except OSError:
            name = ""  # it is not there, or is itself the socket of a master that was started before hand-overs
        return _run(self.folder, name) or Run(0, "", self.link)

    def others(self) -> tuple[Run, ...]:
        """Return all other runs that have a socket, oldest first; it may be dead."""
        try:
            names = os.listdir(self.folder)  # noqa: PTH208 - names are enough
        except FileNotFoundError:
            return ()
        runs = [one for one in (_run(self.folder, name) for name in names) if one and one != self.current()]
        return tuple(sorted(runs, key=lambda one: one.number))

    def following(self, identity: str) -> Run:
        """Return a run that never was, for a program."""
        number = max(one.number for one in (self.current(), *self.others())) + 1
        return Run(number, mark(identity), self.folder / f"m{number}.{mark(identity)}")

    def lead(self, run: Run) -> None:
        """Say that `run` is the one that serves. Idempotent; readers see the old or the new one, never none."""
        if self.current() == run:
            return
        if self.link.is_socket() and not self.link.is_symlink():
            first = self.folder / "m0."  # its master answers under that name from now on
            first.unlink(missing_ok=True)
            os.link(self.link, first)
        fresh = self.folder / f"{LINK}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(run.path.name)
        fresh.replace(self.link)

    def forget(self) -> None:
        """Remove all sockets: nobody runs."""
        for path in (*(one.path for one in self.others()), self.current().path, self.link, self.exposed):
            path.unlink(missing_ok=True)


def named(path: Path) -> Run | None:
    """Return the run whose socket is at `path`; None if that is no name of one."""
    return _run(path.parent, path.name)


def _run(folder: Path, name: str) -> Run | None:
    found = _NAME.match(name)
    return Run(int(found[1]), found[2], folder / name) if found else None
