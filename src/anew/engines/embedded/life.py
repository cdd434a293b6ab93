"""Whether an instance lives, and how it ended: read from its locks, its status file and the end of its log.

bubblewrap is two processes. The outer one waits, holds `status.json`, and writes into it the pid of the inner one and,
in the end, the exit code. The inner one is process 1 of the sandbox and holds `alive`; nothing of the sandbox survives
it. The application is a child of the inner one.

========  ========  =============  =================================================================================
`alive`   `status`  exit code      then
========  ========  =============  =================================================================================
held      held      not yet        it lives
held      free      not there      no program ever ran, or something killed the outer one: it counts as ended
held      any       there          it has ended, and left processes behind
free      held      not yet        it is just ending: wait
free      any       there          it has ended
free      free      not there      it never started, or something killed the outer one
========  ========  =============  =================================================================================

An application whose outer process was killed runs on, but nobody would learn how it ends. So the instance is replaced
like any that has ended, and what it left behind goes when it is removed.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anew.engines.embedded import locks, output, proc
from anew.model import Bytes, Seconds

SETTLING: Seconds = 2.0  # from the end of the inner process to the exit code in the status; measured: < 5 ms
TAIL: Bytes = 4096
UNKNOWN = "unknown"
REFUSED = "the sandbox did not start"

_NOT_EXECUTED = re.compile(r"bwrap: execvp (?P<program>.*): (?P<why>[^:\n]+)\n?\Z")
_MESSAGE = re.compile(r"(?:bwrap|anew): (?P<message>[^\n]+)\n?\Z")
NOT_FOUND, NOT_ALLOWED = "command not found", "command can't be executed"


@dataclass(frozen=True, slots=True)
class Life:
    """What is known of one instance now."""

    is_alive: bool
    pid: int  # of the inner process; 0 if not known (yet)
    code: int | None = None  # as bubblewrap reports it: 128 + N for signal N
    ended: str = ""
    is_present: bool = False  # processes of it are there, though the application may have ended
    is_final: bool = False  # nothing of this will ever change
    outer: int = 0  # pid of the outer process; 0 if not known (yet)


@dataclass(frozen=True, slots=True)
class Status:
    """What the outer process has written."""

    pid: int = 0
    code: int | None = None


def read(place: Path, before: Life | None = None) -> Life | None:
    """Return the life of the instance whose files are in `place`; None if it never started.

    `before` is what an earlier look found: of one that lived, and holds both its locks, nothing else need be read.

    Blocks  while it is just ending, at most `SETTLING`.
    """
    if (
        before is not None
        and before.outer
        and locks.is_held(f"{place}/alive")
        and locks.is_held(f"{place}/status.json")
    ):
        return before
    is_inner = locks.is_held(place / "alive")
    status = read_status(place)
    if status.code is None and not is_inner:
        is_settled = locks.until(lambda: not locks.is_held(place / "status.json"), SETTLING)
        status = read_status(place)
        if status.code is None:
            ended = why(place) or (UNKNOWN if status.pid else "")
            return Life(is_alive=False, pid=status.pid, ended=ended, is_final=is_settled) if ended else None
    if status.code is None:
        if locks.is_held(place / "status.json"):
            return Life(is_alive=True, pid=status.pid, is_present=True, outer=proc.parent(status.pid))
        status = read_status(place)  # what it wrote just before it went
    if status.code is None:
        return Life(is_alive=False, pid=status.pid, ended=why(place) or UNKNOWN, is_present=True)
    return Life(
        is_alive=False,
        pid=status.pid,
        code=status.code,
        ended=sentence(status.code),
        is_present=is_inner,
        is_final=not is_inner,
    )


def read_status(place: Path) -> Status:
    """Return what the outer process has written so far."""
    try:
        text = (place / "status.json").read_text("utf-8")
    except FileNotFoundError:
        return Status()
    return parse_status(text)


def parse_status(text: str) -> Status:
    r"""Read the documents of bubblewrap's ``--json-status-fd``, a line each; one that is half written is left out.

    >>> parse_status('{ "child-pid": 7 }\n{ "exit-code": 3 }\n{ "ex')
    Status(pid=7, code=3)
    """
    known: dict[str, Any] = {}
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            known |= _document(line)
    code = known.get("exit-code")
    return Status(int(known.get("child-pid", 0)), None if code is None else int(code))


def _document(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # the machine went down while it was written
        return {}
    return found if isinstance(found, dict) else {}


def why(place: Path) -> str:
    """Return why no program of the instance ever ran, from the end of its log; "" if the log does not tell."""
    text = output.last_text(place / "output.log", TAIL)
    return not_executed(text) or (f"{REFUSED}: {found}" if (found := message(text)) else "")


def not_executed(text: str) -> str:
    r"""Return how bubblewrap's `text` says that the command could not be executed, in our words; "" if it does not.

    >>> not_executed("bwrap: execvp nosuch: No such file or directory\n")
    'command not found: nosuch'
    """
    match = _NOT_EXECUTED.search(text)
    if match is None:
        return ""
    if match["why"] == os.strerror(2):
        return f"{NOT_FOUND}: {match['program']}"
    return f"{NOT_ALLOWED}: {match['program']} ({match['why'].lower()})"


def message(text: str) -> str:
    """Return bubblewrap's own complaint at the end of `text`, or that before it began; "" if there is none."""
    match = _MESSAGE.search(text)
    return match["message"] if match else ""


def signal_of(code: int) -> int:
    """Return the signal that an exit code stands for, as shells and bubblewrap have it; 0 if it is a plain code.

    >>> signal_of(137), signal_of(1)
    (9, 0)
    """
    return code - 128 if code > 128 and code - 128 in {int(one) for one in signal.Signals} else 0


def sentence(code: int) -> str:
    """Say how an application with this exit code ended.

    >>> sentence(3), sentence(137)
    ('exit code 3', 'signal 9 (SIGKILL)')
    """
    number = signal_of(code)
    return f"signal {number} ({signal.Signals(number).name})" if number else f"exit code {code}"
