"""Files that differ from build to build or from machine to machine, and say nothing about the image.

They are left out of operating-system heads and of what build steps make.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace

from anew.build.entries import OPAQUE, WHITEOUT, Entry
from anew.build.listing import Node, text

Lower = Callable[[], Mapping[str, Node]]  # the tree that the layers below show, by path; asked for only if need be
_VOLATILE = (
    r"var/log/(dpkg|alternatives|bootstrap|fontconfig)\.log",
    r"var/log/apt/.+",
    r"var/cache/ldconfig/aux-cache",  # holds inode numbers
    r"var/cache/apt/[^/]+\.bin",
    r"var/cache/apt/archives/.+",  # with its folders: their owner depends on how the head was made
    r"var/lib/apt/lists/.+",
    r"var/cache/debconf/[^/]+-old",
    r"var/lib/dpkg/[^/]+-old",
    r"var/lib/dbus/machine-id",
    r"var/lib/systemd/(random-seed|catalog/database)",
    r"etc/(passwd|group|shadow|gshadow|subuid|subgid)-",
    r"etc/ssh/ssh_host_[^/]+",  # one key for all instances would be no key
    r"root/\.wget-hsts",
)
_OF_MAKING = (  # of a head: what the tool that makes it leaves, and this machine's way to the packages
    r"etc/(hostname|resolv\.conf)",
    r"etc/apt/sources\.list",
    r"etc/apt/sources\.list\.d/.+",
    r"etc/apt/apt\.conf\.d/99mmdebstrap",
    r"dev/.+",
)
_STEP = re.compile("|".join(_VOLATILE).encode())
_HEAD = re.compile("|".join((*_VOLATILE, *_OF_MAKING)).encode())
_EMPTY = b"etc/machine-id"  # present, so that it can be mounted over; empty, as each instance is another machine


def clean(entries: tuple[Entry, ...], *, is_head: bool, lower: Lower = dict) -> tuple[Entry, ...]:
    """Return the entries without those that are volatile, and what is below them; the machine id is emptied.

    What takes away something that is there in `lower` stays, with the folders that it is in. Of hard links, the first
    that stays becomes the file.
    """
    pattern = _HEAD if is_head else _STEP
    removing = _removing(entries, pattern, lower)
    kept: list[Entry] = []
    gone: dict[bytes, Entry] = {}  # what was left out
    now: dict[bytes, bytes] = {}  # the paths of files of which only a link stays: where they are
    for entry in entries:
        if entry.path == _EMPTY and entry.kind in {"file", "hardlink"}:
            kept.append(Entry(path=_EMPTY, kind="file", mode=0o644, content=b""))
            gone[_EMPTY] = entry  # its links are another file
        elif pattern.fullmatch(entry.path) or _is_below(entry.path, gone):
            gone[entry.path] = entry
            if entry.path in removing:
                kept.append(entry)
        elif entry.kind == "hardlink" and entry.link in gone:
            kept.append(_standing_in(entry, gone, now))
        else:
            kept.append(entry)
    return tuple(kept)


def _removing(entries: Iterable[Entry], pattern: re.Pattern[bytes], lower: Lower) -> Container[bytes]:
    """Return the paths of those marks among what is volatile that hide something of `lower`, and of their folders."""
    marks = [one.path for one in entries if _is_mark(one.path) and _is_volatile(one.path, pattern)]
    if not marks:
        return ()
    there = lower()
    above = {path[:at] for path in there for at in range(len(path)) if path[at] == "/"}  # what has something in it
    found = set()
    for path in marks:
        folder, _, name = path.rpartition(b"/")
        hidden = folder + b"/" + name.removeprefix(WHITEOUT)
        if text(folder) in above if name == OPAQUE else text(hidden) in there:
            found.add(path)
            found.update(_above(path))
    return found


def _is_mark(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(WHITEOUT)


def _is_volatile(path: bytes, pattern: re.Pattern[bytes]) -> bool:
    return any(pattern.fullmatch(one) for one in (path, *_above(path)))


def _standing_in(link: Entry, gone: Mapping[bytes, Entry], now: dict[bytes, bytes]) -> Entry:
    """Return a hard link to what was left out, as the file itself; or as a link to the one that stands in for it."""
    file = gone[link.link]
    if file.path in now:
        return replace(link, link=now[file.path])
    now[file.path] = link.path
    return replace(file, path=link.path)


def _is_below(path: bytes, gone: Container[bytes]) -> bool:
    return any(one in gone for one in _above(path))


def _above(path: bytes) -> Iterator[bytes]:
    return (path[:at] for at in range(len(path)) if path[at : at + 1] == b"/")
