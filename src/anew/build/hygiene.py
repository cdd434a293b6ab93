"""Files that differ from build to build or from machine to machine, and say nothing about the image.

They are left out of operating-system heads and of what build steps make.
"""

from __future__ import annotations

import re

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
    """Return the entries without those that are volatile; the machine id is emptied."""
    pattern = _HEAD if is_head else _STEP
    kept = []
    for entry in entries:
        if entry.path == _EMPTY and entry.kind == "file":
            kept.append(Entry(path=_EMPTY, kind="file", mode=0o644, content=b""))
        elif not pattern.fullmatch(entry.path):
            kept.append(entry)
    return tuple(kept)
