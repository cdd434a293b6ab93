"""Whether blobs, and the trees that instances run from, are still what they were: all is read, nothing is mended.

A build trusts a blob that it looked at before, as long as its size, times and inode stay; this does not.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from anew.build.archive import layer_members
from anew.build.entries import OPAQUE_ATTRIBUTE
from anew.build.listing import ROOT, Node, listed, text
from anew.build.store import ImageStore
from anew.build.unpack import is_initial_namespace
from anew.core.digest import PREFIX, short
from anew.errors import AnewError
from anew.model import Digest

_DEVICES = ("char", "block")  # which may be missing; an overlay says by one, 0:0, that a path is gone
_CAPABILITY = "security.capability"
_KINDS: Mapping[str, Callable[[int], bool]] = MappingProxyType(
    {
        "file": stat.S_ISREG,
        "dir": stat.S_ISDIR,
        "symlink": stat.S_ISLNK,
        "char": stat.S_ISCHR,
        "block": stat.S_ISBLK,
        "fifo": stat.S_ISFIFO,
    }
)


def wrong_with(store: ImageStore, digest: Digest, what: str) -> str:
    """Return what is wrong with a blob, called `what`; "" if nothing is."""
    try:
        with store.blobs.path(digest).open("rb") as file:
            actual = PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{what} {short(digest)} is gone"
    return "" if actual == digest else f"{what} {short(digest)} was changed"


def wrong_in_tree(store: ImageStore, layer: Digest) -> Iterator[str]:
    """Yield what in the unpacked tree of a layer is not as in the layer; nothing if it is not unpacked.

    Times are left out. Of a tree that an ordinary user unpacked, everything has to be that user's, devices are missing,
    and of extended attributes only a user's are there.
    """
    top = store.folder(layer)
    if not top.is_dir():
        return
    try:
        every = listed(store.blobs.path(layer))
        links = [one for one in layer_members(store.blobs.path(layer)) if one.kind == "hardlink"]
    except (AnewError, OSError, tarfile.TarError):
        return  # of its blob it is told that it is gone
    wanted = {node.path: node for node in every if node.kind != "opaque"}
    for one in links:  # which are their files, whatever the layer says of them
        wanted[text(one.path)] = replace(wanted[text(one.link)], path=text(one.path))
    opaque = {node.path for node in every if node.kind == "opaque"}
    there, closed = _walked(top)
    owned = _Owned(top.lstat())
    tree = f"the tree of layer {short(layer)}"
    root = replace(ROOT, uid=owned.top.st_uid, gid=owned.top.st_gid)
    yield from (f"/ {why} in {tree}" for why in _unlike(root, top, owned, is_opaque="" in opaque))
    for name in sorted(wanted.keys() | there.keys()):
        node, path = wanted.get(name), there.get(name)
        if path is None and node is not None:
            if node.kind not in _DEVICES and not any(name.startswith(f"{folder}/") for folder in closed):
                yield f"/{name} is gone from {tree}"
        elif node is None:
            yield f"/{name} was put into {tree}"
        elif path is not None:
            yield from (f"/{name} {why} in {tree}" for why in _unlike(node, path, owned, is_opaque=name in opaque))


def _walked(top: Path) -> tuple[dict[str, Path], set[str]]:
    """Return all paths below a folder, and the folders that this user may not look into."""
    closed: set[str] = set()

    def skip(error: OSError) -> None:
        closed.add(text(os.path.relpath(os.fsencode(error.filename), os.fsencode(top))))

    found = (Path(folder, name) for folder, dirs, files in os.walk(top, onerror=skip) for name in (*dirs, *files))
    return {text(os.fsencode(path.relative_to(top))): path for path in found}, closed


@dataclass(frozen=True, slots=True)
class _Owned:
    """Whose the files of a tree must be, which its top tells: root's tree has the owners of the layer."""

    top: os.stat_result

    @property
    def is_of_root(self) -> bool:
        return self.top.st_uid == 0

    def fits(self, node: Node, status: os.stat_result) -> bool:
        """Say whether a file has the owner that it should have."""
        seen = (status.st_uid, status.st_gid)
        mine = seen == (self.top.st_uid, self.top.st_gid)
        if not self.is_of_root:
            return mine
        # Where an ordinary user appears as root, so does all that is that user's.
        return seen == (node.uid, node.gid) or (mine and not is_initial_namespace())


def _unlike(node: Node, path: Path, owned: _Owned, *, is_opaque: bool) -> Iterator[str]:
    """Yield how a path differs from what it should be."""
    status = path.lstat()
    if _kind(status) != ("char" if node.kind == "whiteout" else node.kind):
        yield "was changed"
        return
    if node.kind == "whiteout":
        if status.st_rdev != 0:
            yield "was changed"
        return
    if _content(node, path, status) != (node.content if node.kind != "fifo" else ""):
        yield "was changed"
    mode = stat.S_IMODE(status.st_mode)
    if node.kind != "symlink" and mode != node.mode:
        yield f"has the mode {mode:o}, and not {node.mode:o},"
    if not owned.fits(node, status):
        yield f"belongs to {status.st_uid}:{status.st_gid}"
    if _attributes(path) != _expected(node, owned, is_opaque=is_opaque):
        yield "has other extended attributes"


def _kind(status: os.stat_result) -> str:
    return next((kind for kind, is_kind in _KINDS.items() if is_kind(status.st_mode)), "socket")


def _content(node: Node, path: Path, status: os.stat_result) -> str:
    match node.kind:
        case "symlink":
            return text(os.fsencode(path.readlink()))
        case "char" | "block":
            return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        case "file":
            try:
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except PermissionError:  # it has a mode that keeps its owner out
                return node.content
    return ""


def _attributes(path: Path) -> dict[str, str]:
    """Return those attributes that an unpacked layer may have; a machine gives others by itself."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        kept = (one for one in names if one.startswith("user.") or one == _CAPABILITY)
        return {one: os.getxattr(path, one, follow_symlinks=False).hex() for one in kept}
    except OSError:  # the file system has none, or nobody may look
        return {}


def _expected(node: Node, owned: _Owned, *, is_opaque: bool) -> dict[str, str]:
    said = {
        name: value
        for name, value in node.xattrs
        if name.startswith("user.") or (name == _CAPABILITY and owned.is_of_root)
    }
    return said | ({OPAQUE_ATTRIBUTE: b"y".hex()} if is_opaque else {})
