"""The image store: one OCI image layout on disk, and beside it what makes it fast.

::

    oci-layout  index.json  blobs/sha256/HEX     the layout; layers are uncompressed, so blob digest = diff id
    verified/HEX                                 blobs whose bytes were checked, as of their size, time and inode
    trees/HEX16/                                 layers, unpacked for running
    listings/HEX.json                            what is in a layer, without the contents
    records/HEX.json                             input digest → Image
    checkpoints/HEX.json                         step key → layers, and when they were made
    heads/HEX.json                               layers of heads that a lock pins: they outlive every image
    scans/HEX.json  findings/HEX.json            what the rules of hygiene found in a layer, and in an image
    partial/HEX                                  beginnings of blobs that are being fetched; nobody trusts them

Rules: every write is a draft that is renamed; whatever two processes write under one name is equal; only the index
is changed, under a lock. What is not blob or index can be made again, so a damaged note counts as none. What is used
is marked as used, under a lock that its users share and that a collection (`anew.build.stockroom`) has alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from anew.build.blobs import Blobs, hexadecimal
from anew.build.drafts import disk_errors, drafted, locked, scratch, sweep, write
from anew.build.entries import Entry
from anew.build.listing import Node, listed, stacked, tree_digest
from anew.build.oci import Blob, config, manifest
from anew.core.digest import canonical, digest_bytes
from anew.model import Bytes, Digest, Identity, Image

if TYPE_CHECKING:
    from anew.build.layer import Packed

_TREE_DIGITS = 16  # short paths: the kernel has one page for the paths of all layers of an overlay
_REMEMBERED = 60_000  # paths of listings that were read, some 20 MB
_Noted = TypeVar("_Noted")


@dataclass(frozen=True, slots=True)
class Made:
    """What a build step made, and when."""

    layers: tuple[Digest, ...]
    at: float


def made_of(path: Path) -> Made | None:
    """Return what a checkpoint's note says; None if there is none that can be read."""
    try:
        data = path.read_bytes()
        if data.startswith(b"["):  # an older anew noted the layers alone
            return Made(msgspec.json.decode(data, type=tuple[Digest, ...]), 0.0)
        return msgspec.json.decode(data, type=Made)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class ImageStore:
    """The folder of images; safe with several processes. Implements `ports.Images` for engines on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.drafts = root / "drafts"
        self.blobs = Blobs(root)
        self._listings: dict[Digest, tuple[Node, ...]] = {}  # what was read; a digest has one listing

    # ------------------------------------------------------------ ports.Images

    def has(self, digest: Digest) -> bool:
        """Say whether the image's manifest is here and all its layers are unpacked."""
        if not self.blobs.path(digest).is_file():
            return False
        return all(self.folder(layer).is_dir() for layer in self.blobs.layers(digest))

    def admit(self, image: Image) -> None:
        """Verify every blob of `image` and unpack its layers. Idempotent.

        Raises NotFound if a blob is missing, Conflict if a blob's bytes do not match its digest.
        """
        with self.blobs.shared():
            for digest in (image.identity.manifest, image.identity.config, *image.layers):
                self.blobs.verify(digest)
        for layer in image.layers:
            self.tree(layer)

    def remove(self, digest: Digest) -> None:
        """Forget an image; success if it is gone. Layers of other images, and of locked heads, stay."""
        pinned = {f"sha256:{path.stem}" for path in (self.root / "heads").glob("*.json")}
        for gone in self.blobs.remove(digest, pinned):
            (self.root / "listings" / f"{hexadecimal(gone)}.json").unlink(missing_ok=True)
            if self.folder(gone).is_dir():
                with scratch(self.drafts) as folder:
                    # Renamed first: nobody sees half a tree.
                    self.folder(gone).rename(folder / "gone")

    # ------------------------------------------------------------ layers and images

    def tree(self, diff: Digest) -> Path:
        """Return the folder of an unpacked layer; unpacks it if need be.

        Raises  NotFound if its blob is missing, Conflict if it is corrupt.
        """
        path = self.folder(diff)
        if path.is_dir():
            return path
        from anew.build.unpack import unpack  # noqa: PLC0415 - most looks find all that they need

        blob = self.blobs.verify(diff)
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(self.drafts) as folder:
            made = folder / "tree"
            made.mkdir()
            with disk_errors(folder):
                unpack(blob, made)
            try:
                made.rename(path)
            except OSError:
                # Another process unpacked the same layer meanwhile; its tree is equal.
                if not path.is_dir():
                    raise
        return path

    def adopt(self, diff: Digest, packed: Sequence[Entry]) -> None:
        """Unpack a layer by moving the files that it was just packed from; nobody may have them open any more.

        For root alone, who may own them. It is a short cut: what stands in its way is left to `tree`.
        """
        path = self.folder(diff)
        if path.is_dir():
            return
        from anew.build.unpack import settle  # noqa: PLC0415 - likewise

        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(self.drafts) as folder, suppress(OSError):
            made = folder / "tree"
            made.mkdir()
            settle(packed, made)
            made.rename(path)

    def folder(self, diff: Digest) -> Path:
        """Return where a layer is unpacked, or would be."""
        return self.root / "trees" / hexadecimal(diff)[:_TREE_DIGITS]

    def partial(self, digest: Digest) -> Path:
        """Return where what is there of a blob that is being fetched lies."""
        return self.root / "partial" / hexadecimal(digest)

    def add_layer(self, entries: Sequence[Entry]) -> Packed:
        """Pack `entries` to a layer blob and its listing; the same entries give the same blob."""
        from anew.build.layer import pack  # noqa: PLC0415 - likewise

        with drafted(self.drafts) as draft:
            packed = pack(entries, draft.file)
            self.blobs.add(packed.digest, draft)
        self._note("listings", packed.digest, packed.nodes)
        return packed

    def listing(self, diff: Digest) -> tuple[Node, ...]:
        """Return what is in a layer; read from the blob itself if nothing was noted. Raises as `tree`."""
        known = self._listings.get(diff)
        if known is None:
            known = self._noted("listings", diff, tuple[Node, ...])
            if known is None:
                known = listed(self.blobs.verify(diff))
                self._note("listings", diff, known)
            if sum(map(len, self._listings.values())) + len(known) <= _REMEMBERED:
                self._listings[diff] = known
        return known

    def add_image(self, inputs: Digest, layers: Sequence[Digest], name: str, *, is_host: bool) -> Identity:
        """Write config, manifest and index entry of the image of these layers, named `name` for people."""
        sized = [Blob(one, self.blobs.verify(one).stat().st_size) for one in layers]
        config_text = config(sized)
        manifest_text = manifest(config_text, sized, is_host=is_host)
        tree = tree_digest(stacked(self.listing(one) for one in layers).values())
        config_digest = self.blobs.add_bytes(config_text)
        manifest_digest = self.blobs.add_image(manifest_text, name)
        return Identity(inputs, tree, tuple(layers), config_digest, manifest_digest)

    def size(self, layers: Iterable[Digest]) -> Bytes:
        """Return the bytes of these layers together."""
        return sum(self.blobs.path(one).stat().st_size for one in layers)

    # ------------------------------------------------------------ what is remembered

    def record(self, inputs: Digest) -> Image | None:
        """Return the image made from these inputs, if it, all its blobs and its definition are here and whole."""
        with self.blobs.shared():
            image = self._noted("records", inputs, Image)
            if image is None:
                return None
            parts = (image.identity.manifest, image.identity.config, *image.layers, *image.inputs[:1])
            return image if self.blobs.are_whole(parts) else None

    def remember(self, image: Image) -> None:
        """Note that `image` is what its inputs make."""
        self._note("records", image.identity.input, image)

    def checkpoint(self, key: Digest) -> tuple[Digest, ...] | None:
        """Return the layers (at most one) that a build step made; None if it isn't known or a blob is gone."""
        with self.blobs.shared():
            made = made_of(self._path("checkpoints", key))
            if made is None or not self.blobs.are_whole(made.layers):
                return None
            self._path("checkpoints", key).touch()
            return made.layers

    def remember_checkpoint(self, key: Digest, layers: Sequence[Digest]) -> None:
        """Note what a build step made, and when."""
        self._note("checkpoints", key, Made(tuple(layers), time.time()))

    def made_at(self, key: Digest) -> float:
        """Return when the step of a checkpoint was run; 0 if that is not known."""
        made = made_of(self._path("checkpoints", key))
        return made.at if made else 0.0

    def recorded_at(self, inputs: Digest) -> float:
        """Return when the image of these inputs was made; 0 if there is none."""
        try:
            return self._path("records", inputs).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def pin(self, layer: Digest, head: str, packages: Sequence[Digest] = ()) -> None:
        """Keep a head's layer, and the packages that it was made of, whatever happens to the images made from it."""
        with self.blobs.shared():
            note = canonical({"head": head, "packages": sorted(packages)})
            write(self._path("heads", layer), note, folder=self.drafts)

    def has_head(self, layer: Digest, head: str, made_of: Callable[[], Sequence[Digest]] = tuple) -> bool:
        """Say whether a head's layer is here and whole; then it is pinned, and marked as used.

        `made_of` tells what the layer was made of; it is asked where nobody has noted that yet, so that this stays too.
        """
        with self.blobs.shared():
            if not self.blobs.are_whole([layer]):
                return False
            known = self._noted("heads", layer, dict[str, Any])
            if known is not None and known.get("packages"):
                self._path("heads", layer).touch()
            else:
                self.pin(layer, head, made_of())
            return True

    def note(self, kind: str, digest: Digest, value: object) -> None:
        """Remember what was found out about something. It can be found out again, so nothing depends on it."""
        self._note(kind, digest, value)

    def noted(self, kind: str, digest: Digest, type_: type[_Noted]) -> _Noted | None:
        """Return what is remembered of that kind; None if nothing is, or nothing that can be read."""
        return self._noted(kind, digest, type_)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name` among all processes that use this store; waits for its holder."""
        with locked(self.root / "locks" / f"{hexadecimal(digest_bytes(name.encode()))}.lock"):
            yield

    def sweep(self) -> None:
        """Remove what killed processes left half made."""
        sweep(self.drafts)

    # ------------------------------------------------------------ inside

    def _path(self, kind: str, digest: Digest) -> Path:
        return self.root / kind / f"{hexadecimal(digest)}.json"

    def _note(self, kind: str, digest: Digest, value: object) -> None:
        with self.blobs.shared():
            write(self._path(kind, digest), msgspec.json.encode(value), folder=self.drafts, is_durable=False)

    def _noted(self, kind: str, digest: Digest, type_: type[_Noted]) -> _Noted | None:
        try:
            return msgspec.json.decode(self._path(kind, digest).read_bytes(), type=type_)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
