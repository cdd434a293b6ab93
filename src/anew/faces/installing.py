"""The commands that make the keeper of an environment a service of the machine, and take it away again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from anew.errors import SpecError
from anew.faces import blocks, screen
from anew.faces.acts import Session
from anew.faces.blocks import Block
from anew.faces.options import shared
from anew.faces.render import plain
from anew.views import Installed

_below = click.option(
    "--root",
    "below",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Of the machine that this folder is the root of; nothing is started or ended.",
)


@click.command("install")
@click.option("--print", "is_printing", is_flag=True, help="Print the unit, and write nothing.")
@_below
@shared
@click.pass_obj
def _install(session: Session, below: Path | None, *, is_printing: bool) -> int:
    """Make the keeper of the environment a service of systemd, so that it starts with the machine."""
    if is_printing and below is not None:
        raise SpecError("`--print` writes nothing, and `--root` says where to", where="command line", hint="choose one")
    made = session.anew().install(session.environment, session.say, below=below, is_writing=not is_printing)
    if is_printing and not session.is_json:
        screen.note(plain(_of_installed(made)))
        screen.say(made.text.removesuffix("\n"))
    else:
        session.answer(made, _of_installed(made))
    return 0


@click.command("uninstall")
@_below
@shared
@click.pass_obj
def _uninstall(session: Session, below: Path | None) -> int:
    """Take the keeper's service away; what runs in the environment goes on without a keeper."""
    gone = session.anew().uninstall(session.environment, session.say, below=below)
    said = f"{gone.unit} is no service any more" if gone.is_removed else f"there is no {gone.path}"
    session.answer(gone, [blocks.line(said, "good")])
    return 0


def _of_installed(made: Installed) -> Iterator[Block]:
    said = {
        "shown": f"this would be {made.path}",
        "written": f"wrote {made.path}; it starts with the machine that this becomes a part of",
        "runs": f"{made.unit} keeps {made.environment}, now and whenever this machine starts",
    }
    yield blocks.line(said[made.state], "good" if made.state != "shown" else "")
    yield from (blocks.line(f"note: {note}", "warn") for note in made.notes)


COMMANDS = (_install, _uninstall)
