"""How a signal ends a command: as ^C does, so that whatever is half-made is cleaned up on the way out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Let being asked to end, and the loss of the terminal, be as ^C is; then the process ends by that signal.

    What is ignored, as `nohup` has it, stays so. A command may have handlers of its own meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        if len(told) == 1:  # another one must not end the cleaning up
            raise KeyboardInterrupt

    ours = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for one in ours:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)
    if told:
        os.kill(os.getpid(), told[0])
