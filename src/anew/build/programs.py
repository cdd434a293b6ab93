"""Running one program that builds: its output line by line as it comes, its end as a value."""

from __future__ import annotations

import codecs
import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from anew.errors import EngineError
from anew.ports import Say

TAIL = 20  # lines that an error shows
_LINE_END = re.compile(r"[\r\n]+")
_PDEATHSIG = 1  # PR_SET_PDEATHSIG of prctl(2)
_CHILD = re.compile(rb'"child-pid": *(\d+)')
_PATIENCE = 30_000  # milliseconds that a killed process may take to end
_MOST = 4096  # characters of a line; longer ones are cut into several
_HELD = 1 << 16  # of the end of a long line that is masked: what may be the first part of what is to be masked

Mask = Callable[[str], str]  # of a line, without what nobody may see


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


class Inside:
    """The first process inside a sandbox, which bubblewrap ends on its own and does not wait for.

    `status` is a descriptor for its ``--json-status-fd``.
    """

    def __init__(self) -> None:
        self._reader, self.status = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for one in (self._reader, self.status):
            os.close(one)

    def wait(self) -> None:
        """Wait until nothing runs in there any more; to be called when bubblewrap has ended.

        Raises  EngineError if something does for longer than can be: what it made is not all that it makes.
        """
        os.set_blocking(self._reader, False)
        with suppress(BlockingIOError):
            found = _CHILD.search(os.read(self._reader, 1 << 12))
            if found is not None and not _has_ended(int(found[1])):
                raise EngineError(
                    "something that a build step started goes on running",
                    hint="see what it is, and let the step wait for it",
                    facts={"command": f"ps -o pid,stat,args --ppid {int(found[1])}"},
                )


def _has_ended(pid: int) -> bool:
    """Wait for a process that was killed, and all of its namespace with it; say whether it has ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return bool(poll.poll(_PATIENCE))
    finally:
        os.close(process)


def streamed(
    argv: Sequence[str],
    environment: Mapping[str, str],
    say: Say,
    folder: Path | None = None,
    *,
    passing: Sequence[int] = (),
    mask: Mask | None = None,
) -> Ended:
    """Run a program with exactly this environment, nothing on its standard input, and of our descriptors `passing`.

    It runs in `folder`, or else where we are. What it prints is shown, and returned, as `mask` lets it be seen.

    Blocks  until it has ended. If the caller is interrupted it is killed first.
    """
    tail: deque[str] = deque(maxlen=TAIL)

    def tell(line: str) -> None:
        tail.append(line)
        say(line)

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
                for line in _lines(program.stdout.fileno(), mask):
                    tell(line)
            return Ended(program.wait(), tuple(tail))
        except BaseException:
            program.kill()
            raise


def _lines(file: int, mask: Mask | None) -> Iterator[str]:
    """Yield the lines that can be read, masked, and longer ones in pieces, none of which is cut out of a mask."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    held = _HELD if mask else 0
    hidden = mask or str
    while chunk := os.read(file, 1 << 16):
        *lines, rest = _LINE_END.split(rest + decoder.decode(chunk))
        yield from map(hidden, lines)
        if len(rest) > _MOST + held:
            rest = hidden(rest)
            at = max(len(rest) - held, 0)
            if at:
                yield rest[:at]
            rest = rest[at:]
    rest += decoder.decode(b"", final=True)
    if rest:
        yield hidden(rest)
