"""The command line: the commands of anew and their options, and how each call of them ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anew import __version__
from anew.errors import AnewError, SpecError
from anew.faces import acts, screen
from anew.faces.acts import Session
from anew.faces.catalogue import Catalogue
from anew.faces.options import as_json
from anew.faces.report import INTERRUPTED, bug, close_stdout, report, unwritten, usage

if TYPE_CHECKING:
    from anew.cases import Anew, Starter

    Demo = Callable[[Sequence[str]], int]
    OpenAnew = Callable[[Path | None], Anew]

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_KINDS = ("python", "node", "php", "binary", "static")


class _PipeClosedError(Exception):
    """Whoever read our output has gone."""


class _Commands(click.Group):
    """A group that names the nearest command, and lets nothing end with an exit code that is not ours."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from difflib import get_close_matches

            close = get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean `anew {close[0]}`?" if close else "`anew --help` lists the commands"
            raise SpecError(f"`{name}` is no command", where="command line", hint=hint)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)  # as they are used, not as they are spelled

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click has an exit code of its own for this
            raise _PipeClosedError from error


def run(argv: Sequence[str], open_anew: OpenAnew, demo: Demo, starter: Starter) -> int:
    """Run one command, show what went wrong if anything did, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal can't write must not end a command
            stream.reconfigure(errors="backslashreplace")
    own = list(argv)[: list(argv).index("--")] if "--" in argv else list(argv)
    is_json = "--json" in own
    try:
        code = command_line(open_anew, demo, starter).main(list(argv), prog_name="anew", standalone_mode=False)
        screen.flush()
    except AnewError as error:
        return report(error, is_json=is_json)
    except click.Abort:
        with suppress(screen.UnwritableError):  # the terminal may be gone
            screen.note("interrupted")
        return INTERRUPTED
    except click.ClickException as error:
        return report(usage(error), is_json=is_json)
    except (_PipeClosedError, BrokenPipeError):
        return close_stdout()
    except OSError as error:
        return report(unwritten(error), is_json=is_json)
    except Exception as error:  # noqa: BLE001 - the last place that can say in our words what nobody expected
        return report(bug(error), is_json=is_json)
    return code if isinstance(code, int) else 0


def command_line(open_anew: OpenAnew, demo: Demo, starter: Starter) -> click.Group:
    """Return the group of all commands.

    `open_anew` takes the project's folder (None: the current one) and is called only by commands that need it; `demo`
    takes the arguments after ``demo`` and returns an exit code; `starter` writes the spec of a folder.
    """

    @click.group(
        cls=_Commands,
        commands=Catalogue(),
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    @click.option("-C", "--project", type=_FOLDER, help="The folder with anew.yaml; the current one if left out.")
    @click.option("--json", "is_json", is_flag=True, help="Answer with one JSON document, errors too.")
    @click.option("-V", "--version", "is_version", is_flag=True, help="Show the version, and end.")
    @click.pass_context
    def anew(ctx: click.Context, project: Path | None, *, is_json: bool, is_version: bool) -> int:
        """Deliver software by replacement: build, test, dip into traffic, keep it or go back."""
        ctx.obj = Session(open_anew, project, is_json=is_json)
        if is_version:
            if is_json:
                screen.show_json({"version": __version__})
            else:
                screen.say(f"anew {__version__}")
            ctx.exit(0)
        if ctx.invoked_subcommand is None:
            screen.say(ctx.get_help())
        return 0

    @anew.command("demo", context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def show_demo(arguments: tuple[str, ...]) -> int:
        """Show all of it on this machine, with an example of its own."""
        return demo(arguments)

    anew.add_command(_init(starter))
    return anew


def _init(starter: Starter) -> click.Command:
    @click.command("init")
    @click.argument("folder", type=_FOLDER, required=False)
    @click.option("--kind", type=click.Choice(_KINDS), help="What the folder is; found if left out.")
    @click.option("--command", default="", metavar="TEXT", help="What an instance runs, for a shell; it gets $PORT.")
    @click.option("--print", "is_printing", is_flag=True, help="Print the anew.yaml, and write nothing.")
    @as_json
    @click.pass_obj
    def init(session: Session, folder: Path | None, kind: str | None, command: str, *, is_printing: bool) -> int:
        """Look at a folder, and write the anew.yaml that brings it live."""
        where = folder or session.project or Path()
        return acts.init(session, starter, acts.Asked(where, kind or "", command, is_printing))

    return init
