"""What an instance is given besides its image, in a folder in memory: its secrets, and a name for its uid.

Rules
    1  ``/run/anew/STATE/TOKEN/`` is on a tmpfs; where /run is none, one is mounted on /run/anew.
    2  A value is written there when its instance is about to be started, as the instance's own file, and goes when the
       instance has ended. It is in no label, variable, log or message.
    3  The token is drawn by lot: a program that reads its own mounts does not learn which instance it is.
    4  What belongs to no container goes when the next launcher comes by: a folder names the process that made it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anew.core.digest import digest, short
from anew.engines.docker.body import Bind
from anew.engines.embedded import locks
from anew.engines.embedded.revealed import FOLDER, NAME, Reveal
from anew.errors import EngineError, SpecError
from anew.model import Order, Seconds

RUN = Path("/run/anew")
LAUNCHER = "launcher"
MAKING: Seconds = 120.0  # from the first file of an instance to its container; the engine answers sooner, or never
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A folder that was made, and what of it is bound into the container."""

    token: str
    binds: tuple[Bind, ...]


class Fittings:
    """The folders of the instances of one state; `accounts` gives the lists of accounts of an image."""

    def __init__(self, owner: str, reveal: Reveal, top: Path = RUN) -> None:
        self._top = top
        self._folder = top / short(digest(owner))
        self._reveal = reveal

    def make(self, order: Order, uid: int, launcher: str, files: Collection[tuple[str, bytes]]) -> Fitted:
        """Make the folder of an instance: its secrets, and `files` (path inside, content) for all to read.

        Raises  what `reveal` raises; SpecError for a secret with a name that can't be a file's.
        """
        if not order.secrets and not files:
            return Fitted("", ())
        values = [(pin.name, self._value(order, pin.name, n)) for n, pin in enumerate(order.secrets)]
        self._prepare()
        token = secrets.token_hex(16)
        place = self._folder / token
        place.mkdir(mode=0o711)
        (place / LAUNCHER).write_text(launcher, "ascii")
        binds = []
        try:
            for number, (path, data) in enumerate(files):
                _write(place / str(number), data, 0o444, 0)
                binds.append(Bind(str(place / str(number)), path))
            if values:
                inside = place / "secrets"
                inside.mkdir(mode=0o700)
                for name, value in values:
                    _write(inside / name, value, 0o400, uid)
                os.chown(inside, uid, uid)
                inside.chmod(0o500)
                binds.append(Bind(str(inside), FOLDER))
        except BaseException:
            self.remove(token)
            raise
        return Fitted(token, tuple(binds))

    def remove(self, token: str) -> None:
        """Remove the folder of an instance; success if it is gone."""
        if token and "/" not in token:
            shutil.rmtree(self._folder / token, ignore_errors=True)

    def sweep(self, used: Collection[str], is_at_work: Callable[[str], bool]) -> None:
        """Remove the folders that belong to no container, and to no launcher that is about to make one."""
        for place in _folders(self._folder):
            if place.name in used:
                continue
            try:
                launcher = (place / LAUNCHER).read_text("ascii")
            except FileNotFoundError:  # its launcher is about to write its name, or was
                launcher = ""
            is_given_up = bool(launcher) and not is_at_work(launcher)
            if is_given_up or _age(place) > MAKING:
                self.remove(place.name)

    def _value(self, order: Order, name: str, number: int) -> bytes:
        if not NAME.fullmatch(name):
            raise SpecError(f"{name!r} can't be the name of a secret", where=order.name, hint="choose another")
        return self._reveal(order.scope, order.secrets[number])

    def _prepare(self) -> None:
        if self._folder.is_dir() and is_in_memory(self._folder):
            return
        self._top.mkdir(mode=0o711, parents=True, exist_ok=True)
        with _held(self._top):
            if not is_in_memory(self._top):
                _mount(self._top)
            self._folder.mkdir(mode=0o711, exist_ok=True)


def is_in_memory(path: Path) -> bool:
    """Say whether a folder lies on a tmpfs."""
    found = ("", "")
    for line in _MOUNTS.read_text("utf-8", errors="replace").splitlines():
        parts = line.split()
        place, kind = parts[4], parts[parts.index("-") + 1]
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind)
    return found[1] in {"tmpfs", "ramfs"}


@contextmanager
def _held(top: Path) -> Iterator[None]:
    with locks.holding(top.with_name(f".{top.name}.lock")):
        yield


def _mount(top: Path) -> None:
    line = ["mount", "-t", "tmpfs", "-o", "mode=0711,nosuid,nodev,noexec", "anew", str(top)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(
            f"secrets have no place in memory: {done.stderr.strip()}",
            where=str(top),
            hint="mount a tmpfs there",
            facts={"command": " ".join(line)},
        )


def _write(path: Path, data: bytes, mode: int, uid: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - it is open
        file.write(data)
        os.fchown(fd, uid, uid)
        os.fchmod(fd, mode)


def _age(place: Path) -> Seconds:
    try:
        return time.time() - place.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _folders(top: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(one for one in top.iterdir() if one.is_dir()))
    except FileNotFoundError:
        return ()
