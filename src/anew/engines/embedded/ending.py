"""Ending instances: the application is asked, and in the end nothing of the sandbox is left."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anew.engines.embedded import life, locks, proc
from anew.errors import EngineError
from anew.model import Seconds

OURS = "killed"  # the file that tells of an instance that it was alive when it was killed here
SANDBOX = "bwrap"  # the short name of its processes
TICK: Seconds = 0.005
APPEARING: Seconds = 2.0  # until bubblewrap has written the pid of its inner process; measured: < 5 ms
_GONE = frozenset({errno.ESRCH, errno.EINVAL})  # of a process that is just being taken apart Linux 6.1 says EINVAL
LIMIT: Seconds = 10.0  # from SIGKILL until the kernel has cleared everything; measured: 3 ms


def stop(place: Path, grace: Seconds) -> None:
    """Ask the application to end, wait up to `grace` for that, and clear what is left.

    Blocks until nothing of the instance runs.
    """
    if _is_alive(place):
        locks.until(lambda: life.read_status(place).pid != 0 or not _is_alive(place), APPEARING, TICK)
    with _outer(place) as outer:
        _ask(place, grace)
        clear(place)
        if outer >= 0:  # it lets go of the status a moment before its end
            wait_for(outer, LIMIT)


def _ask(place: Path, grace: Seconds) -> None:
    """Send SIGTERM to the application's process group, which is that of the inner process, who ignores the signal."""
    if not _is_alive(place):
        return
    with _pinned(place) as (pid, _):
        if pid:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.killpg(pid, signal.SIGTERM)
    locks.until(lambda: not _is_alive(place), grace, TICK)


def clear(place: Path) -> None:
    """Kill what is left of an instance; the death of the inner process takes everything inside along.

    Idempotent. Blocks until nothing of it runs.
    Raises  EngineError if the kernel does not clear it within `LIMIT`: a process hangs in the kernel.
    """
    alive, status = place / "alive", place / "status.json"
    with _pinned(place) as (pid, handle):
        if pid:
            if life.read_status(place).code is None:
                (place / OURS).touch()
            with suppress(ProcessLookupError):  # it has ended meanwhile
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            wait_for(handle, LIMIT)
    if locks.is_held(alive):  # killed between its start and the first word in the status
        _kill(proc.holders(alive))
    if not locks.until(lambda: not locks.is_held(status), LIMIT / 2, TICK):
        _kill(proc.holders(status))
    if not locks.until(lambda: not locks.is_held(alive) and not locks.is_held(status), LIMIT, TICK):
        held = " ".join(str(one) for one in {*proc.holders(alive), *proc.holders(status)})
        raise EngineError(
            f"{place.name} does not end {LIMIT:g} s after SIGKILL",
            hint="a process of it hangs in the kernel: look at its state, and at the machine's disks",
            facts={"command": f"ps -o pid,stat,wchan,cmd -p {held or '1'}"},
        )


def wait_for(handle: int, limit: Seconds) -> None:
    """Wait until the process of a pidfd, and for a process 1 all that is inside, is gone; at most `limit`."""
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    waiting.poll(limit * 1000)


@contextmanager
def _pinned(place: Path) -> Iterator[tuple[int, int]]:
    """Yield the pid of the inner process and a handle of it; (0, -1) if it is gone.

    The lock is looked at after the handle was taken: if it is still held, the pid can't be somebody else's.
    """
    pid = life.read_status(place).pid
    handle = -1
    try:
        handle = os.pidfd_open(pid) if pid else -1
    except OSError as cause:
        if cause.errno not in _GONE:
            raise
    try:
        is_ours = handle >= 0 and locks.is_held(place / "alive")
        yield (pid, handle) if is_ours else (0, -1)
    finally:
        if handle >= 0:
            os.close(handle)


@contextmanager
def _outer(place: Path) -> Iterator[int]:
    """Yield a handle of the outer process; -1 if it is not there.

    The lock is looked at after the handle was taken: if it is still held, no other process has adopted the inner one.
    """
    pid = life.read_status(place).pid
    outer, handle = proc.parent(pid) if pid else 0, -1
    try:
        handle = os.pidfd_open(outer) if outer else -1
    except OSError as cause:
        if cause.errno not in _GONE:
            raise
    try:
        yield handle if locks.is_held(place / "status.json") else -1
    finally:
        if handle >= 0:
            os.close(handle)


def _is_alive(place: Path) -> bool:
    return life.read_status(place).code is None and locks.is_held(place / "alive")


def _kill(pids: tuple[int, ...]) -> None:
    """Kill the sandboxes among those that have the file open; others only look at it."""
    for pid in pids:
        if proc.name(pid) == SANDBOX:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
