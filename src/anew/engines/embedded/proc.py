"""What /proc tells. Processes come and go while it is read: what vanished meanwhile is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from anew.model import Bytes

PROC = Path("/proc")
NEVER_EXECUTED = 0x40  # PF_FORKNOEXEC in linux/sched.h: a copy of its parent that has not become a program yet
VANISHED = (FileNotFoundError, ProcessLookupError, PermissionError)  # PermissionError: it is somebody else's


def pids() -> tuple[int, ...]:
    """Return the pids of all processes."""
    return tuple(int(name) for name in os.listdir(PROC) if name.isdigit())  # noqa: PTH208 - names, not paths


def fields(pid: int) -> tuple[str, ...]:
    """Return the fields of /proc/PID/stat from the third on (state, parent, …); () if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except VANISHED:
        return ()
    return tuple(text.rpartition(")")[2].split())


def parent(pid: int) -> int:
    """Return the pid of the parent; 0 if there is no such process."""
    found = fields(pid)
    return int(found[1]) if found else 0


def has_executed(pid: int) -> bool:
    """Say whether the process has become the program that it was made for."""
    found = fields(pid)
    return bool(found) and not int(found[6]) & NEVER_EXECUTED


def children(pid: int) -> tuple[int, ...]:
    """Return the pids of the children of all threads of a process."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names, not paths
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text("ascii").split())
    except VANISHED:
        return tuple(found)
    return tuple(found)


def descendants(pid: int) -> tuple[int, ...]:
    """Return `pid` and all that descend from it."""
    found = [pid]
    for one in found:
        found += children(one)
    return tuple(found)


def opened(pid: int) -> Iterator[tuple[int, str]]:
    """Yield (descriptor, what it is) of a process, like ``(3, "socket:[4711]")``; nothing if we may not look."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names, not paths
    except VANISHED:
        return
    for name in names:
        try:
            yield int(name), os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115 - the text, not a path
        except VANISHED:
            continue


def holders(path: Path) -> tuple[int, ...]:
    """Return the pids of the processes that have the file open, except this one. Looks at every process: slow."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return ()
    return tuple(pid for pid in pids() if pid != os.getpid() and _has_open(pid, wanted))


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    for fd, _ in opened(pid):
        try:
            if os.path.samestat(Path(f"/proc/{pid}/fd/{fd}").stat(), wanted):
                return True
        except (*VANISHED, OSError):
            continue
    return False


def namespace(pid: int, kind: str) -> str:
    """Return the identity of a namespace of the process ("pid", "mnt"); "" if we may not look."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: PTH115 - the text, not a path
    except VANISHED:
        return ""


def namespace_of_this(kind: str) -> str:
    """Return the identity of a namespace of this process."""
    return os.readlink(f"/proc/self/ns/{kind}")  # noqa: PTH115 - the text, not a path


def ids(pid: int) -> tuple[int, int] | None:
    """Return the effective uid and gid of a process; None if there is no such process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", errors="replace")
    except VANISHED:
        return None
    found = {line.split()[0]: int(line.split()[2]) for line in status.splitlines() if line.startswith(("Uid:", "Gid:"))}
    return found["Uid:"], found["Gid:"]


def name(pid: int) -> str:
    """Return the short name of the program that runs as `pid`, or ""."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", errors="replace").strip()
    except VANISHED:
        return ""


def tracer(pid: int) -> int:
    """Return the pid of the debugger of a process; 0 if it has none."""
    try:
        fd = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)  # hundreds of times: a Path takes twice as long
    except VANISHED:
        return 0
    try:
        status = os.read(fd, 4096)
    except VANISHED:
        return 0
    finally:
        os.close(fd)
    found = status.partition(b"\nTracerPid:")[2].split(maxsplit=1)
    return int(found[0]) if found else 0


def peak(pid: int) -> Bytes:
    """Return the most memory that the program of a process ever had resident; 0 if we may not look."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", errors="replace")
    except VANISHED:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
