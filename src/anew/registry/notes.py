"""What is remembered of registries between two commands: hints that save work, and that nobody relies on.

::

    uploads/KEY     where an upload was begun that has not ended; the place may hold a key, so only its owner reads it
    seen/HOST.json  which repository of a registry had a blob last: from there it can be mounted

A note that is lost or wrong, or can't be written, costs a second upload and nothing else.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anew.core.digest import digest_bytes, short
from anew.core.reference import Repository
from anew.model import Digest, Seconds

_STALE: Seconds = 86400.0  # registries forget what was begun, too
_MOST_SEEN = 10_000


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes about one repository, below a folder of ours."""

    folder: Path
    repository: Repository

    def place(self, digest: Digest) -> str:
        """Return where an upload of a blob was begun; "" if that isn't known."""
        try:
            return self._upload(digest).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def begun(self, digest: Digest, place: str) -> None:
        """Remember where an upload goes on."""
        self._write(self._upload(digest), place)

    def ended(self, digest: Digest) -> None:
        """Forget an upload."""
        with suppress(OSError):
            self._upload(digest).unlink(missing_ok=True)

    def seen(self) -> dict[Digest, str]:
        """Return the other repositories of this registry that had a blob, by blob."""
        return {digest: name for digest, name in self._seen().items() if name != self.repository.name}

    def see(self, digests: Iterable[Digest]) -> None:
        """Remember that the repository has these blobs, and forget uploads that were given up long ago."""
        known = {**self._seen(), **dict.fromkeys(digests, self.repository.name)}
        self._write(self._seen_at, json.dumps(dict(list(known.items())[-_MOST_SEEN:])))
        for path in self._uploads.glob("*") if self._uploads.is_dir() else ():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()

    def _seen(self) -> dict[Digest, str]:
        try:
            said = json.loads(self._seen_at.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}

    @property
    def _uploads(self) -> Path:
        return self.folder / "uploads"

    @property
    def _seen_at(self) -> Path:
        return self.folder / "seen" / f"{short(digest_bytes(self.repository.host.encode()))}.json"

    def _upload(self, digest: Digest) -> Path:
        return self._uploads / short(digest_bytes(f"{self.repository} {digest}".encode()))

    def _write(self, path: Path, text: str) -> None:
        with suppress(OSError):  # a full disk, for instance
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd, draft = tempfile.mkstemp(dir=path.parent, prefix="draft-")  # which is for its owner alone
            try:
                with os.fdopen(fd, "w", encoding="utf-8") as file:
                    file.write(text)
                Path(draft).replace(path)
            finally:
                Path(draft).unlink(missing_ok=True)
