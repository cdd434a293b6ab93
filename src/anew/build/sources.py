"""What `copy` brings into an image, as mounts: so that an edit is seen at once, and nothing is built.

Rules

1. A folder is mounted whole, and so is a file: what appears in it is seen at once.
2. A mount covers what build steps left in the folder (``node_modules``, say), and shows what `copy` leaves out. So a
   folder in which either matters is not mounted; what is in it is, one by one, and the rest stays as the image has it.
3. What `copy` brought when the image was made, and does not bring any more, is gone also there.
4. What no application misses or minds does not matter: compiled Python, version control's folder, anew's own files.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from anew.build import definition as definitions
from anew.build.context import Item, Reader, gather
from anew.build.filecache import FileDigests
from anew.build.listing import Lookup, Node, lookup_in, lookup_on_host, over, resolved, stacked
from anew.build.store import ImageStore
from anew.core.digest import PREFIX
from anew.errors import AnewError, Unsupported
from anew.model import Image, Service
from anew.model.developed import Mount, Sources

MOST_MOUNTS = 500
_QUIET = 100  # milliseconds without a change, after which it is told
_LONGEST = 1000  # milliseconds for which changes are gathered
_TURN = 250  # milliseconds between two looks at whether anybody still wants to know
_LOOKS_EVERY = 0.25  # seconds, for a source that is gone
_ADDED = 1  # as watchfiles counts
_NEVER_MATTERS = re.compile(r"(?:.*/)?(?:__pycache__|\.git|\.anewignore|anew\.lock)(?:/.*)?")
# What editors write beside a file while it is open: vim and its test of the folder, Emacs, JetBrains, GNOME, Kate.
_OF_EDITORS = re.compile(r".*~|\.#.*|#.*#|.*\.sw[a-z]|4913|.*___jb_(?:tmp|old)___|\.goutputstream-.*|.*\.kate-swp")


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The sources of one service, in a project's folder."""

    project: Path
    service: Service
    store: ImageStore
    whole: list[str] = field(default_factory=list)  # folders that were mounted whole at last

    def sources(self, image: Image) -> Sources:
        """Return the mounts that show the sources as they are now in `image`.

        Raises  SpecError for a source that is missing or can't be part of an image; Unsupported for too many mounts.
        """
        where = f"anew.yaml services.{self.service.name}.copy"
        digests = FileDigests(self.store.root / "context.cache", self.project)
        copied = {item.target: item for item in gather(self.project, self.service, digests).items}
        made = {item.target: item for item in _made(self.store, image)}
        known = _children([*made, *copied])
        listings = [self.store.listing(one) for one in image.layers]
        shown = stacked(listings)
        lookup = over(listings, lookup_on_host) if image.is_host else lookup_in(shown)
        whole = _children([*copied, *(above for target in copied for above in _parents(target))])
        tree = _Tree(copied, whole, known, made, shown, _children(shown), lookup, image.is_host)
        reader = Reader(self.project, digests)
        mounts: list[Mount] = []
        watched = []
        for copy in self.service.copy:
            source, target = reader.place(copy, where)
            watched.append(os.fspath(source))
            if source.is_dir():
                mounts += tree.mounts(os.fspath(source), target, resolved(target, lookup, where))
            else:
                folder, _, name = target.rpartition("/")
                mounts.append(Mount(os.fspath(source), f"/{resolved(folder, lookup, where)}/{name}".replace("//", "/")))
        self.whole[:] = [one.source for one in mounts if one.source and Path(one.source).is_dir()]
        number = sum(1 for one in mounts if one.source)
        if number > MOST_MOUNTS:
            raise Unsupported(
                f"the sources would need {number} mounts, for the image has other files among them",
                where=where,
                hint=f"at most {MOST_MOUNTS} are made: copy into folders in which `build` makes nothing",
            )
        return Sources(tuple(dict.fromkeys(mounts)), tuple(dict.fromkeys(watched)))

    def changed(self, watched: Sequence[str], stop: Event) -> Iterator[tuple[str, ...]]:
        """Yield what changed in `watched`, gathered for a moment, relative to the project; ends when `stop` is set.

        What `copy` leaves out, version control's folder, compiled Python and what editors write aside is no change. But
        what `copy` leaves out is one when it appears in a folder that is mounted whole: it would be seen.
        """
        from watchfiles import watch  # noqa: PLC0415 - it takes long to import, and nothing else needs it

        top = os.path.realpath(self.project)
        while not stop.is_set():
            missing = [path for path in watched if not os.path.lexists(path)]
            if missing:
                while missing and not stop.wait(_LOOKS_EVERY):
                    missing = [path for path in missing if not os.path.lexists(path)]
                yield tuple(os.path.relpath(path, top) for path in watched)
                continue
            reader = Reader(self.project, FileDigests(self.store.root / "context.cache", Path(top)))
            matters = _Filter(watched, top, reader, self.whole)
            # An editor may put another file in the place of one: so the folder of a single file is watched.
            folders = {path if Path(path).is_dir() else os.path.dirname(path) for path in watched}  # noqa: PTH120 - text
            identities = [_identity(path) for path in folders]
            found = watch(
                *folders,
                watch_filter=matters,
                debounce=_LONGEST,
                step=_QUIET,
                stop_event=stop,
                rust_timeout=_TURN,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
            try:
                for changes in found:
                    lasting = _lasting(
                        {path for _, path in changes}, {path for kind, path in changes if kind == _ADDED}
                    )
                    if lasting:
                        yield tuple(sorted(os.path.relpath(path, top) for path in lasting))
                    # The kernel watches a folder, and not a path: another one may have taken its place.
                    if identities != [_identity(path) for path in folders] or folders & {path for _, path in changes}:
                        yield tuple(os.path.relpath(path, top) for path in watched)
                        break
            except FileNotFoundError:  # it went just now
                time.sleep(_LOOKS_EVERY)


@dataclass(frozen=True, slots=True)
class _Filter:
    """Says which changes matter."""

    watched: Sequence[str]
    top: str
    reader: Reader
    whole: Sequence[str]

    def __call__(self, kind: int, path: str) -> bool:
        """Say whether a path that changed is a source, or is seen without being one."""
        if not _is_in(path, self.watched):
            return False
        relative = os.path.relpath(path, self.top)
        if _NEVER_MATTERS.fullmatch(relative) or _OF_EDITORS.fullmatch(os.path.basename(path)):  # noqa: PTH119 - text
            return False
        # Of what is gone nobody can tell whether it was a folder.
        if not any(self.reader.is_ignored(relative, is_folder=is_folder) for is_folder in _kinds(path)):
            return True
        above = os.path.dirname(relative)  # noqa: PTH120 - text
        return (
            kind == _ADDED
            and _is_in(path, tuple(self.whole))
            and not (above and self.reader.is_ignored(above, is_folder=True))  # which is what appeared
        )


def _is_in(path: str, places: Sequence[str]) -> bool:
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in places)


