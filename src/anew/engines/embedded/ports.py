"""Which ports are listened on, and by whom."""

from __future__ import annotations

import errno
import socket
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from anew.engines.embedded import proc, sockdiag

LISTEN = "0A"
ANYWHERE = ((socket.AF_INET, ""), (socket.AF_INET6, "::"))
FILES = ("/proc/net/tcp", "/proc/net/tcp6")


def listeners() -> Mapping[int, Mapping[str, int]]:
    """Return the sockets that listen on each TCP port of this machine: its name, as in ``socket:[4711]``, and uid."""
    found: dict[int, dict[str, int]] = {}
    try:
        every = [one for family, _ in ANYWHERE for one in sockdiag.listening(family)]
    except OSError:  # an old or a very small kernel
        every = list(_read())
    for port, inode, uid in every:
        found.setdefault(port, {})[f"socket:[{inode}]"] = uid
    return found


def _read() -> Iterator[tuple[int, int, int]]:
    """Yield port, inode and uid of every listening socket, from the kernel's text files."""
    for file in FILES:
        path = Path(file)
        if not path.exists():  # a machine without IPv6
            continue
        with path.open(encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                parts = line.split()
                if parts[3] != LISTEN:
                    break  # the kernel lists those that listen first
                yield int(parts[1].rpartition(":")[2], 16), int(parts[9]), int(parts[7])


def is_of(pid: int, sockets: Container[str]) -> bool:
    """Say whether `pid` or a process that descends from it has one of the sockets open."""
    return _owner(proc.descendants(pid), sockets) != 0


def holder(port: int) -> str:
    """Return who listens on the port, like ``python3 (pid 4711)``; "" if nobody does, or we may not look."""
    sockets = listeners().get(port, {})
    found = _owner(proc.pids(), sockets) if sockets else 0
    return f"{proc.name(found)} (pid {found})" if found else ""


def is_free(port: int) -> bool:
    """Say whether the port can be bound now, on every address: far faster than to look at all sockets."""
    return all(_may_bind(family, anywhere, port) for family, anywhere in ANYWHERE)


def _may_bind(family: socket.AddressFamily, anywhere: str, port: int) -> bool:
    try:
        one = socket.socket(family)
    except OSError:  # a machine without this family: nobody can have the port there
        return True
    with one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((anywhere, port))
        except OSError as cause:
            return cause.errno == errno.EADDRNOTAVAIL  # the family is switched off
    return True


def _owner(pids: Iterable[int], sockets: Container[str]) -> int:
    return next((pid for pid in pids if any(what in sockets for _, what in proc.opened(pid))), 0)
