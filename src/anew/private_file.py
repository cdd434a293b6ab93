"""A file that its owner alone may read, made once: whole or not at all, and never overwritten."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_once(path: Path, data: bytes) -> None:
    """Make a file with this content, durable, and its folder if need be; one that is there is left as it is.

    Of several who do so at once one is first, and all find the same file afterwards.
    Raises  OSError if it can't be made; then nothing is left.
    """
    import tempfile  # noqa: PLC0415 - most find the file there

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".key-", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(name, path)
    finally:
        Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
