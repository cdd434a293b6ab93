"""What ended instances left, and what living ones write: looked at and made smaller by a collection.

Rules
    1  Only what is under ``.ended`` is removed, and only what is ours. It is renamed first, so that nobody sees half.
    2  A log is made smaller from its beginning, by a hole: a file has the same length and every offset in it stays
       valid, whoever has it open, and however. Nothing that is being written can be lost.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from anew.engines.embedded import life, output
from anew.engines.embedded.records import ENDED, Record, Store
from anew.errors import EngineError
from anew.model import Bytes, Digest, Gone, Remains

LEAVING = ".leaving"  # what is just being removed
MOST_LOG: Bytes = 64 << 20  # of one living instance; above it only the newest `KEPT_LOG` stay
KEPT_LOG: Bytes = 32 << 20
_BLOCK: Bytes = 4096  # holes begin and end at its multiples, on every file system
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h
_CAN_NOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Archive:
    """The folder of all instances of a state folder; `owner` is the id of the state whose instances are ours."""

    folder: Path
    owner: str

    def living(self) -> Mapping[str, Digest]:
        """Return the images that instances run from, by instance: of all states, for they share the images."""
        store = Store(self.folder)
        out = {}
        for name in store.names():
            record = store.read(name)
            now = life.read(store.place(name)) if record is not None else None
            if record is not None and now is not None and now.is_present:
                out[name] = record.image
        return out

    def remains(self) -> tuple[Remains, ...]:
        """Return what ended and removed instances of ours left."""
        store = Store(self.folder / ENDED)
        found = ((store.place(name), store.read(name)) for name in store.names())
        return tuple(
            Remains(one.name, one.scope, one.group, one.started, _ended(place, one))
            for place, one in found
            if one is not None and one.scope.owner == self.owner
        )

    def discard(self, names: Collection[str], *, is_dry: bool) -> tuple[Gone, ...]:
        """Remove record and logs of ended instances; return what went. Success for what is gone."""
        if not is_dry:
            shutil.rmtree(self.folder / LEAVING, ignore_errors=True)  # of a collection that was killed
        out = []
        for name in sorted(names):
            place = self.folder / ENDED / name
            try:
                size = sum(path.lstat().st_blocks for path in (place, *place.iterdir())) * 512
                if not is_dry:
                    leaving = self.folder / LEAVING
                    leaving.mkdir(mode=0o700, exist_ok=True)
                    place.rename(leaving / name)
                    shutil.rmtree(leaving / name)
            except FileNotFoundError:
                continue
            out.append(Gone("log", name, size))
        return tuple(out)

    def long_logs(self) -> tuple[str, ...]:
        """Return the instances of ours whose log has grown above `MOST_LOG`."""
        store = Store(self.folder)
        found = ((name, store.read(name)) for name in store.names())
        ours = (name for name, record in found if record is not None and record.scope.owner == self.owner)
        return tuple(name for name in ours if bound(_log(store, name), is_dry=True))

    def bound_log(self, name: str, *, is_dry: bool) -> Gone:
        """Free the oldest part of a log that has grown above `MOST_LOG`; return what went.

        Raises  EngineError if the file system can't free a part of a file.
        """
        freed = bound(_log(Store(self.folder), name), is_dry=is_dry)
        return Gone("part", name, freed)


def bound(path: Path, *, is_dry: bool) -> Bytes:
    """Free all but the last `KEPT_LOG` of a log that is longer than `MOST_LOG`; return how much that was."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0
    try:
        before = os.fstat(fd)
        first = output.beginning(fd)
        if before.st_size - first <= MOST_LOG:
            return 0
        end = (before.st_size - KEPT_LOG) // _BLOCK * _BLOCK
        if is_dry:
            return max(0, end - first)
        _punch(fd, end, path)
        return max(0, (before.st_blocks - os.fstat(fd).st_blocks) * 512)
    finally:
        os.close(fd)


def _punch(fd: int, end: Bytes, path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, 0, end) == 0:
        return
    code = ctypes.get_errno()
    what = "can't free a part of a file" if code in _CAN_NOT else os.strerror(code)
    raise EngineError(
        f"the log of {path.parent.name} can't be made smaller: the file system says: {what}",
        where=str(path),
        hint="replace the instance: a new one begins a new log",
        facts={"command": f"fallocate --punch-hole --offset 0 --length {end} {path}"},
    )


def _log(store: Store, name: str) -> Path:
    return store.place(name) / "output.log"


def _ended(place: Path, record: Record) -> float:
    try:
        return max(record.started, (place / "status.json").stat().st_mtime)
    except FileNotFoundError:
        return record.started
