"""The places of mounts in the upper folder of an overlay, while it is not mounted.

What bubblewrap makes to mount something on stays in the upper folder, and what is gone from below has to be hidden
there. Both are for one mount only: they are no traces of what runs inside, and the next mounts may be others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from anew.model.developed import Mount
from anew.sandbox import view

_MADE = 0o444  # the mode of a file that bubblewrap makes to mount one on


class Points:
    """The places of mounts in `upper`, above the merged `roots` (lowest first)."""

    def __init__(self, upper: Path, roots: Sequence[Path]) -> None:
        self._upper = upper
        self._roots = tuple(roots)
        self._made: set[str] = set()  # that were not there, and so are made to be mounted on
        self._hidden: set[str] = set()

    def ready(self, sources: Iterable[Mount]) -> None:
        """Prepare for mounts: hide what is to be gone, and what is a file where a folder has to be, or the reverse."""
        self.clear()
        for one in sorted(sources, key=lambda one: one.target):
            if not one.source:
                self._hide(one.target)
                continue
            for above in list(PurePosixPath(one.target).parents)[-2::-1]:
                self._expect(str(above), is_folder=True)
            self._expect(one.target, is_folder=Path(one.source).is_dir())

    def clear(self) -> None:
        """Remove what was made and hidden for mounts, and is as it was made."""
        for path in sorted(self._made, reverse=True):  # what is in a folder before the folder
            if self._is_removed(path):
                self._made.remove(path)
        for path in self._hidden:
            place = self._place(path)
            if _is_whiteout(place):
                place.unlink()
        self._hidden.clear()

    def _expect(self, path: str, *, is_folder: bool) -> None:
        there = self._entry(path)
        if there is not None and there.kind != "link" and (there.kind == "folder") != is_folder:
            self._hide(path)
            there = self._entry(path)
        if there is None:
            self._made.add(path)

    def _hide(self, path: str) -> None:
        """Hide what is below; not what was made or changed here."""
        if self._entry(path) is None:
            return
        place = self._place(path)
        with suppress(OSError):  # it is not there, or no folder, or not empty
            place.rmdir()
        if os.path.lexists(place):
            return
        self._make_folders(path)
        os.mknod(place, stat.S_IFCHR, 0)  # a whiteout: that also an ordinary user may make
        self._hidden.add(path)

    def _make_folders(self, path: str) -> None:
        """Make the folders on the way as they are below."""
        for above in list(PurePosixPath(path).parents)[-2::-1]:
            place, there = self._place(str(above)), self._entry(str(above))
            if there is not None and not place.is_dir():
                found = there.top.stat()
                place.mkdir()
                place.chmod(found.st_mode & 0o7777)
                if os.geteuid() == 0:
                    os.chown(place, found.st_uid, found.st_gid)

    def _is_removed(self, path: str) -> bool:
        """Remove a place that was made; say whether it is gone."""
        place = self._place(path)
        try:
            found = place.lstat()
            if stat.S_ISDIR(found.st_mode):
                place.rmdir()
            elif stat.S_ISREG(found.st_mode) and not found.st_size and stat.S_IMODE(found.st_mode) == _MADE:
                place.unlink()
            else:
                return False
        except FileNotFoundError:
            return True
        except OSError:  # something was put into the folder
            return False
        return True

    def _place(self, path: str) -> Path:
        return self._upper / path.lstrip("/")

    def _entry(self, path: str) -> view.Entry | None:
        return view.entry((*self._roots, self._upper), path)


def _is_whiteout(place: Path) -> bool:
    return place.is_char_device() and place.stat().st_rdev == 0
