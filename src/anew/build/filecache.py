"""Digests of files, remembered by what the kernel says of them, so that an unchanged project is not read again."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import msgspec

from anew.build.drafts import write
from anew.core.digest import digest_bytes

_RACY_NS = 2_000_000_000  # a file written this shortly before it is read may change again with equal times
_Known = dict[str, tuple[int, int, int, int, str]]  # path → size, mtime_ns, ctime_ns, inode, SHA-256


class FileDigests:
    """Digests of the files of one project. A damaged cache counts as none."""

    def __init__(self, folder: Path, project: Path) -> None:
        self._path = folder / f"{digest_bytes(os.fsencode(project))[7:23]}.json"
        self._known = self._read()
        self._seen: _Known = {}
        self._racy: set[str] = set()  # what changed too recently to be told from a later change

    def _read(self) -> _Known:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Known)
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def sha256(self, path: str, status: os.stat_result) -> str:
        """Return the SHA-256 of a file's content, in hexadecimal; `status` is its `lstat`."""
        key = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known = self._known.get(path)
        if known is not None and known[:4] == key:
            sha = known[4]
        else:
            if max(status.st_mtime_ns, status.st_ctime_ns) >= time.time_ns() - _RACY_NS:
                self._racy.add(path)
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - thousands of them, and paths are text here
                sha = hashlib.file_digest(file, "sha256").hexdigest()
        self._seen[path] = (*key, sha)
        return sha

    def save(self) -> None:
        """Keep what is known, and what was seen, except what changed too recently to be told from a later change.

        What is gone is dropped when there is something new to keep.
        """
        trusted = {path: one for path, one in self._seen.items() if path not in self._racy}
        if all(self._known.get(path) == one for path, one in trusted.items()):
            return
        # Other services of the project copy other files, and may have saved meanwhile.
        others = {p: one for p, one in self._read().items() if p not in self._seen and os.path.lexists(p)}
        self._known = others | trusted
        write(self._path, msgspec.json.encode(self._known), is_durable=False)
