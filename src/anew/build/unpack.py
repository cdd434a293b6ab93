"""A layer as a folder that the kernel's overlay can stack.

Whiteouts become character devices 0:0 and opaque folders get ``user.overlay.opaque``, as an overlay mounted with
`userxattr` wants them. As root, owners are as in the layer; as an ordinary user everything is that user's, and what a
user can't make (devices, capabilities) is left out: a sandbox brings its own /dev and grants no capabilities.
"""

# Paths are bytes here, as the kernel has them: a name need not be text.
# ruff: noqa: PTH101, PTH102, PTH104, PTH211
from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from anew.build.archive import layer_members
from anew.build.entries import OPAQUE, OPAQUE_ATTRIBUTE, WHITEOUT, Entry, chunks
from anew.build.epoch import clamped

_OF_IMAGES = ("user.", "trusted.", "security.capability", "system.posix_acl_")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(layer: Path, target: Path) -> None:
    """Unpack a canonical layer into `target`, an empty folder of ours. Hard links within it stay hard links."""
    _lay_out(layer_members(layer), target, _make)


def settle(packed: Iterable[Entry], target: Path) -> None:
    """Make in `target`, an empty folder of ours, what unpacking a layer makes that was just packed of these entries.

    Files are moved there instead of being written; nobody may have them open. Everything else is made anew, in the same
    order: so folders list their names as those of an unpacked layer do.
    Raises  OSError where they can't be moved, as from another disk.
    """
    _lay_out(sorted(packed, key=lambda e: e.path), target, _move)


def _lay_out(entries: Iterable[Entry], target: Path, place: Callable[[Entry, bytes], None]) -> None:
    is_root = os.geteuid() == 0
    # Root of a user namespace owns files of all its uids, but makes no devices.
    may_make_devices = is_root and is_initial_namespace()
    root = os.fsencode(target)
    folders: list[Entry] = []
    for entry in entries:
        full = root + b"/" + entry.path
        folder, _, name = full.rpartition(b"/")
        if name == OPAQUE:
            os.setxattr(folder, OPAQUE_ATTRIBUTE, b"y")
        elif name.startswith(WHITEOUT):
            os.mknod(folder + b"/" + name.removeprefix(WHITEOUT), stat.S_IFCHR, os.makedev(0, 0))
        elif entry.kind == "hardlink":
            os.link(root + b"/" + entry.link, full, follow_symlinks=False)
        elif entry.kind == "dir":
            os.mkdir(full, 0o700)
            folders.append(entry)
        elif entry.kind not in ("char", "block") or may_make_devices:
            place(entry, full)
            _dress(entry, full, is_root=is_root)
    # Folders get their modes and times last: filling them changes times, and some may not be written to.
    for entry in reversed(folders):
        _dress(entry, root + b"/" + entry.path, is_root=is_root)
    target.chmod(0o755)


def _move(entry: Entry, full: bytes) -> None:
    if not isinstance(entry.content, Path):
        _make(entry, full)
        return
    os.rename(entry.content, full)
    for name in os.listxattr(full):
        if name.startswith(_OF_IMAGES):  # others, as labels, are the machine's own
            os.removexattr(full, name)


def _make(entry: Entry, full: bytes) -> None:
    match entry.kind:
        case "file":
            fd = os.open(full, _NEW, 0o600)
            try:
                for chunk in chunks(entry):
                    _write(fd, chunk)
            finally:
                os.close(fd)
        case "symlink":
            os.symlink(entry.link, full)
        case "fifo":
            os.mkfifo(full, 0o600)
        case _:
            kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
            os.mknod(full, kind | 0o600, os.makedev(*entry.device))


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _dress(entry: Entry, full: bytes, *, is_root: bool) -> None:
    if is_root:
        os.chown(full, entry.uid, entry.gid, follow_symlinks=False)
    # After the owner, whose change takes capabilities away; before the mode, which may forbid its owner to write.
    for name, value in entry.xattrs:
        if is_root or name.startswith("user."):
            os.setxattr(full, name, value, follow_symlinks=False)
    if entry.kind != "symlink":
        os.chmod(full, entry.mode)
    mtime = clamped(entry.mtime)
    os.utime(full, (mtime, mtime), follow_symlinks=False)


def is_initial_namespace() -> bool:
    """Say whether uids here are those of the machine, and not of a user namespace."""
    first, outside, length = Path("/proc/self/uid_map").read_text(encoding="ascii").split()[:3]
    return (first, outside) == ("0", "0") and int(length) == 2**32 - 1
