"""Who tries images now, and what those left who were killed meanwhile.

Rules

1. A trial has a serial, and a file of that name that is locked for as long as its process lives: the kernel frees the
   lock at death. The file is there before the first instance of the trial, and goes after the last one.
2. An instance of the gate whose trial nobody holds belongs to nobody: whoever comes next ends it.
3. Files are made, and looked at, under one lock: so none is seen before it is locked.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anew.model import Scope

if TYPE_CHECKING:
    from anew.ports import Compute

GATE = "gate"  # the environment of throwaway instances
LOCK = ".lock"
OWN = re.compile(r"-([0-9a-f]{8})(?:-t?[0-9]{1,4})?\Z")  # the serial in the name of an instance of the gate


@dataclass(frozen=True, slots=True)
class Throwaways:
    """The trials of one state; `owner` is its id. Safe to be used by threads and processes."""

    folder: Path
    owner: str

    @contextmanager
    def trial(self, project: str) -> Iterator[str]:
        """Yield the serial of a trial, 8 hexadecimal digits, which is under way until the end of the block."""
        serial = os.urandom(4).hex()
        path = self.folder / f"{project}.{serial}"
        with alone(self.folder):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield serial
            path.unlink(missing_ok=True)  # if an error came, something may still run: then whoever comes next looks
        finally:
            os.close(handle)

    def sweep(
        self, compute: Callable[[Scope], Compute], projects: Collection[str] = (), *, is_dry: bool = False
    ) -> tuple[str, ...]:
        """End and remove the instances of trials that nobody holds; return their names.

        Looks at `projects`, and at those of which a killed process left a trial. With `is_dry` it only looks.

        Idempotent. Blocks  until nothing of them runs.
        """
        dead = self._dead()
        found = []
        for project in sorted({*projects, *(name.partition(".")[0] for name in dead)}):
            scope = Scope(project, GATE, self.owner)
            engine = compute(scope)
            for name in [one.name for one in engine.instances(scope)]:
                if self._is_held(project, name):
                    continue
                found.append(name)
                if not is_dry:
                    engine.stop(name, 0.0)
                    engine.remove(name)
        if not is_dry:
            for name in dead:
                (self.folder / name).unlink(missing_ok=True)
        return tuple(found)

    def _dead(self) -> tuple[str, ...]:
        """Return the names of the trials that nobody holds any more."""
        if not self.folder.is_dir():
            return ()
        with alone(self.folder):
            names = sorted(one.name for one in self.folder.iterdir() if one.name != LOCK)
            return tuple(name for name in names if not is_locked(self.folder / name))

    def _is_held(self, project: str, instance: str) -> bool:
        serial = OWN.search(instance)
        if serial is None or not self.folder.is_dir():
            return False
        with alone(self.folder):
            return is_locked(self.folder / f"{project}.{serial[1]}")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock under which files of `folder` are made and looked at: for microseconds."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Say whether a living process holds a file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
