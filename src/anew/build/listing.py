"""What is in a layer or a tree, without the contents: the base of tree digests, and of looking things up.

Paths are text: bytes that are not UTF-8 and backslashes are escaped, so that each path has one text and each text one
path. A tree digest covers path, type, mode, owners, extended attributes and content; not times, and not which
files are hard links of each other, for copying one up breaks the link.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anew.build.entries import OPAQUE, WHITEOUT, Entry, chunks
from anew.core.digest import digest
from anew.errors import SpecError
from anew.model import Digest

_MOST_LINKS = 40  # as many as the kernel follows


@dataclass(frozen=True, slots=True)
class Node:
    """One path of a tree; `content` is a file's SHA-256, a symlink's text, or a device's "major:minor"."""

    path: str
    kind: Literal["file", "dir", "symlink", "char", "block", "fifo", "whiteout", "opaque"]
    mode: int
    uid: int
    gid: int
    xattrs: tuple[tuple[str, str], ...] = ()
    content: str = ""


Lookup = Callable[[str], Node | None]  # by relative path, no slash at either end; the root is ""
ROOT = Node("", "dir", 0o755, 0, 0)


def text(path: bytes) -> str:
    r"""Return the one text of a path.

    >>> text("a/café".encode())
    'a/café'
    >>> print(text(b"a\xff"))
    a\xff
    """
    return path.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def node(entry: Entry, content: str) -> Node:
    """Return what the listing says of `entry`, whose content has the SHA-256 `content`."""
    folder, _, name = entry.path.rpartition(b"/")
    if name == OPAQUE:
        return Node(text(folder), "opaque", 0, 0, 0)
    if name.startswith(WHITEOUT):
        hidden = name.removeprefix(WHITEOUT)
        return Node(text(folder + b"/" + hidden if folder else hidden), "whiteout", 0, 0, 0)
    if entry.kind == "symlink":
        content = text(entry.link)
    elif entry.kind in ("char", "block"):
        content = f"{entry.device[0]}:{entry.device[1]}"
    kind = "file" if entry.kind == "hardlink" else entry.kind
    xattrs = tuple((name, value.hex()) for name, value in entry.xattrs)
    return Node(text(entry.path), kind, entry.mode, entry.uid, entry.gid, xattrs, content)


def tree_digest(nodes: Iterable[Node]) -> Digest:
    """Return the tree digest of `nodes`, in whatever order they come."""
    return digest(
        [
            [n.path, n.kind, n.mode, n.uid, n.gid, [list(x) for x in n.xattrs], n.content]
            for n in sorted(nodes, key=lambda n: (n.path, n.kind))
        ]
    )


def stacked(layers: Iterable[Iterable[Node]]) -> dict[str, Node]:
    """Return the tree that `layers`, lowest first, show together, by path."""
    tree: dict[str, Node] = {}
    for layer in layers:
        nodes = tuple(layer)
        hidden = {n.path for n in nodes if n.kind == "whiteout"}
        emptied = {n.path for n in nodes if n.kind == "opaque"}
        replaced = {
            n.path for n in nodes if n.kind != "dir" and n.path in tree and tree[n.path].kind == "dir"
        } - emptied
        if hidden or emptied or replaced:
            tree = {path: n for path, n in tree.items() if not _is_gone(path, hidden, emptied | replaced)}
        tree.update((n.path, n) for n in nodes if n.kind not in ("whiteout", "opaque"))
    return tree


def _is_gone(path: str, hidden: set[str], emptied: set[str]) -> bool:
    if path in hidden:
        return True
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in hidden or path in emptied:
            return True
    return False


def lookup_in(tree: Mapping[str, Node]) -> Lookup:
    """Return a Lookup in a stacked tree."""
    return lambda path: tree.get(path) if path else ROOT


def lookup_on_host(path: str) -> Node | None:
    """Look a path up on this machine's own root; only its type, mode, owners and symlink text are told."""
    full = Path("/", path)
    try:
        status = full.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    uid, gid, mode = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Node(path, "symlink", mode, uid, gid, content=os.fspath(full.readlink()))
    return Node(path, "dir" if stat.S_ISDIR(status.st_mode) else "file", mode, uid, gid)


def over(layers: Iterable[Iterable[Node]], below: Lookup) -> Lookup:
    """Return a Lookup that sees `layers`, lowest first, on top of `below`."""
    tree = stacked(layers)
    return lambda path: tree.get(path) or below(path)


def resolved(path: str, lookup: Lookup, where: str) -> str:
    """Return `path` with every symlink in it followed, as the running image will; what is not there stays as written.

    Raises  SpecError at `where` if the symlinks lead in a circle.
    """
    todo, done, links = [p for p in path.split("/") if p], "", 0
    while todo:
        name = todo.pop(0)
        if name in (".", ".."):
            done = posixpath.dirname(done) if name == ".." else done
            continue
        here = f"{done}/{name}" if done else name
        found = lookup(here)
        if found is None or found.kind != "symlink":
            done = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise SpecError(f"/{path} goes through symbolic links in a circle", where=where, hint="choose another path")
        done = "" if found.content.startswith("/") else done
        todo = [p for p in found.content.split("/") if p] + todo
    return done


def listed(layer: Path) -> tuple[Node, ...]:
    """Return the listing of a canonical layer, read from the layer itself."""
    from anew.build.archive import layer_members  # noqa: PLC0415 - a listing that is noted needs nothing of archives

    contents: dict[bytes, str] = {}
    nodes = []
    for entry in layer_members(layer):
        if entry.kind == "file":
            sha = hashlib.sha256()
            for chunk in chunks(entry):
                sha.update(chunk)
            contents[entry.path] = sha.hexdigest()
        nodes.append(node(entry, contents.get(entry.link if entry.kind == "hardlink" else entry.path, "")))
    return tuple(nodes)
