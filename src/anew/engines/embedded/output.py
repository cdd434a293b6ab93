"""The end of a log, without reading the rest; a log whose oldest part was freed begins after it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from anew.model import Bytes

BLOCK: Bytes = 65536


def last_text(path: Path, most: Bytes) -> str:
    """Return the last bytes of a file as text; "" if it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most))
            return file.read(most).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def last_lines(path: Path, count: int) -> tuple[str, ...]:
    """Return the last `count` lines of a file, oldest first; bytes that are no UTF-8 are replaced.

    Of a file that is gone meanwhile there are none.
    """
    if count <= 0:
        return ()
    try:
        data = _last_blocks(path, count)
    except FileNotFoundError:
        return ()
    text = data.decode("utf-8", errors="replace")
    return tuple(one.removesuffix("\r") for one in text.removesuffix("\n").split("\n")[-count:]) if text else ()


def _last_blocks(path: Path, count: int) -> bytes:
    """Return at least the last `count` lines, or all that there are."""
    with path.open("rb") as file:
        at, first = os.fstat(file.fileno()).st_size, beginning(file.fileno())
        blocks: list[bytes] = []
        breaks = 0
        while at > first and breaks <= count:
            size = min(BLOCK, at - first)
            at -= size
            file.seek(at)
            blocks.insert(0, file.read(size))
            breaks += blocks[0].count(b"\n")
    if first and at <= first and blocks:  # what is left of a line that was cut is none
        blocks[0] = blocks[0].partition(b"\n")[2]
    return b"".join(blocks)


def beginning(fd: int) -> Bytes:
    """Return where the first byte of a file stands that was not freed; its length if all were."""
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as e:
        if e.errno != errno.ENXIO:  # there is no data
            raise
        return os.fstat(fd).st_size
