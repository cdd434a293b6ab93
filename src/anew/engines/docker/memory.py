"""How much memory a container ever had, from the control group of its first process."""

from __future__ import annotations

from pathlib import Path

from anew.model import Bytes

ROOT = Path("/sys/fs/cgroup")
COUNTS = ("memory.peak", "memory.max_usage_in_bytes")  # of version 2 and version 1


def peak(pid: int) -> Bytes:
    """Return the most memory that the control group of a process ever had; 0 if that is not known."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return 0
    for line in lines:
        _, kinds, path = line.split(":", 2)
        folder = ROOT / "memory" if "memory" in kinds.split(",") else ROOT
        if kinds and folder == ROOT:
            continue
        for name in COUNTS:
            file = folder / path.lstrip("/") / name
            try:
                return int(file.read_text("ascii"))
            except OSError:
                continue  # of the other version, or it went with its last process
    return 0
