"""Files that differ from build to build or from machine to machine, and say nothing about the image.

They are left out of operating-system heads and of what build steps make.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import replace

from anew.build.entries import Entry

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


def clean(entries: tuple[Entry, ...], *, is_head: bool) -> tuple[Entry, ...]:
    """Return the entries without those that are volatile, and what is below them; the machine id is emptied.

    Of hard links, the first that stays becomes the file.
    """
    pattern = _HEAD if is_head else _STEP
    kept: list[Entry] = []
    gone: dict[bytes, Entry] = {}  # what was left out
    now: dict[bytes, bytes] = {}  # the paths of files of which only a link stays: where they are
    for entry in entries:
        if entry.path == _EMPTY and entry.kind in {"file", "hardlink"}:
            kept.append(Entry(path=_EMPTY, kind="file", mode=0o644, content=b""))
            gone[_EMPTY] = entry  # its links are another file
        elif pattern.fullmatch(entry.path) or _is_below(entry.path, gone):
            gone[entry.path] = entry
        elif entry.kind == "hardlink" and entry.link in gone:
            kept.append(_standing_in(entry, gone, now))
        else:
            kept.append(entry)
    return tuple(kept)


def _standing_in(link: Entry, gone: Mapping[bytes, Entry], now: dict[bytes, bytes]) -> Entry:
    """Return a hard link to what was left out, as the file itself; or as a link to the one that stands in for it."""
    file = gone[link.link]
    if file.path in now:
        return replace(link, link=now[file.path])
    now[file.path] = link.path
    return replace(file, path=link.path)


def _is_below(path: bytes, gone: Container[bytes]) -> bool:
    return any(path[:at] in gone for at in range(len(path)) if path[at : at + 1] == b"/")
