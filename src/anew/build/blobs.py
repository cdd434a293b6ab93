"""The OCI image layout itself: blobs by digest, and the index of images.

A blob whose bytes do not match its name is removed as soon as it is noticed, so that the next build makes it again
instead of stumbling over it. A blob that was checked is not read again while its size, times and inode stay.

Whoever uses a blob shares the lock of the store while it looks, and leaves on the blob's mark when that was. A
collection holds the lock alone, and leaves what was used lately: so nothing goes between a look and the use.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from anew.build.drafts import Draft, drafted, locked, shared, write
from anew.build.oci import INDEX, LAYOUT, MANIFEST, REFERENCE
from anew.core.digest import PREFIX, canonical, digest_bytes
from anew.errors import Conflict, NotFound
from anew.model import CHUNK, Digest

_MEND = "`anew build` makes it again"


def hexadecimal(digest: Digest) -> str:
    """Return the digits of a digest: a blob's file name.

    Raises  Conflict for what would lead elsewhere: digests also come from what others wrote.
    """
    name = digest.removeprefix(PREFIX)
    if "/" in name or name.startswith(".") or not name:
        raise Conflict(f"{digest!r} is no digest", hint="what names it was damaged, or made to mislead")
    return name


class Blobs:
    """The blobs and the index of one layout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "blobs" / "sha256"
        self.drafts = root / "drafts"

    def path(self, digest: Digest) -> Path:
        """Return where a blob is or would be."""
        return self._folder / hexadecimal(digest)

    def mark(self, digest: Digest) -> Path:
        """Return where it is noted that a blob was checked; the time of the file is when it was last used."""
        return self._root / "verified" / hexadecimal(digest)

    def shared(self) -> AbstractContextManager[None]:
        """Keep collections away while something is looked for and marked as used; waits for one under way."""
        return shared(self.lock)

    @property
    def lock(self) -> Path:
        """The file that users of the store share, and that a collection has alone."""
        return self._root / "locks" / "use.lock"

    def verify(self, digest: Digest) -> Path:
        """Return a blob's path, having checked its bytes unless they are as they were when last checked.

        Raises  NotFound if it is missing; Conflict if its bytes are not those of its name: then it is removed.
        """
        with self.shared():
            return self._verified(digest)

    def _verified(self, digest: Digest) -> Path:
        path, mark = self.path(digest), self.mark(digest)
        try:
            stamp = _stamp(path)
            if _is_marked(mark, stamp):
                return path
            with path.open("rb") as file:
                actual = PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as e:  # also if another process removed it just now
            raise NotFound(f"blob {digest} is missing", where=str(path), hint=_MEND, facts={"digest": digest}) from e
        if actual != digest:
            self._drop(digest)
            raise Conflict(
                f"blob {digest} was corrupt and has been removed",
                where=str(path),
                hint=_MEND,
                facts={"expected": digest, "actual": actual},
            )
        write(mark, stamp, folder=self.drafts, is_durable=False)
        return path

    def read(self, digest: Digest) -> bytes:
        """Return the bytes of a small blob, checked now; whatever they are, it stays.

        Raises  NotFound if it is missing; Conflict if its bytes are not those of its name.
        """
        path = self.path(digest)
        with self.shared():
            try:
                data = path.read_bytes()
            except FileNotFoundError as e:
                raise NotFound(
                    f"blob {digest} is missing", where=str(path), hint=_MEND, facts={"digest": digest}
                ) from e
            with suppress(FileNotFoundError):
                os.utime(self.mark(digest))
        if digest_bytes(data) != digest:
            raise Conflict(f"blob {digest} was changed", where=str(path), hint=_MEND)
        return data

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
        with self.shared():
            draft.publish(self.path(digest))
            write(self.mark(digest), _stamp(self.path(digest)), folder=self.drafts, is_durable=False)

    def add_bytes(self, data: bytes) -> Digest:
        """Add a small blob; return its digest."""
        digest = digest_bytes(data)
        with drafted(self.drafts) as draft:
            draft.file.write(data)
            self.add(digest, draft)
        return digest

    def add_file(self, path: Path) -> Digest:
        """Add a copy of a file; return its digest."""
        sha = hashlib.sha256()
        with drafted(self.drafts) as draft, path.open("rb") as file:
            while chunk := file.read(CHUNK):
                sha.update(chunk)
                draft.file.write(chunk)
            digest = PREFIX + sha.hexdigest()
            self.add(digest, draft)
        return digest

    def add_image(self, manifest: bytes, name: str) -> Digest:
        """Add a manifest, and to the index the image that it describes, named `name`; return its digest."""
        entry: dict[str, Any] = {
            "mediaType": MANIFEST,
            "digest": digest_bytes(manifest),
            "size": len(manifest),
            "annotations": {REFERENCE: name},
        }
        with self.shared(), self._locked():
            digest = self.add_bytes(manifest)
            before = self._index()
            if entry not in before:
                self._write_index([*(e for e in before if e["digest"] != digest), entry])
        return digest

    def images(self) -> tuple[Digest, ...]:
        """Return the manifest digests of all images, oldest first."""
        return tuple(str(e["digest"]) for e in self._index())

    def named(self) -> dict[Digest, str]:
        """Return the names of all images by digest, oldest first."""
        return {str(e["digest"]): str(e.get("annotations", {}).get(REFERENCE, "")) for e in self._index()}

    def keep(self, digests: Collection[Digest]) -> None:
        """Forget, in the index, all images but these; their blobs stay. Writes nothing if there are no others."""
        with self._locked():
            before = self._index()
            after = [e for e in before if e["digest"] in digests]
            if after != before:
                self._write_index(after)

    def parts(self, digest: Digest) -> tuple[Digest, tuple[Digest, ...]] | None:
        """Return config and layers of an image; None if its manifest is gone or damaged, and then it stays so."""
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if digest_bytes(data) != digest:
            return None
        text = json.loads(data)
        return str(text["config"]["digest"]), tuple(str(one["digest"]) for one in text["layers"])

    def layers(self, digest: Digest) -> tuple[Digest, ...]:
        """Return the layers of an image, lowest first. Raises NotFound if it isn't here."""
        return tuple(str(one["digest"]) for one in self._manifest(digest)["layers"])

    def remove(self, digest: Digest, pinned: Collection[Digest]) -> tuple[Digest, ...]:
        """Forget an image; return the blobs that were removed: not those of others, nor those `pinned`."""
        with self.shared(), self._locked():
            before = self._index()
            others = [e for e in before if e["digest"] != digest]
            if others != before:
                self._write_index(others)
            if not self.path(digest).is_file():
                return ()
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

    def _drop(self, digest: Digest) -> None:
        self.mark(digest).unlink(missing_ok=True)
        self.path(digest).unlink(missing_ok=True)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._root / "locks" / "index.lock")

    def _index(self) -> list[dict[str, Any]]:
        try:
            text = json.loads((self._root / "index.json").read_bytes())
            return [one for one in text["manifests"] if isinstance(one["digest"], str)]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as e:
            where = self._root / "index.json"
            hint = f"move it away (mv {where} {where}.damaged); builds write it anew, and nothing else needs it"
            raise Conflict("the index of the image store is damaged", where=str(where), hint=hint) from e

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        layout = self._root / "oci-layout"
        if not layout.is_file():
            write(layout, canonical(LAYOUT), folder=self.drafts)
        text = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        write(self._root / "index.json", canonical(text), folder=self.drafts)


def _is_marked(mark: Path, stamp: bytes) -> bool:
    """Say whether a blob was checked as it is now; then its mark says that it was used."""
    try:
        if mark.read_bytes() != stamp:
            return False
        os.utime(mark)
    except FileNotFoundError:
        return False
    return True


def _stamp(path: Path) -> bytes:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}".encode()
