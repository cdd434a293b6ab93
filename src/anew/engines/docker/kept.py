"""What is kept of an instance when its container is gone: record, log and end, as the embedded engine keeps them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from anew.engines.embedded import output
from anew.engines.embedded.records import ENDED, Record


class Kept:
    """The folder ``<home>/instances/.ended``, which a collection looks at."""

    def __init__(self, instances: Path) -> None:
        self._folder = instances / ENDED

    def keep(self, record: Record, log: Iterable[bytes], code: int) -> None:
        """Write an instance's record and log down, complete or not at all. Idempotent: the newest counts."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = self._folder / f".{record.name}"
        shutil.rmtree(made, ignore_errors=True)  # of a process that was killed
        made.mkdir(mode=0o700)
        (made / "record.json").write_text(record.as_json(), "utf-8")
        with (made / "output.log").open("wb") as file:
            file.writelines(log)
            file.flush()
            os.fsync(file.fileno())
        (made / "status.json").write_text(json.dumps({"exit-code": code}) + "\n", "utf-8")
        shutil.rmtree(self._folder / record.name, ignore_errors=True)
        made.rename(self._folder / record.name)

    def lines(self, name: str, count: int) -> tuple[str, ...] | None:
        """Return the last lines of an instance that was removed; None if none of that name was."""
        path = self._folder / name / "output.log"
        return output.last_lines(path, count) if path.is_file() else None


def lines_of(data: bytes, count: int) -> tuple[str, ...]:
    r"""Return the last `count` lines of what was written; bytes that are no UTF-8 are replaced.

    >>> lines_of(b"one\ntwo\\n", 1)
    ('two',)
    """
    text = data.decode("utf-8", errors="replace")
    lines = text.removesuffix("\n").split("\n")[-count:] if text and count > 0 else []
    return tuple(one.removesuffix("\r") for one in lines)
