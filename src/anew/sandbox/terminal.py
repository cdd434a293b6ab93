"""A shell in a sandbox, on the terminal of whoever asks for it.

The group of processes that has the terminal has no number inside. So a shell that is started there finds 0, and when
it is left it can't give the terminal back: dash takes that for an error, and ends with 2. Hence another shell is
between: it takes the terminal for a group inside, to which the one in front gives it back, and never leaves by itself.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

SHELL = ("/bin/sh",)
_BETWEEN = """exec 5>&1 6>&2 2>/dev/null
code=$(/bin/sh -mc '/bin/sh >&5 2>&6 5>&- 6>&-; echo $?; kill -9 $$')
exit "$code"
"""


def fitted(command: Sequence[str], file: int = 0) -> tuple[str, ...]:
    """Return a command as it is to be run with `file` as its standard input: another one for a shell on a terminal."""
    return (*SHELL, "-c", _BETWEEN) if tuple(command) == SHELL and os.isatty(file) else tuple(command)


@contextmanager
def lent(file: int = 0) -> Iterator[None]:
    """Take the terminal `file` back from who had it within the block, if it was ours; nothing if it is none."""
    had = -1
    with suppress(OSError):  # no terminal, or not that of our session
        had = os.tcgetpgrp(file)
    try:
        yield
    finally:
        if had == os.getpgrp():
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # who has no terminal is stopped else
            try:
                with suppress(OSError):  # the terminal is gone
                    os.tcsetpgrp(file, had)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
