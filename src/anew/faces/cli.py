"""The command line: the commands of anew and their options, and how each call of them ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

import click

from anew import __version__
from anew.errors import AnewError, SpecError
from anew.faces import acts, screen
from anew.faces.acts import Session
from anew.faces.report import INTERRUPTED, bug, close_stdout, report, usage
from anew.ports import Anew

Demo = Callable[[Sequence[str]], int]
OpenAnew = Callable[[Path | None], Anew]
F = TypeVar("F", bound=Callable[..., int])

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_COUNT = click.IntRange(min=1, max=1_000_000)


class _PipeClosedError(Exception):
    """Whoever read our output has gone."""


class _Commands(click.Group):
    """A group that names the nearest command, and lets nothing end with an exit code that is not ours."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
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


def run(argv: Sequence[str], open_anew: OpenAnew, demo: Demo) -> int:
    """Run one command, show what went wrong if anything did, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal can't write must not end a command
            stream.reconfigure(errors="backslashreplace")
    own = list(argv)[: list(argv).index("--")] if "--" in argv else list(argv)
    is_json = "--json" in own
    try:
        code = command_line(open_anew, demo).main(list(argv), prog_name="anew", standalone_mode=False)
        sys.stdout.flush()
    except AnewError as error:
        return report(error, is_json=is_json)
    except click.Abort:
        screen.note("interrupted")
        return INTERRUPTED
    except click.ClickException as error:
        return report(usage(error), is_json=is_json)
    except (_PipeClosedError, BrokenPipeError):
        return close_stdout()
    except Exception as error:  # noqa: BLE001 - the last place that can say in our words what nobody expected
        return report(bug(error), is_json=is_json)
    return code if isinstance(code, int) else 0


def command_line(open_anew: OpenAnew, demo: Demo) -> click.Group:
    """Return the group of all commands.

    `open_anew` takes the project's folder (None: the current one) and is called only by commands that need it; `demo`
    takes the arguments after ``demo`` and returns an exit code.
    """

    @click.group(
        cls=_Commands,
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

    for command in _COMMANDS:
        anew.add_command(command)
    return anew


def _is_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click calls it so
    if value:
        ctx.obj = replace(ctx.obj, is_json=True)


def _in_environment(ctx: click.Context, _: click.Parameter, value: str) -> None:
    ctx.obj = replace(ctx.obj, environment=value)


_json = click.option(
    "--json", is_flag=True, expose_value=False, callback=_is_json, help="Answer with one JSON document, errors too."
)
_environment = click.option(
    "-e",
    "--environment",
    default="local",
    show_default=True,
    metavar="NAME",
    expose_value=False,
    callback=_in_environment,
    help="The environment to act in.",
)
_detach = click.option(
    "--detach", "--no-watch", "is_detached", is_flag=True, help="Do not wait for the end; it goes on by itself."
)
_services = click.argument("services", nargs=-1, metavar="[SERVICE]...")


def _shared(function: F) -> F:
    """Add what every command that acts in an environment takes."""
    return _environment(_json(function))


@click.command("plan")
@_shared
@click.pass_obj
def _plan(session: Session) -> int:
    """Show every step that `up` would take, and build nothing."""
    return acts.plan(session)


@click.command("build")
@_services
@click.option("--update", "is_update", is_flag=True, help="Resolve the operating-system heads again.")
@_shared
@click.pass_obj
def _build(session: Session, services: tuple[str, ...], *, is_update: bool) -> int:
    """Build the images of some services, or of all."""
    return acts.build(session, services, is_update=is_update)


@click.command("test")
@_services
@_shared
@click.pass_obj
def _test(session: Session, services: tuple[str, ...]) -> int:
    """Build, and test a fresh instance of each image."""
    return acts.test(session, services)


@click.command("up")
@click.argument("release", default="", metavar="[RELEASE]")
@click.option("--again", "is_again", is_flag=True, help="Though the same seal failed here before.")
@_detach
@_shared
@click.pass_obj
def _up(session: Session, release: str, *, is_again: bool, is_detached: bool) -> int:
    """Roll out what anew.yaml says, built and tested, or an existing release (r3)."""
    return acts.up(session, release, is_again=is_again, is_detached=is_detached)


@click.command("rollback")
@click.argument("generation", default="", metavar="[GENERATION]")
@_detach
@_shared
@click.pass_obj
def _rollback(session: Session, generation: str, *, is_detached: bool) -> int:
    """Go back to what served before, or to the generation named (g2)."""
    return acts.rollback(session, generation, is_detached=is_detached)


@click.command("promote")
@_detach
@_shared
@click.pass_obj
def _promote(session: Session, *, is_detached: bool) -> int:
    """Give all traffic to the new generation, without the stages that remain."""
    return acts.promote(session, is_detached=is_detached)


@click.command("abort")
@_detach
@_shared
@click.pass_obj
def _abort(session: Session, *, is_detached: bool) -> int:
    """Take the rollout that is under way back."""
    return acts.abort(session, is_detached=is_detached)


@click.command("dispose")
@_shared
@click.pass_obj
def _dispose(session: Session) -> int:
    """End all that runs; releases, history and logs stay."""
    return acts.dispose(session)


@click.command("status")
@_shared
@click.pass_obj
def _status(session: Session) -> int:
    """Show what serves, what is warm, and what goes on."""
    return acts.status(session)


@click.command("releases")
@_shared
@click.pass_obj
def _releases(session: Session) -> int:
    """Show all releases of the project, newest first."""
    return acts.releases(session)


@click.command("history")
@click.option("-n", "limit", type=_COUNT, default=30, show_default=True, help="How many events.")
@_shared
@click.pass_obj
def _history(session: Session, limit: int) -> int:
    """Show the newest events of the ledger, oldest first."""
    return acts.history(session, limit)


@click.command("logs")
@click.argument("target", default="", metavar="[SERVICE|GROUP|INSTANCE]")
@click.option("-n", "lines", type=_COUNT, default=100, show_default=True, help="How many lines.")
@_shared
@click.pass_obj
def _logs(session: Session, target: str, lines: int) -> int:
    """Show the last lines that instances wrote, disposed ones too."""
    return acts.logs(session, target, lines)


@click.command("doctor")
@_shared
@click.pass_obj
def _doctor(session: Session) -> int:
    """Show what this machine has and lacks."""
    return acts.doctor(session)


@click.command("serve")
@click.option(
    "--until-idle", "is_until_idle", is_flag=True, help="End when there is nothing left to do or to wait for."
)
@_shared
@click.pass_obj
def _serve(session: Session, *, is_until_idle: bool) -> int:
    """Be the keeper of the environment, in the foreground."""
    return acts.serve(session, is_until_idle=is_until_idle)


_COMMANDS = (
    _plan,
    _build,
    _test,
    _up,
    _status,
    _rollback,
    _promote,
    _abort,
    _dispose,
    _releases,
    _history,
    _logs,
    _doctor,
    _serve,
)
