"""What was changed in a writable root, read from the upper folder of its overlay: paths that are no longer as below.

A file that was opened for writing is in the upper folder though nothing in it may be different: so it is compared.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from anew.model import CHUNK
from anew.model.developed import Trace
from anew.sandbox import view


def traces(upper: Path, roots: Sequence[Path], mounted: Collection[str] = ()) -> Iterator[Trace]:
    """Yield what in `upper` is not as the merged `roots` (lowest first) have it, a folder before what is in it.

    Mount points at the paths `mounted`, and folders that only lead to one, are left out.
    """
    covered = set(mounted) | {str(above) for path in mounted for above in PurePosixPath(path).parents}
    yield from _below(upper, roots, "", covered)


def _below(upper: Path, roots: Sequence[Path], below: str, covered: Collection[str]) -> Iterator[Trace]:
    folder = upper / below.lstrip("/")
    names = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
    if below and _is_opaque(folder):
        here = view.entry(roots, below)
        gone = view.names(here.places) if here is not None and here.kind == "folder" else ()
        yield from (Trace(f"{below}/{name}", "deleted") for name in gone if name not in names)
    for name in names:
        path = f"{below}/{name}"
        now = (folder / name).lstat()
        was = view.entry(roots, path)
        if stat.S_ISCHR(now.st_mode) and now.st_rdev == 0:
            if was is not None:
                yield Trace(path, "deleted")
            continue
        if was is None:
            if path not in covered:
                yield Trace(path, "created")
        elif path not in covered and _differs(folder / name, now, was.top):
            yield Trace(path, "changed")
        if stat.S_ISDIR(now.st_mode):
            yield from _below(upper, roots, path, covered)


def _differs(path: Path, now: os.stat_result, before: Path) -> bool:
    was = before.lstat()
    if (now.st_mode, now.st_uid, now.st_gid) != (was.st_mode, was.st_uid, was.st_gid):
        return True
    if stat.S_ISLNK(now.st_mode):
        return path.readlink() != before.readlink()
    if stat.S_ISREG(now.st_mode):
        return now.st_size != was.st_size or not _has_same_content(path, before)
    return now.st_rdev != was.st_rdev


def _has_same_content(one: Path, other: Path) -> bool:
    try:
        with one.open("rb") as file, other.open("rb") as against:
            while chunk := file.read(CHUNK):
                if chunk != against.read(CHUNK):
                    return False
    except PermissionError:  # an ordinary user may not read what he may not: then it was not changed by him either
        return True
    return True


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, view.OPAQUE, follow_symlinks=False) == b"y"
    except OSError:  # no such attribute
        return False