def _lasting(changed: Collection[str], added: Collection[str]) -> tuple[str, ...]:
    """Return what changed, without what came and went: many programs write another file, and rename it."""
    return tuple(path for path in changed if path not in added or os.path.lexists(path))


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - text
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _kinds(path: str) -> tuple[bool, ...]:
    return (os.path.isdir(path),) if os.path.lexists(path) else (False, True)  # noqa: PTH112 - text


def _made(store: ImageStore, image: Image) -> tuple[Item, ...]:
    """Return what was copied into an image when it was made; () where that is not known."""
    try:
        made = definitions.read(store.blobs.verify(image.inputs[0]).read_bytes()) if image.inputs else None
    except AnewError:
        return ()
    if made is None:
        return ()
    fetched = {content.removeprefix(PREFIX) for _, content in made.fetched}  # which no source shows
    return tuple(one for one in made.items if one.kind != "file" or one.content.removeprefix(PREFIX) not in fetched)


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _children(paths: Collection[str]) -> dict[str, set[str]]:
    """Return the names in each folder."""
    found: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, set()).add(name)
    return found


@dataclass(frozen=True, slots=True)
class _Tree:
    """Everything that decides whether a folder may be mounted whole."""

    copied: Mapping[str, Item]  # by target as written in the spec
    children: Mapping[str, set[str]]  # of `copied` and of what is above it, by folder
    known: Mapping[str, set[str]]  # by folder, as written: what is copied now, or was when the image was made
    made: Mapping[str, Item]  # what was copied when the image was made, by target
    nodes: Mapping[str, Node]  # all that is in the layers of the image, by path
    shown: Mapping[str, set[str]]  # the same by folder
    lookup: Lookup
    is_host: bool

    def mounts(self, source: str, target: str, inside: str) -> Iterator[Mount]:
        """Yield what shows the folder `source`, copied to `target`, at `inside`, where that really lies."""
        if inside and not self._matters(source, target, inside):
            yield Mount(source, f"/{inside}")
            return
        yield from self._gone(target, inside)
        for name in sorted(os.listdir(source)):  # noqa: PTH208 - names, not paths
            below = f"{target}/{name}" if target else name
            item = self.copied.get(below)
            if item is None or item.kind == "symlink":  # a link is as the image has it
                continue
            real = resolved(f"{inside}/{name}", self.lookup, "copy") if item.kind == "dir" else f"{inside}/{name}"
            if item.kind == "dir":
                yield from self.mounts(f"{source}/{name}", below, real.lstrip("/"))
            else:
                yield Mount(f"{source}/{name}", f"/{real.lstrip('/')}")

    def _gone(self, target: str, inside: str) -> Iterator[Mount]:
        """Yield what hides all that is not copied any more, and is in the image as it was copied."""
        for name in sorted(self.known.get(target, set())):
            below, real = f"{target}/{name}" if target else name, f"{inside}/{name}".lstrip("/")
            was, there = self.made.get(below), self.nodes.get(real)
            if below in self.copied or was is None or there is None or there.kind != was.kind:
                continue
            if was.kind == "dir":
                found = {one.target: one for one in self._gone(below, real)}
                yield from found.values()
                if any(f"/{real}/{one}" not in found for one in self.shown.get(real, set()) | self._of_host(real)):
                    continue  # something else is in it
            elif there.content != was.content.removeprefix(PREFIX):
                continue
            yield Mount("", f"/{real}")

    def _matters(self, source: str, target: str, inside: str) -> bool:
        """Say whether a mount would cover what only the image has, or show what is not copied."""
        in_image = self.shown.get(inside, set()) | self._of_host(inside)
        names = set(os.listdir(source))  # noqa: PTH208 - names, not paths
        if self.children.get(target, set()) - names:  # another source has its place in this one
            return True
        for name in (in_image - self.known.get(target, set())) | names:
            below = f"{target}/{name}" if target else name
            if _NEVER_MATTERS.fullmatch(below):
                continue
            item = self.copied.get(below)
            if item is None:
                return True
            if item.kind == "dir" and self._matters(f"{source}/{name}", below, f"{inside}/{name}"):
                return True
        return False

    def _of_host(self, inside: str) -> set[str]:
        folder = Path("/", inside)
        return set(os.listdir(folder)) if self.is_host and folder.is_dir() else set()  # noqa: PTH208 - names
