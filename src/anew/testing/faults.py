"""PUBLIC: faults for tests, asked for by the environment variable ``ANEW_FAULT``.

``kill:before:7`` ends the keeper by SIGKILL right before it carries out its seventh step, ``kill:after:7`` right after.
``trace`` ends nothing and writes a line per step to standard error. Steps are counted over the life of the process.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable

from anew.core.steps import Step
from anew.errors import SpecError

TRACE = "step:"
MARK = "fault: killed"  # what a keeper writes to its log right before


def around(asked: str) -> Callable[[str, Step], None]:
    """Return a function to be called with "before" or "after" and each step; it carries out the fault `asked` for.

    Raises  SpecError if `asked` is not like ``kill:before:7``.
    """
    match asked.split(":"):
        case ["trace"]:
            return _trace
        case ["kill", ("before" | "after") as moment, number] if number.isdecimal():
            return _Killer(moment, int(number))
    raise SpecError(f"ANEW_FAULT={asked!r} is no fault", hint="it is like kill:before:7 or kill:after:7")


def _trace(moment: str, step: Step) -> None:
    if moment == "before":
        os.write(2, f"{TRACE} {step.describe()}\n".encode())


class _Killer:
    def __init__(self, moment: str, number: int) -> None:
        self._moment = moment
        self._number = number
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self, moment: str, step: Step) -> None:
        if moment != self._moment:
            return
        with self._lock:
            if next(self._count) == self._number:
                os.write(2, f"{MARK} {moment} step {self._number}: {step.describe()}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
