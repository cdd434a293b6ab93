"""What an edge needs of a HAProxy that can be run, wherever it comes from: a file of this machine, or an image.

However it is started, its processes are seen on this machine under their own ids, and are known by their command line
(`anew.edge.process`). So only who runs it differs; looking, telling and ending are the same for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anew.core.digest import digest
from anew.errors import EngineError, Unsupported
from anew.model import Outcome, Seconds

if TYPE_CHECKING:
    from anew.edge.find import Haproxy

STARTS_WITHIN: Seconds = 15.0


class Program(Protocol):
    """One HAProxy. Arguments are HAProxy's own; paths in them mean the same as on this machine."""

    def identity(self) -> str:
        """Return a digest that no other program has; "" if there is none to be had now, so what runs goes on.

        Raises  EngineError if it can't be told.
        """
        ...

    def run(self, arguments: Sequence[str], limit: Seconds) -> Outcome:
        """Run it to its end, beside what serves.

        Raises  Unsupported if there is no such program; EngineError if it can't be run.
        """
        ...

    def launch(self, name: str, arguments: Sequence[str], log: Path) -> None:
        """Start it so that it outlives this process, its output at the end of `log`.

        No other launch of the same edge that has not ended yet has its `name`.
        Blocks  until it runs, not until it serves.
        Raises  Unsupported if there is no such program; Conflict if somebody else has what it needs; EngineError if it
                does not start.
        """
        ...

    def clear(self) -> None:
        """Remove what is left of launches that have ended; what runs is not touched. Idempotent."""
        ...

    def pasteable(self, arguments: Sequence[str]) -> str:
        """Return the command line with these arguments that a person can paste into a shell."""
        ...


class LocalProgram:
    """A HAProxy of this machine; looked for when it is first needed, by `anew.edge.find` if nobody says how."""

    def __init__(self, find: Callable[[], Haproxy] | None = None) -> None:
        self._find = find
        self._found: tuple[str, Haproxy] | None = None

    def identity(self) -> str:
        """Return a digest of where the program lies and which file that is; see `Program`."""
        try:
            return self._program()[0]
        except Unsupported:
            return ""

    def run(self, arguments: Sequence[str], limit: Seconds) -> Outcome:
        """See `Program`."""
        import subprocess  # noqa: PLC0415 - who only looks at an edge starts nothing

        program = self._program()[1]
        try:
            done = subprocess.run(
                [program.path, *arguments],
                cwd="/",
                env=program.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise EngineError(
                f"HAProxy can't be run: {cause}", facts={"command": program.pasteable(*arguments)}
            ) from cause
        return Outcome(done.returncode, done.stderr + done.stdout)

    def launch(self, name: str, arguments: Sequence[str], log: Path) -> None:  # noqa: ARG002 - a process has no name
        """Start it in a session of its own, as nobody's child, with nothing of this process; see `Program`."""
        import subprocess  # noqa: PLC0415 - see `run`

        program = self._program()[1]
        try:
            with log.open("ab") as out:
                subprocess.run(
                    ["setsid", "--fork", str(program.path), *arguments],
                    cwd="/",
                    env=program.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    timeout=STARTS_WITHIN,
                    check=True,
                )
        except (OSError, subprocess.SubprocessError) as cause:
            raise EngineError(
                f"HAProxy can't be started: {cause}", facts={"command": program.pasteable(*arguments)}
            ) from cause

    def clear(self) -> None:
        """Do nothing: a process that has ended leaves nothing."""

    def pasteable(self, arguments: Sequence[str]) -> str:
        """See `Program`."""
        return self._program()[1].pasteable(*arguments)

    def _program(self) -> tuple[str, Haproxy]:
        """Return the program and its identity, looked for again if its file is another one by now."""
        if self._found is None or self._found[0] != _identity(self._found[1]):
            if self._find is None:
                from anew.edge.find import find  # noqa: PLC0415 - who only looks at an edge needs no program

                self._find = find
            found = self._find()
            self._found = _identity(found), found
        return self._found


def _identity(program: Haproxy) -> str:
    """Return a digest of the file as it is now; "" if it is gone."""
    try:
        at = os.stat(program.path)  # noqa: PTH116 - what a link leads to
    except OSError:
        return ""
    return digest([str(program.path), program.libraries, at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns])
