"""What a stack of layers shows at a path, without mounting it: overlayfs's rules of whiteouts and opaque folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

OPAQUE = "user.overlay.opaque"
LINKS = 40  # symbolic links that are followed at most, like the kernel does

Kind = Literal["folder", "file", "link"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is visible at one path; `places` lowest first, more than one only for a merged folder."""

    kind: Kind
    places: tuple[Path, ...]

    @property
    def top(self) -> Path:
        """The place that gives mode, owner and contents."""
        return self.places[-1]


def entry(roots: Sequence[Path], path: str) -> Entry | None:
    """Return what the merged `roots` (lowest first) show at the absolute `path`; links on the way aren't followed.

    Returns  None if nothing is there, or a part of the way is not a folder.
    """
    here = Entry("folder", tuple(roots))
    for name in PurePosixPath(path).parts[1:]:
        found = child(here.places, name) if here.kind == "folder" else None
        if found is None:
            return None
        here = found
    return here


def child(folders: Sequence[Path], name: str) -> Entry | None:
    """Return what the merged `folders` (lowest first) show under `name`."""
    places: list[Path] = []
    for folder in reversed(folders):
        place = folder / name
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(found.st_mode):
            places.insert(0, place)
            if _is_opaque(place):
                break
            continue
        if places or _is_whiteout(found):
            break
        return Entry("link" if stat.S_ISLNK(found.st_mode) else "file", (place,))
    return Entry("folder", tuple(places)) if places else None


def resolve(roots: Sequence[Path], path: str) -> str:
    """Return `path` with the symbolic links of the merged `roots` followed; what does not exist stays as written.

    Raises  OSError if links lead in a circle.
    """
    todo = list(PurePosixPath(path).parts[1:])
    done: list[str] = []
    followed = 0
    while todo:
        name = todo.pop(0)
        if name == "..":
            done = done[:-1]
            continue
        found = entry(roots, "/" + "/".join([*done, name]))
        if found is None or found.kind != "link":
            done.append(name)
            continue
        followed += 1
        if followed > LINKS:
            raise OSError(40, "too many levels of symbolic links", path)
        text = PurePosixPath(found.top.readlink())
        if text.is_absolute():
            done = []
        todo = [*(p for p in text.parts if p != "/"), *todo]
    return "/" + "/".join(done)


def names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the names that the merged `folders` show, sorted."""
    every = {name for one in folders if one.is_dir() for name in os.listdir(one)}  # noqa: PTH208 - names, not paths
    return tuple(sorted(name for name in every if child(folders, name) is not None))


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, OPAQUE, follow_symlinks=False) == b"y"
    except OSError:  # no such attribute, or a file system without any: not opaque
        return False
