"""The layers of an image of any maker, as one tree: what a container that runs from them would see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from anew.build.archive import add_folders, raw_members
from anew.build.entries import OPAQUE, WHITEOUT, Entry, Region
from anew.build.hygiene import clean
from anew.errors import SpecError

_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_OF_RUNNING = re.compile(rb"dev/.+|etc/(?:hostname|resolv\.conf)|\.dockerenv|run/\.containerenv")


def flatten(layers: Sequence[Path], where: str) -> tuple[Entry, ...]:
    """Return the entries of `layers`, lowest first, seen together; sorted, and without any mark of a removal.

    Contents stay in the archives, which are not compressed.
    A removal hides what lower layers have, never what its own layer has. Hard links stay links among themselves while
    they are of one layer.
    Raises  SpecError at `where` for what is no layer, or leads out of it.
    """
    tree: dict[bytes, Entry] = {}
    for layer in layers:
        found, gone, emptied = _read(layer, where)
        emptied |= {path for path, one in found.items() if one.kind != "dir" and path in tree}
        _remove(tree, gone, emptied)
        tree.update(_resolved(found, tree, where))
    add_folders(tree, where)
    return tuple(_linked(tree[path] for path in sorted(tree)))


def flattened(layers: Sequence[Path], where: str) -> tuple[Entry, ...]:
    """Return the entries of an image's layers as those of a head: without what is volatile, or was of a container.

    There is an `/etc/hosts`, and an empty `/etc/resolv.conf`, over which instances get the machine's own.
    Raises  as `flatten`.
    """
    kept = [one for one in clean(flatten(layers, where), is_head=False) if not _OF_RUNNING.fullmatch(one.path)]
    there = {one.path: one for one in kept}
    added = [Entry(path=b"etc/resolv.conf", kind="file", content=b"")]
    if b"etc" not in there:
        added.append(Entry(path=b"etc", kind="dir", mode=0o755))
    hosts = there.get(b"etc/hosts")
    if hosts is None or (hosts.kind == "file" and not hosts.size):  # what an engine mounts its own over
        kept = [one for one in kept if one.path != b"etc/hosts"]
        added.append(Entry(path=b"etc/hosts", kind="file", size=len(_HOSTS), content=_HOSTS))
    return (*kept, *added)


def _read(archive: Path, where: str) -> tuple[dict[bytes, Entry], set[bytes], set[bytes]]:
    """Return what a layer has, what it removes, and the folders that it empties."""
    found: dict[bytes, Entry] = {}
    gone: set[bytes] = set()
    emptied: set[bytes] = set()
    for entry in raw_members(archive, where):
        folder, _, name = entry.path.rpartition(b"/")
        if name == OPAQUE:
            emptied.add(folder)
        elif name.startswith(WHITEOUT + WHITEOUT):
            continue  # what a storage driver keeps for itself
        elif name.startswith(WHITEOUT):
            hidden = name.removeprefix(WHITEOUT)
            gone.add(folder + b"/" + hidden if folder else hidden)
        elif entry.path:
            found[entry.path] = entry
    return found, gone, emptied


def _remove(tree: dict[bytes, Entry], gone: set[bytes], emptied: set[bytes]) -> None:
    if b"" in emptied:
        tree.clear()
    if not gone and not emptied:
        return
    for path in [path for path in tree if path in gone or _is_below(path, gone) or _is_below(path, emptied)]:
        del tree[path]


def _is_below(path: bytes, folders: set[bytes]) -> bool:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        if path in folders:
            return True
    return False


def _resolved(found: dict[bytes, Entry], below: dict[bytes, Entry], where: str) -> Iterator[tuple[bytes, Entry]]:
    """Yield a layer's entries; a hard link as the file that it leads to, for that may be replaced by a later layer."""
    for path, entry in found.items():
        real, passed = entry, {path}
        while real.kind == "hardlink":
            target = found.get(real.link) or below.get(real.link)
            if target is None or target.path in passed:
                raise SpecError(
                    f"{path.decode(errors='replace')!r} is a hard link to something that the image does not have",
                    where=where,
                    hint="build the image again",
                )
            passed.add(target.path)
            real = target
        yield path, replace(real, path=path)


def _linked(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield entries, sorted; of files that share their content in an archive, the later ones as links of the first."""
    first: dict[Region, bytes] = {}
    for entry in entries:
        if entry.kind != "file" or not isinstance(entry.content, Region) or not entry.size:
            yield entry
            continue
        keeper = first.setdefault(entry.content, entry.path)
        is_first = keeper == entry.path
        yield entry if is_first else replace(entry, kind="hardlink", link=keeper, size=0, content=None)
