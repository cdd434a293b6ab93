"""Files and folders that appear whole or not at all.

Everything is made under a name that tells its maker (process id and start time), then renamed. What a killed
maker left behind is recognised by that name and swept by the next one. A maker also holds a lock on what it makes: in
another container its process id says nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anew.errors import EngineError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NAMESPACE = ("unshare", "--user", "--map-auto", "--map-root-user", "--")  # where an ordinary user is root
_LOOK = 0.02  # seconds between two attempts at a lock that others share
_ENDED = ("Z", "X")  # of /proc/PID/stat: what is left of a process until its parent looks
_START_TIME = 22  # the field of /proc/PID/stat, counted from 1


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none, or nobody has reaped it yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold anything.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in _ENDED else int(rest[_START_TIME - 4])


def _own_prefix() -> str:
    return f"{os.getpid()}-{start_time(os.getpid())}-"


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn "no space left" into an EngineError that says where, and what to do."""
    try:
        yield
    except OSError as e:
        if e.errno not in _FULL:
            raise
        raise EngineError(
            "disk full",
            where=str(folder),
            hint="free some space there, then do it again; nothing half-made is left",
            facts={"command": f"df -h {folder}"},
        ) from e


@dataclass(frozen=True, slots=True)
class Draft:
    """A file under way."""

    file: BinaryIO
    path: Path

    def publish(self, target: Path, *, is_durable: bool = True) -> None:
        """Give it its final name; what was there is replaced at once. Durable: a loss of power can't undo it."""
        self.file.flush()
        if is_durable:
            os.fsync(self.file.fileno())
        self.path.replace(target)
        if is_durable:
            sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def drafted(folder: Path, mode: int = 0o644, prefix: str = "") -> Iterator[Draft]:
    """Yield a new file in `folder`; it is gone afterwards unless it was published. `prefix` is as for `scratch`."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        import tempfile  # noqa: PLC0415 - who only looks makes no drafts

        fd, name = tempfile.mkstemp(prefix=prefix + _own_prefix(), dir=folder)
        path = Path(name)
        try:
            with os.fdopen(fd, "w+b") as file:
                _hold(fd)
                os.fchmod(fd, mode)
                yield Draft(file, path)
        finally:
            path.unlink(missing_ok=True)


def write(target: Path, data: bytes, *, folder: Path | None = None, is_durable: bool = True, prefix: str = "") -> None:
    """Make `target` hold `data`, at once; `folder` is where the draft lives (beside it if absent)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with drafted(folder or target.parent, prefix=prefix) as draft:
        draft.file.write(data)
        draft.publish(target, is_durable=is_durable)


@contextmanager
def scratch(folder: Path, prefix: str = "") -> Iterator[Path]:
    """Yield a new folder inside `folder`, readable to its owner alone; it is removed however the block ends.

    `prefix` tells our folders from others where `folder` is not ours.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        import tempfile  # noqa: PLC0415 - likewise

        path = Path(tempfile.mkdtemp(prefix=prefix + _own_prefix(), dir=folder))
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _hold(fd)
            yield path
        finally:
            try:
                discard(path)
            finally:
                os.close(fd)


def sweep(folder: Path, prefix: str = "") -> tuple[str, ...]:
    """Remove what makers that no longer live left in `folder`; return the names. What others made stays."""
    swept = abandoned(folder, prefix)
    for path in swept:
        discard(path)
    return tuple(path.name for path in swept)


def abandoned(folder: Path, prefix: str = "") -> tuple[Path, ...]:
    """Return what makers that no longer live left in `folder`, sorted; what others made isn't theirs."""
    if not folder.is_dir():
        return ()
    ours = re.compile(re.escape(prefix) + r"(\d+)-(\d+)-")
    left = []
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a name is enough to tell nearly all of them
        match = ours.match(name)
        if match is None or start_time(int(match[1])) == int(match[2]):
            continue
        path = folder / name
        if _is_ours(path) and not _is_held(path):
            left.append(path)
    return tuple(left)


def _hold(fd: int) -> None:
    """Lock what is being made, where files can be locked."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH)


def _is_held(path: Path) -> bool:
    """Say whether a maker lives, in a container of its own, where process ids are others."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone, or nothing that a maker of today holds
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # as on some network's disks
        return False
    finally:
        os.close(fd)
    return False


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:  # its maker, or another sweep, was faster
        return False


def discard(path: Path) -> None:
    """Remove a file or a whole tree, also one whose folders its owner may not write to; success if it is gone."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if os.geteuid() == 0:
        _remove_tree(path)
        return
    try:
        _remove_tree(path)
    except PermissionError as e:
        # What a user namespace left belongs to subordinate uids, and only there may it be removed.
        argv = [*NAMESPACE, "rm", "-rf", "--", str(path)]
        import shlex  # noqa: PLC0415 - likewise
        import subprocess  # noqa: PLC0415 - likewise

        removed = subprocess.run(argv, capture_output=True, text=True, check=False)
        if removed.returncode != 0:
            raise EngineError(
                "what a build left behind can't be removed",
                where=str(path),
                hint="remove it as root",
                facts={"command": shlex.join(argv), "output": removed.stderr},
            ) from e


def _remove_tree(path: Path) -> None:
    while path.exists():
        # Two may sweep the same leftovers at once: what the other was faster with is gone, and so less is left.
        with suppress(FileNotFoundError):
            _empty(path)
            path.rmdir()


def _empty(path: Path) -> None:
    """Remove all that is in a folder, which may be deeper than paths are long, calls nest, and files can be open."""
    place = _entered(path, None)
    try:
        names, left = [], [_folders_left(place)]  # the way down, and what is still to be removed at each of its places
        while left:
            if left[-1]:
                names.append(left[-1].pop())
                place = _entered(names[-1], place)
                left.append(_folders_left(place))
                continue
            left.pop()
            if names:
                place = _entered("..", place)
                os.rmdir(names.pop(), dir_fd=place)
    finally:
        os.close(place)


def _entered(name: str | Path, place: int | None) -> int:
    """Open a folder that is to be emptied, beside or below the one that is open, and close that."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=place)
    found = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    if place is not None:
        os.close(place)
    return found


def _folders_left(place: int) -> list[str]:
    """Remove all files of a folder; return the names of the folders in it."""
    with os.scandir(place) as found:
        entries = list(found)
    folders = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
    for one in entries:
        if not one.is_dir(follow_symlinks=False):
            os.unlink(one.name, dir_fd=place)
    return folders


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of that name; waits for whoever holds it. The kernel frees it when its holder dies."""
    fd = _opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold the lock of that name together with others who share it; waits for whoever holds it alone."""
    fd = _opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


@contextmanager
def alone(path: Path, patience: float) -> Iterator[bool]:
    """Hold the lock of that name alone; yields False, and holds nothing, if others hold it longer than `patience`."""
    fd = _opened(path)
    try:
        end = time.monotonic() + patience
        is_ours = _has_taken(fd)
        while not is_ours and time.monotonic() < end:
            time.sleep(_LOOK)
            is_ours = _has_taken(fd)
        yield is_ours
    finally:
        os.close(fd)


def _has_taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)
