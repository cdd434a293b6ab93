"""Which uid of the host an instance runs under. Where anew is root: one of its own, that no account has.

An instance never runs as the host's root, not even with all capabilities dropped: ``/proc/sys`` would be writable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from anew.engines.embedded import locks
from anew.errors import Conflict

FIRST = 700_000  # plus the port: two live instances never have the same port
FIRST_WITHOUT_PORT = FIRST + 65_536
FIRST_OF_TRIAL = FIRST + 200_000
TRIALS = 1000  # throwaway instances at once, at most
OF_SERVICES = range(
    2_010_000_000, 2_110_000_000
)  # of `anew.engines.embedded.volumes`; they stand on the disk for good,
# so they lie above what useradd, ranges of subordinate uids, containers and directory services give to others


def of_instance(port: int, taken: Callable[[], frozenset[int]]) -> int:
    """Return the uid for an instance; `taken` says which ones live instances have, and is asked only if need be."""
    if os.geteuid() != 0:
        return os.geteuid()
    if port:
        return FIRST + port
    others = taken()
    return next(uid for uid in count(FIRST_WITHOUT_PORT) if uid not in others)


@contextmanager
def of_trial(folder: Path) -> Iterator[int]:
    """Yield a uid for a throwaway instance, reserved in `folder` until the end.

    Raises  Conflict if all are in use.
    """
    if os.geteuid() != 0:
        yield os.geteuid()
        return
    uid, fd = locks.reserve(folder, FIRST_OF_TRIAL, TRIALS)
    if fd < 0:
        raise Conflict(f"{TRIALS} throwaway instances run already", hint="wait for some of them to end")
    try:
        yield uid
    finally:
        os.close(fd)


def is_own(uid: int, port: int) -> bool:
    """Say whether nothing but the instance with this uid and port runs under that uid."""
    return os.geteuid() == 0 and port != 0 and uid == FIRST + port


def drop_to(uid: int) -> int | None:
    """Return the uid to drop to before a sandbox is started; None as an ordinary user, who stays what he is."""
    return uid if os.geteuid() == 0 else None
