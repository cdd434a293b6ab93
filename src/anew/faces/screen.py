"""Where output goes: standard output as text, terminal or JSON, standard error for what is no answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from anew.errors import EngineError
from anew.faces.blocks import visible
from anew.faces.render import as_json, plain

if TYPE_CHECKING:
    from anew.faces.blocks import Block

STDOUT, STDERR = 1, 2  # descriptors: standard output belongs to JSON, where that is the answer


class UnwritableError(EngineError):
    """What a command says can't be written where it goes to."""


def is_terminal(stream: TextIO) -> bool:
    """Say whether a person looks at `stream` through a terminal that can draw."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def has_colour(stream: TextIO) -> bool:
    """Say whether `stream` may be coloured; see no-color.org."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def show(blocks: Iterable[Block]) -> None:
    """Show blocks: by Rich on a terminal, else as plain text."""
    if is_terminal(sys.stdout):
        from anew.faces import terminal  # only a terminal pays for Rich

        terminal.show(blocks)
    else:
        say(plain(blocks))


def show_json(value: object) -> None:
    """Print the one JSON document of a command."""
    say(as_json(value))


def say(text: str) -> None:
    """Print a line of an answer, at once. Raises UnwritableError if nothing takes it."""
    _write(sys.stdout, f"{text}\n")


def note(text: str) -> None:
    """Print a line that is no answer: progress while standard output belongs to JSON, and advice. Raises as `say`."""
    _write(sys.stderr, f"{text}\n")


def flush() -> None:
    """Write what libraries printed on standard output and nothing took so far. Raises as `say`."""
    _write(sys.stdout, "")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # whoever reads has read enough
        raise
    except OSError as cause:
        give_up(stream)
        raise UnwritableError(
            f"the output can't be written: {cause.strerror}",
            where="standard output" if stream is sys.stdout else "standard error",
            hint="free some space where it goes to, or let it go elsewhere",
        ) from cause


def give_up(stream: TextIO) -> None:
    """Let a stream go nowhere from now on, with what it still holds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    with suppress(OSError):
        stream.flush()


def log_line(text: str) -> str:
    """Return a line of a program's output as it may be shown: raw to a file or pipe, made visible on a terminal."""
    return visible(text) if is_terminal(sys.stdout) else text
