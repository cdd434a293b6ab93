"""The layers of an image that others made, flattened into the entries of one head.

What a layer marks as removed is removed from those below it; folders come together, whatever else is in two layers is
as in the upper one. Hard links are those of the merged tree, and what differs from machine to machine is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anew.build.archive import raw_members
from anew.build.entries import OPAQUE, WHITEOUT, Entry
from anew.build.hygiene import clean
from anew.errors import SpecError

_META = b".wh..wh."  # of an old kind of union mount: says nothing about the tree
_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_OF_RUNNING = re.compile(rb"dev/.+|\.dockerenv|etc/(?:hostname|resolv\.conf)|run/\.containerenv")


@dataclass(frozen=True, slots=True, eq=False)
class _Inode:
    """What lies at one path, or at several that are hard links of each other."""

    entry: Entry


_Tree = dict[bytes, _Inode]


def flatten(layers: Sequence[Path], where: str) -> tuple[Entry, ...]:
    """Return the entries of all layers together, lowest first, sorted; contents stay in their archives.

    Raises  SpecError at `where` for a layer that is no archive, or holds what no image can.
    """
    tree = _stacked(layers, where)
    return _linked([replace(one.entry, path=path) for path, one in sorted(tree.items())], tree)


def flattened(layers: Sequence[Path], where: str) -> tuple[Entry, ...]:
    """Return the entries of an image's layers as those of a head: without what is volatile, or was of a container.

    There is an `/etc/hosts`, and an empty `/etc/resolv.conf`, over which instances get the machine's own.
    Raises  as `flatten`.
    """
    tree = _stacked(layers, where)
    for path in [path for path in tree if _OF_RUNNING.fullmatch(path)]:
        del tree[path]
    _complete(tree)
    entries = clean(tuple(replace(one.entry, path=path) for path, one in sorted(tree.items())), is_head=False)
    return _linked(entries, tree)


def _stacked(layers: Sequence[Path], where: str) -> _Tree:
    tree: _Tree = {}
    for layer in layers:
        _add(tree, layer, where)
    return tree


def _add(tree: _Tree, layer: Path, where: str) -> None:
    """Put a layer on top of `tree`."""
    new: _Tree = {}
    hidden: set[bytes] = set()
    emptied: set[bytes] = set()
    for entry in raw_members(layer, where):
        folder, _, name = entry.path.rpartition(b"/")
        if name == OPAQUE:
            emptied.add(folder)
        elif any(part.startswith(_META) for part in entry.path.split(b"/")):
            continue
        elif name.startswith(WHITEOUT):
            hidden.add((folder + b"/" if folder else b"") + name.removeprefix(WHITEOUT))
        elif entry.kind == "hardlink":
            new[entry.path] = _target(entry, new, tree, where)
        elif entry.path:
            new[entry.path] = _Inode(entry)
    _imply_folders(new, tree, hidden, where)
    replaced = {path for path, one in new.items() if one.entry.kind != "dir" and path in tree}
    if hidden or emptied or replaced:
        for path in [path for path in tree if _is_gone(path, hidden | replaced, emptied)]:
            del tree[path]
    tree.update(new)


def _target(entry: Entry, new: _Tree, tree: _Tree, where: str) -> _Inode:
    found = new.get(entry.link) or tree.get(entry.link)
    if found is None or found.entry.kind == "dir":
        raise SpecError(
            f"{entry.path.decode(errors='replace')!r} is a hard link to something that the image does not have",
            where=where,
            hint="choose another image, or build this one again",
        )
    return found


def _imply_folders(new: _Tree, tree: _Tree, hidden: set[bytes], where: str) -> None:
    """Add the folders that a layer has only by what lies in them."""
    for path in list(new):
        above = path.rpartition(b"/")[0]
        while above:
            if above not in new:
                below = tree.get(above)
                is_kept = below is not None and below.entry.kind == "dir" and not _is_gone(above, hidden, set())
                new[above] = below if is_kept and below is not None else _folder(above)
            elif new[above].entry.kind != "dir":
                what = f"{path.decode(errors='replace')!r} lies below a {new[above].entry.kind}"
                raise SpecError(
                    f"{what}, which can't hold anything",
                    where=where,
                    hint="choose another image, or build this one again",
                )
            above = above.rpartition(b"/")[0]


def _is_gone(path: bytes, hidden: set[bytes], emptied: set[bytes]) -> bool:
    if path in hidden:
        return True
    while path:
        path = path.rpartition(b"/")[0]
        if path in hidden or path in emptied:
            return True
    return False


def _complete(tree: _Tree) -> None:
    """Add the files over which instances get the machine's own; an empty one is what an engine mounted over."""
    etc = tree.setdefault(b"etc", _folder(b"etc"))
    if etc.entry.kind != "dir":
        return
    hosts = tree.get(b"etc/hosts")
    if hosts is None or (hosts.entry.kind == "file" and not hosts.entry.size):
        tree[b"etc/hosts"] = _Inode(Entry(path=b"etc/hosts", kind="file", size=len(_HOSTS), content=_HOSTS))
    tree.setdefault(b"etc/resolv.conf", _Inode(Entry(path=b"etc/resolv.conf", kind="file", content=b"")))


def _folder(path: bytes) -> _Inode:
    return _Inode(Entry(path=path, kind="dir", mode=0o755))


def _linked(entries: Sequence[Entry], tree: _Tree) -> tuple[Entry, ...]:
    """Return the entries; of several with one inode the first is the file, and the others are links to it."""
    first: dict[int, bytes] = {}
    out = []
    for entry in entries:
        inode = tree[entry.path]
        keeper = first.setdefault(id(inode), entry.path)
        is_link = keeper != entry.path and entry.kind == "file" and entry.content is inode.entry.content
        out.append(replace(entry, kind="hardlink", link=keeper, size=0, content=None) if is_link else entry)
    return tuple(out)
