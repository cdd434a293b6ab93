"""Whether an address can be listened on, and who holds it if not."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from anew.edge import listeners
from anew.edge.targets import LOOPBACK
from anew.errors import AnewError, Conflict, SpecError, Unsupported
from anew.model import Declaration, Seconds

LISTEN_HINT = "say another address in anew.yaml: `environments: {NAME: {listen: 127.0.0.1:8081}}`"
PREVIEW_HINT = "end what listens there, or choose another preview port"
LISTENER_HINT = "end what listens there, or choose another port for this listener"
ENDS_WITHIN: Seconds = 0.5  # a process that is being taken apart holds its address, but is nobody's by then
LOOKS_EVERY: Seconds = 0.02
LISTENING = "0A"  # the state in /proc/net/tcp


def _nobody() -> Iterable[int]:
    return ()


def require_all(before: Declaration | None, wanted: Declaration, ours: Callable[[], Iterable[int]]) -> None:
    """Return if this machine can listen on all that `wanted` has and `before` has not; raises as `require_free`."""
    if before is None or (before.host, before.port) != (wanted.host, wanted.port):
        require_free(wanted.host, wanted.port, LISTEN_HINT, ours)
    if wanted.preview_port and (before is None or before.preview_port != wanted.preview_port):
        require_free(LOOPBACK, wanted.preview_port, PREVIEW_HINT, ours)
    has = listeners.addresses(before) if before else {}
    for (host, port), name in listeners.addresses(wanted).items():
        if (host, port) not in has:
            require_free(host, port, LISTENER_HINT, ours, f"the listener {name}")


def require_free(host: str, port: int, hint: str, ours: Callable[[], Iterable[int]] = _nobody, whose: str = "") -> None:
    """Return if this machine can listen on ``host:port``, or only the processes that `ours` names do.

    `ours` is asked last, and for `ENDS_WITHIN` again: workers come and go while one looks. `whose` says in an error
    for whom the address is.

    Raises  Conflict that names who holds it; SpecError if it is no address of this machine; Unsupported if the port
            is not for this user.
    """
    where = f"{host}:{port}" + (f" of {whose}" if whose else "")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except (socket.gaierror, OverflowError) as cause:
        raise SpecError(f"{where} is no address: {cause}", hint=hint) from cause
    until = time.monotonic() + ENDS_WITHIN
    while (obstacle := _obstacle(family, kind, address)) is not None:
        held = list(holders(port))
        is_taken = obstacle.errno == errno.EADDRINUSE
        if is_taken and held and {pid for pid, _ in held} <= set(ours()):
            return
        if not is_taken or time.monotonic() > until:
            raise _refusal(where, obstacle, held, hint) from obstacle
        time.sleep(LOOKS_EVERY)


def _obstacle(family: int, kind: int, address: tuple[Any, ...]) -> OSError | None:
    """Return what the system has against listening there; None if nothing."""
    with socket.socket(family, kind) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(address)
            one.listen(1)
        except OSError as cause:
            return cause
    return None


def _refusal(where: str, cause: OSError, held: list[tuple[int, str]], hint: str) -> AnewError:
    if cause.errno == errno.EADDRINUSE:
        who = ", ".join(f"{name} (process {pid})" for pid, name in held) or "another program"
        return Conflict(f"{where} is taken by {who}", where=where, hint=hint)
    if cause.errno == errno.EACCES:
        return Unsupported(f"an ordinary user may not listen on {where}", where=where, hint=hint)
    return SpecError(f"this machine can't listen on {where}: {cause.strerror}", where=where, hint=hint)


def holders(port: int) -> Iterator[tuple[int, str]]:
    """Yield process id and name of each process that listens on a TCP port, as far as this user may see."""
    sockets = set(_sockets(port))
    for entry in Path("/proc").iterdir() if sockets else ():
        if not entry.name.isdecimal():
            continue
        try:
            open_files = {str(one.readlink()) for one in (entry / "fd").iterdir()}
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue  # it is another user's, or it ended
        if sockets & open_files:
            yield int(entry.name), name


def _sockets(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):  # noqa: PTH110 - the machine may have no IPv6
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{words[9]}]"
