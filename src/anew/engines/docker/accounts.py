"""A name for the uid of an instance: initdb, ssh and others insist on one. The image's own lists, and a line more.

The lists are read out of the layers once per image, and kept in a folder: a layer is a long file.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from anew.core.digest import PREFIX
from anew.engines.docker.images import Blobs
from anew.model import Image

FILES = ("etc/passwd", "etc/group")
FOLDER = "accounts"  # in the state folder
MADE = ".made-"  # how the name of a folder begins that is being made
LINES: Mapping[str, str] = {"etc/passwd": "anew:x:{uid}:{uid}:anew:/tmp:/bin/sh\n", "etc/group": "anew:x:{uid}:\n"}


class Accounts:
    """The lists of accounts of images; `folder` keeps what was found."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs = blobs
        self._folder = folder
        self._known: dict[str, tuple[tuple[str, str], ...]] = {}

    def files(self, image: Image, uid: int) -> tuple[tuple[str, bytes], ...]:
        """Return path and content of each list in which the uid has a name; none for an image without lists."""
        found = self._known.get(image.digest)
        if found is None:
            found = self._known[image.digest] = self._kept(image)
        return tuple((f"/{path}", _named(path, text, uid).encode("utf-8", "surrogateescape")) for path, text in found)

    def _kept(self, image: Image) -> tuple[tuple[str, str], ...]:
        place = self._folder / image.digest.removeprefix(PREFIX)
        if not place.is_dir():
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=MADE, dir=self._folder))
            for path, data in self._read(image):
                (made / path.replace("/", "-")).write_bytes(data)
            try:
                made.rename(place)
            except OSError:
                if not place.is_dir():  # else somebody else was faster, and found the same
                    raise
        names = ((path, place / path.replace("/", "-")) for path in FILES)
        return tuple((path, file.read_text("utf-8", "surrogateescape")) for path, file in names if file.is_file())

    def _read(self, image: Image) -> tuple[tuple[str, bytes], ...]:
        """Return the lists that the layers show together, the uppermost first asked."""
        found: dict[str, bytes] = {}
        hidden: set[str] = set()
        for layer in reversed(image.layers):
            with tarfile.open(self._blobs.verify(layer), "r:") as archive:
                here = {member.name.removeprefix("./"): member for member in archive}
                for path in FILES:
                    member = here.get(path)
                    if path in hidden or path in found or member is None:
                        continue
                    file = archive.extractfile(member) if member.isreg() else None
                    if file is None:
                        hidden.add(path)
                    else:
                        found[path] = file.read()
            hidden |= {path for path in FILES if _signs(path) & here.keys()}
        return tuple(sorted(found.items()))


def _signs(path: str) -> set[str]:
    """Return the entries of a layer that hide a path of the layers below."""
    folder, name = os.path.split(path)
    return {f"{folder}/.wh.{name}", f"{folder}/.wh..wh..opq", f".wh.{folder}", ".wh..wh..opq"}


def _named(path: str, text: str, uid: int) -> str:
    if any(line.split(":")[2:3] == [str(uid)] for line in text.splitlines()):
        return text
    return text + ("" if not text or text.endswith("\n") else "\n") + LINES[path].format(uid=uid)
