"""What is mounted where, as /proc/PID/mountinfo tells it. Pure.

Source  proc_pid_mountinfo(5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount, as the process sees it whose file it is from."""

    place: str
    device: str
    root: str  # the part of its file system that is mounted
    kind: str
    is_writable: bool
    is_slave: bool  # what is mounted elsewhere shows up in it by itself


def parsed(text: str) -> Iterator[Mount]:
    """Yield the mounts in the text of a mountinfo file, in its order.

    >>> [one.place for one in parsed("31 23 0:28 / /a rw - tmpfs tmpfs rw")]
    ['/a']
    """
    for line in text.splitlines():
        parts = line.split()
        end = parts.index("-")
        is_slave = any(one.startswith("master:") for one in parts[6:end])
        yield Mount(
            place=plain(parts[4]),
            device=parts[2],
            root=plain(parts[3]),
            kind=parts[end + 1],
            is_writable="rw" in parts[5].split(","),
            is_slave=is_slave,
        )


def differences(before: Sequence[Mount], now: Sequence[Mount], machine: Sequence[Mount]) -> Iterator[str]:
    """Yield a line for each mount that came, went or can be written to since; `machine` has the machine's own.

    What the machine mounts or takes away shows inside by itself, where the machine's own root is seen: nobody did that.
    """
    there = {(one.device, one.root, one.place) for one in machine}
    known = {one.place for one in before}
    could = {(one.place, one.device, one.root) for one in before if one.is_writable}
    left = [(one.place, one.device, one.root) for one in before]
    for one in now:
        at = (one.place, one.device, one.root)
        if at in left:
            left.remove(at)
            if one.is_writable and at not in could:
                yield "its root can be written to" if one.place == "/" else f"{one.place} can be written to"
        elif not (one.is_slave and (one.device, one.root, one.place) in there):
            way = "over" if one.place in known else "at"
            yield f"something was mounted {way} {one.place} ({one.kind})"
    slaves = {(one.place, one.device, one.root) for one in before if one.is_slave}
    for place, device, root in left:
        if (place, device, root) not in slaves or (device, root, place) in there:
            yield f"{place} is not mounted any more"


def plain(path: str) -> str:
    r"""Return a path as it is: the kernel writes blanks as numbers.

    >>> plain(r"/a\040b")
    '/a b'
    """
    return path.encode("latin-1", "replace").decode("unicode_escape") if "\\" in path else path
