"""How a command ends that did not end well: one message, on the right stream, and the exit code that belongs to it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from anew.errors import Bug, SpecError
from anew.faces import screen
from anew.faces.render import error_json, error_text

if TYPE_CHECKING:
    from anew.errors import AnewError

INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
PIPE_CLOSED = 141  # 128 + SIGPIPE


def report(error: AnewError, *, is_json: bool) -> int:
    """Show an error, to people on standard error and as JSON on standard output; return its exit code.

    One of standard output itself is shown on standard error; if that can't be written either, the exit code says all.
    """
    if is_json and not isinstance(error, screen.UnwritableError):
        try:
            screen.say(error_json(error))
        except screen.UnwritableError as unwritable:
            return report(unwritable, is_json=False)
        return error.exit_code
    with suppress(screen.UnwritableError):
        screen.note(error_text(error, is_coloured=screen.has_colour(sys.stderr)))
    return error.exit_code


def usage(error: click.ClickException) -> SpecError:
    """Return what click says about the command line as an error of ours."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "anew"
    close = getattr(error, "possibilities", None)
    hint = f"did you mean `{min(close)}`?" if close else f"`{path} --help` shows what it takes"
    what = error.format_message().removesuffix(".").split("\n")[0]
    if isinstance(error, click.NoSuchOption):
        what = f"`{error.option_name}` is no option of `{path}`"
    return SpecError(what, where="command line", hint=hint)


def unwritten(error: OSError) -> AnewError:
    """Return an error of the system as one of ours: that the output can't be written, if it is this, else a bug."""
    try:
        screen.flush()
    except screen.UnwritableError as unwritable:
        return unwritable
    return bug(error)


def bug(error: Exception) -> Bug:
    """Return an exception that nobody expected as an error of ours, its traceback written to a file."""
    import tempfile
    import traceback

    trace = "".join(traceback.format_exception(error))
    what = f"anew broke one of its own rules: {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="anew-bug-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(trace)
    except OSError:
        return Bug(what, hint="report it with the traceback", facts={"traceback": trace})
    return Bug(what, hint="report it with the traceback that stands in that file", facts={"traceback": file.name})


def close_stdout() -> int:
    """Give up standard output, whose reader has gone; return the exit code for that."""
    screen.give_up(sys.stdout)
    return PIPE_CLOSED
