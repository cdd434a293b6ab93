"""Which process is which: ids are used again, and the time when one started is not."""

from __future__ import annotations

from pathlib import Path


def process_start(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if it is gone. With `pid` it identifies it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    state, *rest = stat.rpartition(b")")[2].split()
    return 0 if state in {b"Z", b"X"} else int(rest[18])
