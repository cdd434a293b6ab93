"""The OCI image layout itself: blobs by digest, and the index of images.

A blob whose bytes do not match its name is removed as soon as it is noticed, so that the next build makes it again
instead of stumbling over it. A blob that was checked is not read again while its size, times and inode stay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from anew.build.drafts import Draft, drafted, locked, write
from anew.build.oci import INDEX, LAYOUT, MANIFEST, REFERENCE
from anew.core.digest import PREFIX, canonical, digest_bytes
from anew.errors import Conflict, NotFound
from anew.model import Digest

_MEND = "`anew build` makes it again"


def hexadecimal(digest: Digest) -> str:
    """Return the digits of a digest: a blob's file name."""
    return digest.removeprefix(PREFIX)


class Blobs:
    """The blobs and the index of one layout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "blobs" / "sha256"
        self._drafts = root / "drafts"

    def path(self, digest: Digest) -> Path:
        """Return where a blob is or would be."""
        return self._folder / hexadecimal(digest)

    def verify(self, digest: Digest) -> Path:
        """Return a blob's path, having checked its bytes unless they are as they were when last checked.

        Raises  NotFound if it is missing; Conflict if its bytes are not those of its name: then it is removed.
        """
        path, mark = self.path(digest), self._mark(digest)
        try:
            stamp = _stamp(path)
        except FileNotFoundError as e:
            raise NotFound(f"blob {digest} is missing", where=str(path), hint=_MEND) from e
        if mark.is_file() and mark.read_bytes() == stamp:
            return path
        with path.open("rb") as file:
            actual = PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
        if actual != digest:
            self._drop(digest)
            raise Conflict(
                f"blob {digest} was corrupt and has been removed",
                where=str(path),
                hint=_MEND,
                facts={"expected": digest, "actual": actual},
            )
        write(mark, stamp, folder=self._drafts, is_durable=False)
        return path

    def are_whole(self, digests: Iterable[Digest]) -> bool:
        """Say whether all these blobs are here and as they should be; a corrupt one is removed."""
        try:
            for one in digests:
                self.verify(one)
        except (NotFound, Conflict):
            return False
        return True

    def add(self, digest: Digest, draft: Draft) -> None:
        """Publish a draft whose bytes have this digest."""
        self._folder.mkdir(parents=True, exist_ok=True)
        draft.publish(self.path(digest))
        write(self._mark(digest), _stamp(self.path(digest)), folder=self._drafts, is_durable=False)

    def add_bytes(self, data: bytes) -> Digest:
        """Add a small blob; return its digest."""
        digest = digest_bytes(data)
        with drafted(self._drafts) as draft:
            draft.file.write(data)
            self.add(digest, draft)
        return digest

    def add_image(self, manifest: bytes, name: str) -> Digest:
        """Add a manifest, and to the index the image that it describes, named `name`; return its digest."""
        digest = self.add_bytes(manifest)
        entry = {
            "mediaType": MANIFEST,
            "digest": digest,
            "size": len(manifest),
            "annotations": {REFERENCE: name},
        }
        with self._locked():
            before = self._index()
            if entry not in before:
                self._write_index([*(e for e in before if e["digest"] != digest), entry])
        return digest

    def images(self) -> tuple[Digest, ...]:
        """Return the manifest digests of all images, oldest first."""
        return tuple(str(e["digest"]) for e in self._index())

    def layers(self, digest: Digest) -> tuple[Digest, ...]:
        """Return the layers of an image, lowest first. Raises NotFound if it isn't here."""
        return tuple(str(one["digest"]) for one in self._manifest(digest)["layers"])

    def remove(self, digest: Digest, pinned: Collection[Digest]) -> tuple[Digest, ...]:
        """Forget an image; return the blobs that were removed: not those of others, nor those `pinned`."""
        with self._locked():
            if not self.path(digest).is_file():
                return ()
            others = [e for e in self._index() if e["digest"] != digest]
            self._write_index(others)
            kept = set(pinned)
            for other in others:
                if self.path(str(other["digest"])).is_file():
                    kept |= self._parts(str(other["digest"]))
            gone = sorted(self._parts(digest) - kept)
            for one in gone:
                self._drop(one)
        return tuple(gone)

    def _parts(self, digest: Digest) -> set[Digest]:
        text = self._manifest(digest)
        return {digest, str(text["config"]["digest"]), *self.layers(digest)}

    def _manifest(self, digest: Digest) -> dict[str, Any]:
        try:
            text: dict[str, Any] = json.loads(self.path(digest).read_bytes())
        except FileNotFoundError as e:
            raise NotFound(f"image {digest} is not in the image store", where=str(self._root), hint=_MEND) from e
        except ValueError:
            self.verify(digest)
            raise
        return text

    def _mark(self, digest: Digest) -> Path:
        return self._root / "verified" / hexadecimal(digest)

    def _drop(self, digest: Digest) -> None:
        self._mark(digest).unlink(missing_ok=True)
        self.path(digest).unlink(missing_ok=True)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._root / "locks" / "index.lock")

    def _index(self) -> list[dict[str, Any]]:
        try:
            text = json.loads((self._root / "index.json").read_bytes())
        except FileNotFoundError:
            return []
        return list(text["manifests"])

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        layout = self._root / "oci-layout"
        if not layout.is_file():
            write(layout, canonical(LAYOUT), folder=self._drafts)
        text = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        write(self._root / "index.json", canonical(text), folder=self._drafts)


def _stamp(path: Path) -> bytes:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}".encode()
