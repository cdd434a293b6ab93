"""Running a command to its end in a throwaway sandbox that dies with whoever started it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from anew.engines.embedded import argv, cgroups, launch, life, refusals
from anew.engines.embedded.launch import Start
from anew.engines.embedded.revealed import Revealed
from anew.errors import EngineError
from anew.model import Bytes, Outcome, Seconds

MOST: Bytes = 65536  # of output that are kept
BOUND_TO_US = ("--die-with-parent",)
ABSENT, FORBIDDEN = 127, 126  # exit codes of shells for a command that is not there, or can't be executed
CLEARING: Seconds = 10.0  # from SIGKILL until the kernel has cleared everything


def run(start: Start, limit: Seconds, name: str, secrets: Revealed) -> Outcome:
    """Run the command of `start`, and return how it ended and what it wrote; `name` is for errors only.

    The files of `secrets` are closed as soon as the sandbox has them.
    Blocks  until nothing of it is left: at most `limit`, and what the kernel takes to clear it.
    Raises  what `anew.engines.embedded.refusals` makes of a sandbox that does not start.
    """
    status = os.memfd_create("status")
    try:
        with start.cgroup.made(start.uid) as entry, _pipe(start.uid) as (reading, writing):
            with launch.prepared(start, status, 0, secrets, BOUND_TO_US) as (command, handed), writing:
                outer = launch.spawn(start, command, handed, writing, entry)
            secrets.close()
            output, is_late = _collect(outer, reading.fileno(), limit)
        said = life.parse_status(os.pread(status, MOST, 0).decode("utf-8"))
    finally:
        os.close(status)
    text = output.decode("utf-8", errors="replace")
    if is_late:
        return Outcome(-signal.SIGKILL, text, is_late=True)
    if said.code is not None:
        number = life.signal_of(said.code)
        return Outcome(-number if number else said.code, text + _of_memory(start, said.code))
    refused = life.not_executed(text)
    if refused:
        return Outcome(ABSENT if refused.startswith(life.NOT_FOUND) else FORBIDDEN, f"{refused}\n")
    if outer.returncode < 0:  # something killed the outer process, and the rest with it
        return Outcome(outer.returncode, text + _of_memory(start, outer.returncode))
    raise refusals.as_error(life.message(text), argv.pasteable(start.bwrap, start.layout, start.uid), name)


def _of_memory(start: Start, code: int) -> str:
    """Return a line about what was killed because its memory was not enough; "" if nothing failed by that."""
    cgroup = start.cgroup
    if code == 0 or not cgroups.killed(cgroup.folders):
        return ""
    return f"{cgroups.OUT_OF_MEMORY} (limit {cgroups.size(cgroup.limits.memory)})\n"


@contextmanager
def _pipe(uid: int | None) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield both ends of a pipe that belongs to `uid`: a program that opens /dev/stdout by name must be its owner."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as source, os.fdopen(writing, "wb", 0) as sink:
        if uid is not None:
            os.fchown(writing, uid, uid)
        yield source, sink


def _collect(outer: subprocess.Popen[bytes], source: int, limit: Seconds) -> tuple[bytes, bool]:
    """Read what the command writes until it ends, and return the last of it, and whether its bound was over."""
    kept, end, is_late = b"", time.monotonic() + limit, False
    handle = os.pidfd_open(outer.pid)
    try:
        os.set_blocking(source, False)
        is_over = False
        while not is_over and not is_late:
            left = end - time.monotonic()
            is_over = handle in _ready((source, handle), max(0.0, left))
            is_late = left <= 0 and not is_over
            kept = _drained(source, kept)
        if is_late:
            outer.kill()  # and with it, by `BOUND_TO_US`, all that is inside
        outer.wait(CLEARING)
        kept = _until_closed(source, kept)
    finally:
        os.close(handle)
        if outer.poll() is None:
            outer.kill()
            outer.wait(CLEARING)
    return kept, is_late


def _ready(fds: tuple[int, ...], limit: Seconds) -> set[int]:
    """Return which of the descriptors can be read, or are closed at the other end; waits up to `limit` for one."""
    waiting = select.poll()
    for fd in fds:
        waiting.register(fd, select.POLLIN)
    return {fd for fd, _ in waiting.poll(limit * 1000)}


def _drained(fd: int, kept: bytes) -> bytes:
    """Add what can be read now, at most one full buffer, so that a flood can't outlast the bound."""
    with suppress(BlockingIOError):
        kept = (kept + os.read(fd, MOST))[-MOST:]
    return kept


def _until_closed(fd: int, kept: bytes) -> bytes:
    """Read until nobody can write any more: when the outer process is gone, the kernel ends all that is inside."""
    end = time.monotonic() + CLEARING
    while _ready((fd,), max(0.0, end - time.monotonic())):
        part = os.read(fd, MOST)
        if not part:
            return kept
        kept = (kept + part)[-MOST:]
    raise EngineError(
        f"a throwaway sandbox does not end {CLEARING:g} s after SIGKILL",
        hint="a process of it hangs in the kernel: look at the machine's disks",
        facts={"command": "ps -e -o pid,stat,wchan,cmd"},
    )
