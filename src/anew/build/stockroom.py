"""What a collection does to the image store: it looks at all of it, and removes what is not selected.

Rules

1. References go before content: notes, the index and manifests before what they refer to. So a collection that is
   killed leaves content that nothing refers to, and the next one removes that.
2. It has the store's lock alone, from its look until nothing refers any more to what goes (`anew.build.blobs`).
3. What goes is renamed into a scratch folder first: nobody sees half of it, it takes no time under the lock, and if
   this process is killed it is recognised as left behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from anew.build.drafts import abandoned, alone, discard, scratch
from anew.build.evidence import Evidence
from anew.build.store import ImageStore, made_of
from anew.core.digest import PREFIX, short
from anew.errors import Conflict
from anew.model import Bytes, Checkpoint, Digest, Gone, Image, Seconds, Selection, Stock, StoredHead, StoredImage

PATIENCE: Seconds = 60.0  # for those who are looking something up: each does so for moments, or reads one blob
_GIVEN_UP: Seconds = 86400.0  # since the last byte of a blob that was being fetched: nobody goes on with it
_BLOCK: Bytes = 512  # the unit of `st_blocks`, whatever the file system
_Noted = TypeVar("_Noted")
_Kind = Literal["image", "head", "checkpoint", "layer", "note", "leftover"]


@dataclass(frozen=True, slots=True)
class Room:
    """The store while a collection has it; without `trash` it is only looked at."""

    store: ImageStore
    trash: Path | None = None
    _gone: dict[tuple[_Kind, str], Bytes] = field(default_factory=dict)
    _dropped: set[Path] = field(default_factory=set)

    @property
    def is_dry(self) -> bool:
        """Whether nothing is removed, only looked at."""
        return self.trash is None

    def stock(self) -> Stock:
        """Return all that lies in the store. Raises Conflict if the index is damaged."""
        store = self.store
        blobs = {
            PREFIX + path.name: max(_time(path), _time(store.blobs.mark(path.name)))
            for path in _entries(store.root / "blobs" / "sha256")
            if not path.name.startswith(".")  # as a network's disk calls what was removed and is open
        }
        images, evidence = [], Evidence(store)
        known = {image: "" for image, _ in _notes(store.root / "evidence")}  # also where the index was lost
        for digest, name in (known | store.blobs.named()).items():
            config, layers = store.blobs.parts(digest) or ("", ())
            filed = tuple(one.digest for one in evidence.filed(digest))
            images.append(StoredImage(digest, name or short(digest), config, layers, blobs.get(digest, 0.0), filed))
        heads = [_head(layer, path) for layer, path in _notes(store.root / "heads")]
        points = [
            Checkpoint(key, made.layers if (made := made_of(path)) else (), _time(path))
            for key, path in _notes(store.root / "checkpoints")
        ]
        return Stock(tuple(images), tuple(heads), tuple(points), blobs)

    def reduce(self, stock: Stock, stay: Selection) -> tuple[Gone, ...]:
        """Remove all of `stock` but what is to stay; return what went. Idempotent."""
        self._reduce_notes(stock, stay)
        if not self.is_dry:
            self.store.blobs.keep(stay.images)
        for image in stock.images:
            if image.digest not in stay.images:
                self._drop("image", image.name, self.store.blobs.path(image.digest))
                if image.config and image.config not in stay.blobs:
                    self._drop("image", image.name, self.store.blobs.path(image.config))
        self._reduce_layers(stock, stay)
        return tuple(Gone(kind, name, size) for (kind, name), size in self._gone.items())

    def _reduce_notes(self, stock: Stock, stay: Selection) -> None:
        root, names = self.store.root, {head.layer: head.name for head in stock.heads}
        for _, path in _notes(root / "records"):
            image = _decoded(path, Image)
            if image is None or image.digest not in stay.images:
                self._drop("note", f"record {path.name}", path)
        for image_digest, path in _notes(root / "evidence"):
            if image_digest not in stay.images:
                self._drop("note", f"evidence {path.name}", path)
        for key, path in _notes(root / "checkpoints"):
            if key not in stay.checkpoints:
                self._drop("checkpoint", short(key), path)
        for layer, path in _notes(root / "heads"):
            if layer not in stay.heads:
                self._drop("head", names.get(layer, short(layer)), path)

    def _reduce_layers(self, stock: Stock, stay: Selection) -> None:
        root, folders = self.store.root, {self.store.folder(digest).name for digest in stay.blobs}
        for path in _entries(root / "trees"):
            if path.name not in folders:
                self._drop("layer", short(path.name), path)
        for digest in sorted(stock.blobs.keys() - stay.blobs):
            self._drop("layer", short(digest), self.store.blobs.path(digest))
        for kind in ("listing", "scan"):
            for layer, path in _notes(root / f"{kind}s"):
                if layer not in stay.blobs:
                    self._drop("note", f"{kind} {path.name}", path)
        for image, path in _notes(root / "findings"):
            if image not in stay.images:
                self._drop("note", f"findings {path.name}", path)
        for path in _entries(root / "verified"):
            if PREFIX + path.name not in stay.blobs:
                self._drop("note", f"mark {path.name}", path)

    def _drop(self, kind: _Kind, name: str, path: Path) -> None:
        """Take a file or folder out of the store, and count what it takes; success if it is gone."""
        if path in self._dropped:
            return
        try:
            size = usage(path)
            if self.trash is not None:
                path.rename(self.trash / str(len(self._dropped)))
        except FileNotFoundError:
            return
        self._dropped.add(path)
        self._gone[kind, name] = self._gone.get((kind, name), 0) + size


@dataclass(frozen=True, slots=True)
class Stockroom:
    """The image store, and the folders in which builds work."""

    store: ImageStore
    works: Sequence[Path]
    patience: Seconds = PATIENCE

    @contextmanager
    def opened(self, *, is_dry: bool) -> Iterator[Room]:
        """Yield the store for a look and a removal; nobody recognises or adds anything meanwhile.

        With `is_dry` nothing is locked or changed.
        Raises  Conflict if others are at it for longer than `patience`.
        """
        if is_dry:
            yield Room(self.store)
            return
        with scratch(self.store.drafts) as trash, alone(self.store.blobs.lock, self.patience) as is_alone:
            if not is_alone:
                raise Conflict(
                    f"the image store is in use, for longer than {self.patience:g} s",
                    where=str(self.store.root),
                    hint="try again when what is under way there has ended; nothing was removed",
                )
            yield Room(self.store, trash)

    def leftovers(self, *, is_dry: bool) -> tuple[Gone, ...]:
        """Remove what killed builds and collections left half done; return what went."""
        gone = []
        for place in (*self.works, self.store.drafts):
            for path in abandoned(place):
                with suppress(FileNotFoundError):  # whoever builds sweeps as well
                    gone.append(Gone("leftover", path.name, usage(path)))
                if not is_dry:
                    discard(path)
        for path in _entries(self.store.root / "partial"):
            if time.time() - _time(path) > _GIVEN_UP:
                gone.append(Gone("leftover", path.name, usage(path)))
                if not is_dry:
                    discard(path)
        return tuple(gone)


def usage(path: Path) -> Bytes:
    """Return what a file or a whole tree takes on the disk, hard links counted once.

    Raises  FileNotFoundError if there is nothing; what vanishes meanwhile counts as none.
    """
    top = path.lstat()
    blocks, seen = top.st_blocks, set[tuple[int, int]]()
    if path.is_symlink() or not path.is_dir():
        return blocks * _BLOCK
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                at = Path(folder, name).lstat()
                if (at.st_dev, at.st_ino) not in seen:
                    blocks += at.st_blocks
                if at.st_nlink > 1:
                    seen.add((at.st_dev, at.st_ino))
    return blocks * _BLOCK


def _entries(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(folder.iterdir()))
    except FileNotFoundError:
        return ()


def _notes(folder: Path) -> Iterator[tuple[Digest, Path]]:
    return ((PREFIX + path.stem, path) for path in _entries(folder) if path.suffix == ".json")


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _decoded(path: Path, kind: type[_Noted]) -> _Noted | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


@dataclass(frozen=True, slots=True)
class _HeadNote:
    head: str = ""
    packages: tuple[Digest, ...] = ()


def _head(layer: Digest, path: Path) -> StoredHead:
    note = _decoded(path, _HeadNote) or _HeadNote()
    return StoredHead(layer, note.head, _time(path), note.packages)
