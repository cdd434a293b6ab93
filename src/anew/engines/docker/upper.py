"""What was changed in a container's files, read where an engine that stacks layers by overlayfs keeps the changes.

An engine that is asked compares all files of the image with all of the container, for each question; what differs lies
in one folder, mostly empty. Only root may look there, and what anew does with containers needs root anyway.

Source  the kernel's documentation of overlayfs, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DRIVERS = frozenset({"overlay2", "overlay"})
CHANGED, ADDED, REMOVED = 0, 1, 2  # as engines count
MOST = 100_000  # files that are looked at


def changes(said: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...] | None:
    """Return what an engine would say has changed in the container that it described; None if we can't look."""
    driver = said.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    upper, lower = data.get("UpperDir"), data.get("LowerDir")
    if driver.get("Name") not in DRIVERS or not upper or not lower or not Path(upper).is_dir():
        return None
    found = []
    for path, kind in of(upper, lower.split(":")):
        found.append({"Path": path, "Kind": kind})
        if len(found) >= MOST:
            break
    return tuple(found)


def of(upper: str, lowers: Sequence[str], below: str = "") -> Iterator[tuple[str, int]]:
    """Yield path and kind of all that differs in a folder of the upper layer, a folder before what is in it."""
    try:
        entries = sorted(os.scandir(upper + below), key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError):  # it went while we looked
        return
    for entry in entries:
        path = f"{below}/{entry.name}"
        try:
            is_known, now = _is_in(lowers, path), entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if is_whiteout(now):
            if is_known:
                yield path, REMOVED
            continue
        yield path, CHANGED if is_known else ADDED
        if stat.S_ISDIR(now.st_mode):
            yield from of(upper, lowers, path)


def is_whiteout(now: os.stat_result) -> bool:
    """Say whether a file stands for one that was removed."""
    return stat.S_ISCHR(now.st_mode) and now.st_rdev == 0


def _is_in(lowers: Sequence[str], path: str) -> bool:
    """Say whether the image has a path; the uppermost layer that knows of it decides."""
    for lower in lowers:
        try:
            now = os.lstat(lower + path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return not is_whiteout(now)
    return False
