"""Files that are there whole or not at all, and one actor at a time."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anew.errors import Conflict, EngineError
from anew.model import Seconds

WAITS: Seconds = 30.0


def write(path: Path, text: str, *, is_durable: bool = False) -> None:
    """Write `text` beside `path` and rename it there; if `is_durable`, it outlives a power failure from then on.

    Raises  EngineError if the disk is full or the folder can't be written.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        with fresh.open("w", encoding="utf-8") as out:
            out.write(text)
            if is_durable:
                out.flush()
                os.fdatasync(out.fileno())
        fresh.replace(path)
    except OSError as cause:
        fresh.unlink(missing_ok=True)
        raise EngineError(
            f"{path.name} of the edge can't be written: {cause.strerror}", where=str(path), hint="look at the disk"
        ) from cause


def write_if_other(path: Path, text: str) -> None:
    """Make `path` hold `text`, and leave it alone if it does."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write(path, text)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one process and one thread at a time go on; the kernel frees the lock when its holder dies.

    Raises  Conflict if another one holds it for longer than `WAITS`.
    """
    until = time.monotonic() + WAITS
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as cause:
                if time.monotonic() > until:
                    raise Conflict(
                        f"something else has been changing the edge for {WAITS:g} s", where=str(lock), hint="end it"
                    ) from cause
            time.sleep(0.005)
        yield
