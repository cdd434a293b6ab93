"""The command that runs a service from its sources, and what it says in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from anew.faces import blocks, screen
from anew.faces.acts import Session
from anew.faces.blocks import Block, Tone, line
from anew.faces.options import shared

if TYPE_CHECKING:
    from anew.model.developed import Developed, Trace

_SHOWN = 40  # changed paths; JSON has them all
_TONES: dict[str, Tone] = {"created": "good", "changed": "warn", "deleted": "bad"}


@click.command("dev")
@click.argument("service")
@click.option("--shell", "is_shell", is_flag=True, help="Open a shell in it, as its root, instead of its command.")
@click.option("--no-restart", "is_once", is_flag=True, help="Do not start it again when a source changes, or it ends.")
@shared
@click.pass_obj
def _dev(session: Session, service: str, *, is_shell: bool, is_once: bool) -> int:
    """Run a service from the image that serves, with its sources mounted where `copy` puts them.

    It is started again when a source changes. In the end it says what was changed in the image's files by hand.
    """
    from anew.model.developed import Terminal

    output = screen.STDERR if session.is_json else screen.STDOUT
    terminal = Terminal(session.say, _shown(session), is_shell, not is_once, output)
    found = session.anew().develop(session.environment, service, terminal)
    session.answer(found, of_developed(found))
    return found.code if found.code >= 0 else 128 - found.code


def _shown(session: Session) -> Callable[[str], None]:
    def show(text: str) -> None:
        (screen.note if session.is_json else screen.say)(screen.log_line(text))

    return show


def of_developed(found: Developed) -> Iterator[Block]:
    """Show what was changed besides the sources."""
    if found.ended:
        yield line(f"{found.service} ended: {found.ended}", "bad" if found.ended != "exit code 0" else "")
    if not found.changes:
        yield line("nothing was changed but the sources", "good")
        return
    number = len(found.changes)
    many = f"{number} paths were" if number > 1 else "one path was"
    yield line(f"{many} changed besides the sources, and no image will have that:", "warn")
    yield from (_trace(one) for one in found.changes[:_SHOWN])
    if number > _SHOWN:
        yield line(f"and {number - _SHOWN} more; `--json` names them all", "dim", depth=1)


def _trace(one: Trace) -> blocks.Line:
    return line(f"{one.what} {one.path}", _TONES[one.what], depth=1)


COMMANDS = (_dev,)
