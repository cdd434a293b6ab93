"""The first lines of every command: what can be answered at once is answered before anything large is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anew import __version__

if TYPE_CHECKING:
    from anew.cases import Anew, Starter

VERSION_ASKED = (["--version"], ["-V"])


def main(
    argv: Sequence[str],
    open_anew: Callable[[Path | None], Anew],
    demo: Callable[[Sequence[str]], int],
    starter: Starter,
) -> int:
    """Run one command and return its exit code.

    `open_anew` takes the project's folder (None: the current one) and is called only by commands that need it; `demo`
    takes the arguments after ``demo``; `starter` writes the spec of a folder. Errors are shown, never raised.
    """
    if list(argv) in VERSION_ASKED:
        with suppress(OSError):  # what nothing takes is said below, in our words
            sys.stdout.write(f"anew {__version__}\n")
            sys.stdout.flush()
            return 0
    from anew.faces.cli import run  # `--version` must not pay for click
    from anew.faces.ending import as_interrupts

    with as_interrupts():
        return run(argv, open_anew, demo, starter)
