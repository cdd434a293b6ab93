"""Running one program that builds: its output line by line as it comes, its end as a value."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anew.ports import Say

TAIL = 20  # lines that an error shows
_LINE_END = re.compile(rb"[\r\n]+")
_PDEATHSIG = 1  # PR_SET_PDEATHSIG of prctl(2)
_MOST = 4096  # bytes of a line; longer ones are cut into several


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (-N for signal N) and its last lines."""

    code: int
    tail: tuple[str, ...]

    @property
    def output(self) -> str:
        """The last lines as one text."""
        return "\n".join(self.tail)


def die_with_parent() -> None:
    """Let the kernel end this process when the one that started it dies, however it does.

    What a killed build started must not go on without it.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def dying(argv: Sequence[str]) -> list[str]:
    """Return a command line whose program is asked to end when the process that starts it dies.

    The sandbox needs none of this: bubblewrap kills what is inside.
    """
    tool = shutil.which("setpriv")
    return [tool, "--pdeathsig", "TERM", "--", *argv] if tool else list(argv)


def dying_whole(argv: Sequence[str]) -> list[str]:
    """Return a command line whose program is killed, with all that it started, when the process that starts it dies.

    For root alone: the program is process 1 of a namespace of its own, and with it the kernel ends the others.
    """
    tools = shutil.which("setpriv"), shutil.which("unshare")
    if os.geteuid() != 0 or not all(tools):
        return dying(argv)
    alone = ("--pid", "--fork", "--kill-child", "--mount-proc")
    return [str(tools[0]), "--pdeathsig", "KILL", "--", str(tools[1]), *alone, "--", *argv]


def streamed(
    argv: Sequence[str],
    environment: Mapping[str, str],
    say: Say,
    folder: Path | None = None,
    *,
    passing: Sequence[int] = (),
) -> Ended:
    """Run a program with exactly this environment, nothing on its standard input, and of our descriptors `passing`.

    It runs in `folder`, or else where we are.

    Blocks  until it has ended. If the caller is interrupted it is killed first.
    """
    tail: deque[str] = deque(maxlen=TAIL)

    def tell(line: bytes) -> None:
        text = line.decode(errors="replace")
        tail.append(text)
        say(text)

    with subprocess.Popen(
        argv,
        cwd=folder,
        pass_fds=tuple(passing),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        umask=0o022,
    ) as program:
        try:
            if program.stdout is not None:
                rest = b""
                while chunk := os.read(program.stdout.fileno(), 1 << 16):
                    *lines, rest = _LINE_END.split(rest + chunk)
                    if len(rest) > _MOST:
                        lines, rest = [*lines, rest], b""
                    for line in lines:
                        tell(line)
                if rest:
                    tell(rest)
            return Ended(program.wait(), tuple(tail))
        except BaseException:
            program.kill()
            raise
