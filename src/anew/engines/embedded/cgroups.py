"""What is known of the control groups of instances: what the kernel counted in them, and that they are gone.

A group stays until its instance is removed: only so it is known why an instance ended at which nobody looked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from signal import SIGKILL

from anew.engines.embedded import locks
from anew.engines.embedded.life import UNKNOWN, Life, signal_of
from anew.errors import EngineError
from anew.model import Bytes, Seconds

EMPTYING: Seconds = 5.0  # from the end of the last process until the kernel lets its group go; measured: < 1 ms
OUT_OF_MEMORY = "killed for memory"
_EVENTS = ("memory.events", "memory.oom_control")  # where version 2 and version 1 count what was killed
_PEAKS = ("memory.peak", "memory.max_usage_in_bytes")


def remove(folders: Sequence[str]) -> None:
    """Remove a group whose processes have ended. Idempotent.

    Blocks  until the kernel lets it go, at most `EMPTYING`.
    Raises  EngineError if it has processes then.
    """
    for folder in folders:
        if not locks.until(partial(_is_gone, folder), EMPTYING):
            raise EngineError(
                f"the control group {Path(folder).name} has processes",
                hint="something else was moved into it: move that away, or end it",
                facts={"command": f"cat {folder}/cgroup.procs"},
            )


def _is_gone(folder: str) -> bool:
    try:
        os.rmdir(folder)  # noqa: PTH106 - a text from a record
    except FileNotFoundError:
        return True
    except OSError as cause:
        if cause.errno != errno.EBUSY:
            raise EngineError(
                f"the control group {Path(folder).name} can't be removed: {cause.strerror}",
                hint="try: anew doctor",
                facts={"command": f"rmdir {folder}"},
            ) from cause
        return False
    return True


def explained(now: Life, folders: Sequence[str], memory: Bytes, *, is_ours: bool) -> str:
    """Return how an instance ended, with what its control group knows of that; `is_ours`: anew itself killed it.

    What the kernel kills need not be the application: that may go on, or end because of it.
    """
    number = signal_of(now.code or 0)
    if is_ours or now.code == 0 or number not in {0, SIGKILL} or not killed(folders):
        return now.ended
    limit = f"limit {size(memory)}"
    if number == SIGKILL or now.ended == UNKNOWN:
        return f"{OUT_OF_MEMORY} ({limit})"
    return f"{now.ended} (a process of it was {OUT_OF_MEMORY}, {limit})"


def killed(folders: Sequence[str]) -> int:
    """Return how many processes the kernel has killed in a group because its memory was not enough."""
    for name in _EVENTS:
        for folder in folders:
            for line in _lines(f"{folder}/{name}"):
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def peak(folders: Sequence[str]) -> Bytes:
    """Return the most memory that a group ever had; 0 if that is not known."""
    values = (_lines(f"{folder}/{name}") for name in _PEAKS for folder in folders)
    return next((int(lines[0]) for lines in values if lines), 0)


def size(amount: Bytes) -> str:
    """Return a limit as people read it.

    >>> size(64 << 20), size(3 << 29), size(5_000_000)
    ('64 MiB', '1.5 GiB', '4.768 MiB')
    """
    unit, name = (1 << 30, "GiB") if amount >= 1 << 30 else (1 << 20, "MiB")
    return f"{amount / unit:.4g} {name}" if amount % unit else f"{amount // unit} {name}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("ascii").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as cause:
        if cause.errno == errno.ENODEV:  # the group went while it was read
            return []
        raise
