"""Secrets on their way into an instance, in anonymous memory all along.

Rules

1. A value is asked for when its instance is about to be started, and kept by nobody here.
2. It travels in a memory file of its own, which bubblewrap copies into a tmpfs inside the sandbox. Unlike a pipe, such
   a file holds a value of any size at once, and needs nobody to write on while bubblewrap reads.
3. So it is in no argument, variable, record or log, and in no file of the disk. Both processes of bubblewrap have
   closed the file when the application begins; `Revealed.close` closes it here as soon as they have it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from anew.errors import SpecError, Unsupported
from anew.model import Order, Pin, Scope

FOLDER = "/run/secrets"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of one file: no way out of the folder

Reveal = Callable[[Scope, Pin], bytes]  # the value that a pin stands for; raises an error of `anew.errors` if none


@dataclass(slots=True)
class Revealed:
    """The open files with the values of one order, by path inside."""

    files: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """Let go of the values; a second time does nothing."""
        while self.files:
            os.close(self.files.popitem()[1])


@contextmanager
def of(order: Order, reveal: Reveal) -> Iterator[Revealed]:
    """Yield the secrets of `order`; closed at the end, if not before.

    Raises  what `reveal` raises; SpecError for a name that can't be a file's.
    """
    found = Revealed()
    try:
        for pin in order.secrets:
            if not NAME.fullmatch(pin.name):
                raise SpecError(f"{pin.name!r} can't be the name of a secret", where=order.name, hint="choose another")
            found.files[str(PurePosixPath(FOLDER, pin.name))] = _memory_file(reveal(order.scope, pin))
        yield found
    finally:
        found.close()


def nothing(scope: Scope, pin: Pin) -> bytes:
    """Refuse, where an engine was given nobody to ask."""
    raise Unsupported(
        f"secret {pin.name} v{pin.version} of {scope} can't be had: this engine was given no vault",
        hint="give the engine `reveal`",
    )


def _memory_file(value: bytes) -> int:
    fd = os.memfd_create("secret")  # closed on exec, but where it is handed over
    try:
        left = memoryview(value)
        while left:
            left = left[os.write(fd, left) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
