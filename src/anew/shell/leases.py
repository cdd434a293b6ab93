"""Images that a process works from though no release and no instance names them, as long as it lives.

Rules

1. A lease is a file with the images and why, locked for as long as its process lives: the kernel frees it at death.
2. Files are made, and looked at, under one lock: so none is seen before it is whole and locked.
3. Who takes a lease looks only afterwards whether the images are there; who collects reads the leases while it has the
   image store alone. So an image is either kept, or found missing before it is used.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from anew.model import Image
from anew.shell.throwaways import LOCK, alone, is_locked

LEASES = "leases"  # the folder of a state


@dataclass(frozen=True, slots=True)
class Lease:
    """What one process works from; `why` is told by whoever collects."""

    images: tuple[Image, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases of one state. Safe to be used by threads and processes."""

    folder: Path

    @contextmanager
    def taken(self, images: Sequence[Image], why: str) -> Iterator[None]:
        """Let no collection take these images until the end of the block, or the death of this process."""
        path = self.folder / secrets.token_hex(8)
        with alone(self.folder):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            path.write_bytes(msgspec.json.encode(Lease(tuple(images), why)))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(handle)

    def held(self, *, is_dry: bool = False) -> tuple[tuple[Image, str], ...]:
        """Return the images of all leases of living processes, with the reasons; remove the others unless `is_dry`."""
        if not self.folder.is_dir():
            return ()
        found: list[tuple[Image, str]] = []
        with alone(self.folder):
            for path in sorted(one for one in self.folder.iterdir() if one.name != LOCK):
                if is_locked(path):
                    lease = msgspec.json.decode(path.read_bytes(), type=Lease)
                    found += ((image, lease.why) for image in lease.images)
                elif not is_dry:
                    path.unlink(missing_ok=True)
        return tuple(found)
