"""Starting a sandbox that outlives whoever started it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anew.engines.embedded import argv, life, locks, proc
from anew.engines.embedded.argv import Descriptors, Layout
from anew.engines.embedded.confining import Cgroup, Entry
from anew.engines.embedded.revealed import Revealed
from anew.errors import EngineError
from anew.model import Seconds
from anew.sandbox import seccomp

LIMIT: Seconds = 10.0  # until the program runs; measured: 10 to 25 ms


@dataclass(frozen=True, slots=True)
class Start:
    """All that is needed to start one sandbox."""

    bwrap: Path
    layout: Layout
    uid: int | None  # of the host, to drop to; None: stay who we are
    cgroup: Cgroup


@contextmanager
def prepared(
    start: Start, status: int, alive: int, secrets: Revealed, more: Sequence[str] = ()
) -> Iterator[tuple[list[str], list[int]]]:
    """Yield the command line and the descriptors to hand over; flags travel in an anonymous file, as secrets do."""
    filter_ = seccomp.memory_file(seccomp.program(), "filter")
    try:
        values = tuple(sorted(secrets.files.items()))
        args = argv.with_descriptors(argv.options(start.layout), Descriptors(filter_, status, alive, values))
        flags = seccomp.memory_file(argv.file_of((*args, *more)), "arguments")
        try:
            command = [str(start.bwrap), "--args", str(flags), "--", *start.layout.command]
            yield command, [filter_, flags, status, *([alive] if alive else []), *(fd for _, fd in values)]
        finally:
            os.close(flags)
    finally:
        os.close(filter_)


def spawn(
    start: Start, command: Sequence[str], handed: Sequence[int], output: int | IO[bytes], entry: Entry
) -> subprocess.Popen[bytes]:
    """Start the outer process: no environment (process 1 inside would show it), no descriptors but those handed over.

    It goes through `entry` into its control group, if it has one.

    Raises  EngineError if bubblewrap itself can't be executed.
    """
    try:
        return subprocess.Popen(
            entry.command(command),
            env={},
            cwd="/",
            stdin=entry.file if entry.file >= 0 else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=handed,
            start_new_session=True,
            umask=0o022,
            user=start.uid,
            group=start.uid,
            extra_groups=None if start.uid is None else [],
        )
    except OSError as cause:
        line = argv.pasteable(start.bwrap, start.layout, start.uid)
        raise EngineError(
            f"bubblewrap can't be executed: {cause}", hint="try: anew doctor", facts={"command": line}
        ) from cause


def settled(outer: subprocess.Popen[bytes], place: Path) -> bool:
    """Wait until the program runs, or everything has ended; return False if neither is so within `LIMIT`."""
    return locks.until(lambda: outer.poll() is not None or _runs(place), LIMIT)


def _runs(place: Path) -> bool:
    status = life.read_status(place)
    if not status.pid:
        return False
    return status.code is not None or any(proc.has_executed(one) for one in proc.children(status.pid))
