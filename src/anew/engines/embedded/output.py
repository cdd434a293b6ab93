"""The end of a log, without reading the rest."""

from __future__ import annotations

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
    """Return the last `count` lines of a file, oldest first; bytes that are no UTF-8 are replaced."""
    if count <= 0:
        return ()
    with path.open("rb") as file:
        at = os.fstat(file.fileno()).st_size
        blocks: list[bytes] = []
        breaks = 0
        while at > 0 and breaks <= count:
            size = min(BLOCK, at)
            at -= size
            file.seek(at)
            blocks.insert(0, file.read(size))
            breaks += blocks[0].count(b"\n")
    text = b"".join(blocks).decode("utf-8", errors="replace")
    return tuple(one.removesuffix("\r") for one in text.removesuffix("\n").split("\n")[-count:]) if text else ()
