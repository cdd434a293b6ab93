"""Whether blobs, and the trees that instances run from, are still what they were: all is read, nothing is mended.

A build trusts a blob that it looked at before, as long as its size, times and inode stay; this does not.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from anew.build.listing import Node, listed, text
from anew.build.store import ImageStore
from anew.core.digest import PREFIX, short
from anew.errors import AnewError
from anew.model import Digest

_NOT_COMPARED = ("whiteout", "opaque", "char", "block")  # an overlay says by a device that a path is gone


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

    Owners, times and devices are left out: an ordinary user's copy has other ones, or none.
    """
    top = store.folder(layer)
    if not top.is_dir():
        return
    try:
        wanted = {node.path: node for node in listed(store.blobs.path(layer)) if node.kind not in _NOT_COMPARED}
    except (AnewError, OSError, tarfile.TarError):
        return  # of its blob it is told that it is gone
    there = {text(os.fsencode(path.relative_to(top))): path for path in _walked(top)}
    for name in sorted(wanted.keys() | there.keys()):
        node, path = wanted.get(name), there.get(name)
        if path is None:
            yield f"/{name} is gone from the tree of layer {short(layer)}"
        elif node is None:
            if not (path.is_char_device() or path.is_block_device()):
                yield f"/{name} was put into the tree of layer {short(layer)}"
        elif not _is_same(node, path):
            yield f"/{name} was changed in the tree of layer {short(layer)}"


def _walked(top: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            yield Path(folder, name)


def _is_same(node: Node, path: Path) -> bool:
    if path.is_symlink():
        return node.kind == "symlink" and text(os.fsencode(path.readlink())) == node.content
    if path.is_dir():
        return node.kind == "dir"
    if path.is_file():
        with path.open("rb") as file:
            return node.kind == "file" and hashlib.file_digest(file, "sha256").hexdigest() == node.content
    return node.kind == "fifo"
