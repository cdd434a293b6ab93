"""What stands around running sandboxes, mounts and limits, compared with what it was when each was first looked at.

The kernel tells when a process's mounts change to whoever has its list open: so of a hundred sandboxes at rest nothing
is read. Where there are more of them than files that may be open, the lists are read each time.
"""

from __future__ import annotations

import os
import resource
import select
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anew.engines.embedded import held, mounted, proc
from anew.engines.embedded.cgroup_places import OURS
from anew.engines.embedded.mounted import Mount

SHARE = 4  # of the files that a process may have open, one in so many is for this
MACHINE = Path("/proc/self/mountinfo")


@dataclass(slots=True)
class _Seen:
    """What was found of one sandbox at first, and what is to be said of it since."""

    pid: int
    mounts: tuple[Mount, ...]
    places: Mapping[str, Path]  # the files with its limits
    limits: Mapping[str, float]
    fd: int  # its open list of mounts; -1: there are too many
    lines: tuple[str, ...] = field(default=())  # about mounts, when that list was read last


class Surroundings:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._holds = held.Holds()
        self._poll = select.poll()
        self._seen: dict[str, _Seen] = {}
        weakref.finalize(self, _close, self._seen)
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE

    def changes(self, inner: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """Return a line for each change since the first look, by sandbox; `inner` are their inner processes."""
        for name in [name for name, one in self._seen.items() if inner.get(name) != one.pid]:
            self._forget(name)
        told = {fd for fd, _ in self._poll.poll(0)}
        out = {}
        for name, pid in inner.items():
            seen = self._seen.get(name)
            if seen is None:
                self._first(name, pid)
                continue
            if seen.fd < 0 or seen.fd in told:
                seen.lines = tuple(_moved(seen))
            lines = (*seen.lines, *held.changes(held.read(seen.places), seen.limits))
            if lines:
                out[name] = lines
        return out

    def _first(self, name: str, pid: int) -> None:
        path = Path(f"/proc/{pid}/mountinfo")
        fd = -1
        try:
            if len(self._seen) < self._most:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            text = path.read_text("utf-8", errors="replace")
        except OSError:  # it has just ended
            if fd >= 0:
                os.close(fd)
            return
        places = {what: one for what, one in self._holds.places(pid).items() if one.parent.parent.name == OURS}
        self._seen[name] = _Seen(pid, tuple(mounted.parsed(text)), places, held.read(places), fd)
        if fd >= 0:
            self._poll.register(fd, select.POLLERR | select.POLLPRI)

    def _forget(self, name: str) -> None:
        seen = self._seen.pop(name)
        if seen.fd >= 0:
            self._poll.unregister(seen.fd)
            os.close(seen.fd)


def _close(every: Mapping[str, _Seen]) -> None:
    for seen in every.values():
        if seen.fd >= 0:
            os.close(seen.fd)


def _moved(seen: _Seen) -> Iterator[str]:
    try:
        text = Path(f"/proc/{seen.pid}/mountinfo").read_text("utf-8", errors="replace")
    except (*proc.VANISHED, OSError):  # it has just ended: there is nothing to compare
        return
    if text:
        machine = tuple(mounted.parsed(MACHINE.read_text("utf-8", errors="replace")))
        yield from mounted.differences(seen.mounts, tuple(mounted.parsed(text)), machine)
