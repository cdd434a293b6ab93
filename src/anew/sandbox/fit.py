"""The thin layer on top of every image: mount points that the image lacks, and a name for the uid of an instance.

A read-only root can't get new folders once it is mounted, so what is to be mounted over must be there before. The
layer is content-addressed, holds no instance's name, and is shared by all instances that need the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anew.core.digest import digest, short
from anew.errors import SpecError
from anew.sandbox import view

UID = 1000  # of the application, as it sees itself
ACCOUNT = f"anew:x:{UID}:{UID}:anew:/tmp:/bin/sh\n"
CIRCLE = f"anew:x:{UID}:\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the layer; `content` is None for a folder."""

    path: str
    mode: int
    uid: int
    gid: int
    content: str | None = None


def mount_point(roots: Sequence[Path], path: str) -> str:
    """Return where the folder `path` is to be mounted in `roots`: links are followed, as bubblewrap can't.

    Raises  SpecError if something other than a folder is there, or on the way.
    """
    hint = "choose a path of `writable` that is a folder in the image, or that is not there"
    try:
        found = view.resolve(roots, path)
    except OSError as cause:
        raise SpecError(f"{path}: {cause.strerror}", hint=hint) from cause
    for one in (PurePosixPath(found), *PurePosixPath(found).parents):
        there = view.entry(roots, str(one))
        if there is not None and there.kind != "folder":
            raise SpecError(f"{path} can't be writable: {one} is a {there.kind} in the image", hint=hint)
    return found


def pieces(roots: Sequence[Path], folders: Sequence[str], files: Sequence[str]) -> tuple[Piece, ...]:
    """Return what the merged `roots` lack: mount points for `folders` and `files`, and accounts for the uid.

    A file is only wanted where its folder exists; a symbolic link in its place is covered.
    """
    wanted: dict[str, Piece] = {}
    for folder in folders:
        if view.entry(roots, folder) is None:
            for piece in _with_parents(roots, Piece(folder, 0o755, 0, 0)):
                wanted.setdefault(piece.path, piece)
    for piece in (*_files(roots, files), *_accounts(roots)):
        for one in _with_parents(roots, piece):
            wanted.setdefault(one.path, one)
    return tuple(sorted(wanted.values(), key=lambda p: p.path))


def layer(wanted: tuple[Piece, ...], store: Path) -> Path:
    """Return a folder below `store` that holds exactly `wanted`; made if it is not there yet."""
    final = store / short(digest(wanted))
    if final.is_dir():
        return final
    store.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".fit-", dir=store))
    made.chmod(0o755)
    try:
        for piece in wanted:
            _write(made / piece.path.lstrip("/"), piece)
        for piece in reversed(wanted):  # a folder that may not be written to gets its mode when it is full
            _dress(made / piece.path.lstrip("/"), piece)
        made.rename(final)
    except FileExistsError:  # another process was faster, and made the same
        return final
    except OSError:
        if not final.is_dir():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)  # it is gone if it was published
    return final


def _files(roots: Sequence[Path], files: Sequence[str]) -> Iterator[Piece]:
    for file in files:
        folder = view.entry(roots, str(PurePosixPath(file).parent))
        found = view.entry(roots, file)
        if folder is not None and folder.kind == "folder" and (found is None or found.kind == "link"):
            yield Piece(file, 0o644, 0, 0, "")


def _accounts(roots: Sequence[Path]) -> Iterator[Piece]:
    """Name the uid where the image has a list of accounts without it: initdb, ssh and others insist on a name."""
    for path, line in (("/etc/passwd", ACCOUNT), ("/etc/group", CIRCLE)):
        found = view.entry(roots, path)
        if found is None or found.kind != "file" or not os.access(found.top, os.R_OK):
            continue
        text = found.top.read_text("utf-8", errors="surrogateescape")
        if all(one.split(":")[2:3] != [str(UID)] for one in text.splitlines()):
            at = found.top.stat()
            ending = "" if not text or text.endswith("\n") else "\n"
            yield Piece(path, at.st_mode & 0o7777, at.st_uid, at.st_gid, text + ending + line)


def _with_parents(roots: Sequence[Path], piece: Piece) -> Iterator[Piece]:
    """Give the folders on the way the modes and owners that they have: the topmost layer decides them."""
    for parent in list(PurePosixPath(piece.path).parents)[-2::-1]:
        found = view.entry(roots, str(parent))
        if found is None:
            yield Piece(str(parent), 0o755, 0, 0)
        else:
            at = found.top.stat()
            yield Piece(str(parent), at.st_mode & 0o7777, at.st_uid, at.st_gid)
    yield piece


def _write(path: Path, piece: Piece) -> None:
    if piece.content is None:
        path.mkdir(exist_ok=True)
    else:
        path.write_text(piece.content, "utf-8", errors="surrogateescape")


def _dress(path: Path, piece: Piece) -> None:
    if os.geteuid() == 0:
        os.chown(path, piece.uid, piece.gid)
    path.chmod(piece.mode)
