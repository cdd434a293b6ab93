"""Locks as signs of life: the kernel frees a lock when the last process that holds the open file is gone.

So they need no pids, can't be confused by pids that are used again, and are free after a reboot.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anew.model import Seconds

TICK: Seconds = 0.001


def is_held(path: Path | str) -> bool:
    """Say whether somebody holds the lock on the file; False if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the lock on the file, which is made if it is not there; waits for whoever holds it.

    Its holders do nothing but write small files, and the kernel frees it if they die.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def reserve(folder: Path, first: int, count: int) -> tuple[int, int]:
    """Return a number that nobody else has reserved, of `count` from `first` on, and the descriptor that holds it.

    The number is free again when the descriptor is closed. Returns (0, -1) if all are taken.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(first, first + count):
        fd = os.open(folder / str(number), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
        else:
            return number, fd
    return 0, -1


def until(is_so: Callable[[], bool], limit: Seconds, tick: Seconds = TICK) -> bool:
    """Wait until `is_so()`, at most `limit`; return whether it is."""
    end = time.monotonic() + limit
    while not is_so():
        if time.monotonic() >= end:
            return is_so()
        time.sleep(tick)
    return True
