"""What a layer is made of: one entry per path, and how a folder on disk becomes entries.

An overlay's own signs are translated on the way: a character device 0:0 is a whiteout (``.wh.NAME``), the
attribute ``user.overlay.opaque`` on a folder becomes ``.wh..wh..opq`` inside it.
"""

# Paths are bytes here, as the kernel has them: a name need not be text.
# ruff: noqa: PTH115, PTH118
from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anew.build.epoch import EPOCH
from anew.errors import SpecError
from anew.model import CHUNK

Kind = Literal["file", "dir", "symlink", "hardlink", "char", "block", "fifo"]

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OPAQUE_ATTRIBUTE = "user.overlay.opaque"
_KEPT = ("user.", "security.capability")  # others belong to the machine, not to the image
_NOISE = "user.overlay."
_SHOWN = 60  # bytes of a path that is too long


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a file: where a tar archive holds one of its members."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a layer. `path` is relative, without slash at either end; the root itself is never an entry."""

    path: bytes
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = EPOCH
    size: int = 0
    link: bytes = b""  # a symlink's text; for a hard link, the path that is linked to
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()  # sorted by name
    content: Path | Region | bytes | None = field(default=None, repr=False)
    expected: str = ""  # SHA-256 that the content must have; "": anything


def whiteout(path: bytes) -> Entry:
    """Return the entry that hides `path` of the layers below."""
    folder, _, name = path.rpartition(b"/")
    return Entry(path=(folder + b"/" if folder else b"") + WHITEOUT + name, kind="file", content=b"")


def opaque(folder: bytes) -> Entry:
    """Return the entry that hides everything that the layers below have in `folder`."""
    return Entry(path=folder + b"/" + OPAQUE, kind="file", content=b"")


def scanned(root: Path) -> tuple[Entry, ...]:
    """Return the entries of a folder, sorted bytewise by path; hard links point to the first path of their file.

    Sockets are left out, as no archive can hold them.
    Raises  SpecError for a name that begins with ``.wh.``, which an image can't express, and for too long a path.
    """
    try:
        return _found(root)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = os.path.relpath(os.fsencode(error.filename or ""), os.fsencode(root))[:_SHOWN]
        what = f"{os.fsdecode(name)!r}… is a path that is longer than the kernel takes, with the folder that it is in"
        raise SpecError(what, hint="make it shorter: 3,000 bytes are safe everywhere") from error


def _found(root: Path) -> tuple[Entry, ...]:
    first: dict[tuple[int, int], bytes] = {}
    found: list[Entry] = []
    folder = os.path.join(os.fsencode(root), b"")
    for path, status in sorted(_walk(folder)):
        full = folder + path
        key = (status.st_dev, status.st_ino)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and key in first:
            found.append(_entry(path, full, status, link=first[key]))
            continue
        first[key] = path
        found.extend(_entries(path, full, status))
    return tuple(sorted(found, key=lambda e: e.path))


def _walk(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    left = [b""]
    while left:
        below = left.pop()
        with os.scandir(root + below) as names:
            for one in names:
                path = below + one.name
                if one.name.startswith(WHITEOUT):
                    raise SpecError(
                        f"{os.fsdecode(path)!r} can't be part of an image: names that begin with `.wh.` mark removals",
                        hint="rename the file",
                    )
                status = one.stat(follow_symlinks=False)
                yield path, status
                if stat.S_ISDIR(status.st_mode):
                    left.append(path + b"/")


def _entries(path: bytes, full: bytes, status: os.stat_result) -> Iterator[Entry]:
    if stat.S_ISSOCK(status.st_mode):
        return
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        yield whiteout(path)
        return
    yield _entry(path, full, status)
    if stat.S_ISDIR(status.st_mode) and _is_opaque(full):
        yield opaque(path)


def _is_opaque(full: bytes) -> bool:
    return OPAQUE_ATTRIBUTE in os.listxattr(full) and os.getxattr(full, OPAQUE_ATTRIBUTE) == b"y"


def _entry(path: bytes, full: bytes, status: os.stat_result, link: bytes = b"") -> Entry:
    kind: Kind
    content, size, device = None, 0, (0, 0)
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFREG if link:
            kind = "hardlink"
        case stat.S_IFREG:
            kind, content, size = "file", Path(os.fsdecode(full)), status.st_size
        case stat.S_IFDIR:
            kind = "dir"
        case stat.S_IFLNK:
            kind, link = "symlink", os.readlink(full)
        case stat.S_IFIFO:
            kind = "fifo"
        case _:
            kind = "char" if stat.S_ISCHR(status.st_mode) else "block"
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=int(status.st_mtime),
        size=size,
        link=link,
        device=device,
        xattrs=_xattrs(full),
        content=content,
    )


def _xattrs(full: bytes) -> tuple[tuple[str, bytes], ...]:
    names = [n for n in os.listxattr(full, follow_symlinks=False) if is_kept(n)]
    return tuple((name, os.getxattr(full, name, follow_symlinks=False)) for name in sorted(names))


def is_kept(name: str) -> bool:
    """Say whether an extended attribute is part of an image."""
    return name.startswith(_KEPT) and not name.startswith(_NOISE)


def chunks(entry: Entry) -> Iterator[bytes]:
    """Yield the content of a file's entry."""
    match entry.content:
        case bytes() as data:
            yield data
        case Path() as path:
            # Without a file object, and with room for one byte more than there should be: most files are small.
            most = min(CHUNK, entry.size + 1)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while chunk := os.read(fd, most):
                    yield chunk
                    if len(chunk) < most:
                        break  # of a file, less than was asked for is the end
            finally:
                os.close(fd)
        case Region(path=path, offset=offset, size=left):
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                while left and (chunk := file.read(min(left, CHUNK))):
                    left -= len(chunk)
                    yield chunk
        case None:
            return
