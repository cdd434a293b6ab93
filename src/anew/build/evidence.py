"""What is said of images: signed statements, each a blob of the image store, listed by the image that they are about.

::

    evidence/HEX.json       per manifest digest: a list of {"predicate": URI, "digest": blob}, sorted; no blob twice

A list says only where statements are. That they are whole, signed, by whom, and about which image, is looked at by
whoever trusts them (`anew.build.trust`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from anew.build.blobs import hexadecimal
from anew.build.drafts import locked, write
from anew.build.store import ImageStore
from anew.core.digest import canonical, short
from anew.errors import Conflict
from anew.model import Digest

MEDIA = "application/vnd.dsse.envelope.v1+json"  # of every statement's blob


@dataclass(frozen=True, slots=True, order=True)
class Filed:
    """A statement about an image: what kind it is, as the URI of its predicate, and the blob of its envelope."""

    predicate: str
    digest: Digest


class Evidence:
    """The statements about the images of one store; safe with several processes."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def filed(self, image: Digest) -> tuple[Filed, ...]:
        """Return what there is about the image of this manifest, sorted; () without a list that can be read."""
        try:
            return self.listed(image)
        except Conflict:
            return ()

    def listed(self, image: Digest) -> tuple[Filed, ...]:
        """Return what there is about the image of this manifest, sorted. Raises Conflict if its list can't be read."""
        path = self._path(image)
        try:
            return msgspec.json.decode(path.read_bytes(), type=tuple[Filed, ...])
        except FileNotFoundError:
            return ()
        except msgspec.DecodeError as cause:
            hint = "put it back from a copy, or move it away: without it, `anew verify` says what is missing"
            what = f"the list of what is said of {short(image)} is damaged"
            raise Conflict(what, where=str(path), hint=hint) from cause

    def read(self, one: Filed) -> bytes:
        """Return a statement's envelope. Raises NotFound or Conflict if its blob is gone, or not what it was."""
        return self._store.blobs.read(one.digest)

    def add(self, image: Digest, predicate: str, envelope: bytes) -> Filed:
        """File a statement about an image. Idempotent."""
        one = Filed(predicate, self._store.blobs.add_bytes(envelope))
        with locked(self._store.root / "locks" / "evidence.lock"):
            after = sorted({*self.filed(image), one})
            text = [{"predicate": each.predicate, "digest": each.digest} for each in after]
            write(self._path(image), canonical(text), folder=self._store.drafts)
        return one

    def _path(self, image: Digest) -> Path:
        return self._store.root / "evidence" / f"{hexadecimal(image)}.json"
