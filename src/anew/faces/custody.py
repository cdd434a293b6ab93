"""The commands that keep house: secrets, volumes, one-off commands, collection, and what editors want to know."""

from __future__ import annotations

import sys
from dataclasses import replace

import click
from click.shell_completion import get_completion_class

from anew.errors import Bug, SpecError
from anew.faces import blocks, screen
from anew.faces.acts import Session
from anew.faces.options import as_json, shared
from anew.model import BUILD
from anew.views import SecretErased, SecretSet

SHELLS = ("bash", "zsh", "fish")
COMPLETES = "_ANEW_COMPLETE"
LARGEST = 1024 * 1024


def _of_builds(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click calls it so
    if value:
        ctx.obj = replace(ctx.obj, environment=BUILD)


_build = click.option(
    "--build", is_flag=True, expose_value=False, callback=_of_builds, help="Of builds, in place of an environment."
)


@click.group("secret")
def _secret() -> None:
    """Keep secrets, a version at a time; they reach instances as files under /run/secrets."""


@_secret.command("set")
@click.argument("name")
@shared
@_build
@click.pass_obj
def _set(session: Session, name: str) -> int:
    """Keep what comes in on standard input, without the line break at its end, as a secret's newest version."""
    version = session.anew().put_secret(session.environment, name, _value(name))
    said = f"{name} v{version} is kept; the next `anew up -e {session.environment}` seals it"
    if session.environment == BUILD:
        said = f"{name} v{version} is kept; steps of builds that name it are lent it"
    session.answer(SecretSet(name, version), [blocks.line(said, "good")])
    return 0


@_secret.command("list")
@shared
@_build
@click.pass_obj
def _list(session: Session) -> int:
    """Show the names and versions of secrets; never a value."""
    found = session.anew().secrets(session.environment)
    session.answer(found, blocks.of_secrets(found))
    return 0


@_secret.command("revoke")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), default=None, help="Which one; the newest if left out.")
@shared
@_build
@click.pass_obj
def _revoke(session: Session, name: str, version: int | None) -> int:
    """Erase a version of a secret; generations that hold it are no way back any more."""
    number, lost = session.anew().revoke_secret(session.environment, name, version or 0)
    said = [blocks.line(f"{name} v{number} is erased", "good")]
    if lost:
        said.append(blocks.line(f"no way back any more: {', '.join(lost)}", "warn"))
    session.answer(SecretErased(name, number, lost), said)
    return 0


@click.group("volumes", invoke_without_command=True)
@shared
@click.pass_context
def _volumes(context: click.Context) -> int:
    """Show the folders that outlive every instance, and what they take on the disk."""
    session: Session = context.obj
    if context.invoked_subcommand is None:
        found = session.anew().volumes(session.environment)
        session.answer(found, blocks.of_volumes(found))
    return 0


@_volumes.command("remove")
@click.argument("service")
@click.argument("name")
@click.option("--force", "is_forced", is_flag=True, help="Though a generation that can be gone back to needs it.")
@shared
@click.pass_obj
def _remove(session: Session, service: str, name: str, *, is_forced: bool) -> int:
    """Remove a volume that no instance has, with all that is in it, for good."""
    gone = session.anew().remove_volume(session.environment, service, name, is_forced=is_forced)
    said = [blocks.line(f"the volume {name} of {service} is gone: {blocks.size(gone.size)}", "good")]
    if gone.lost:
        said.append(blocks.line(f"would find it empty: {', '.join(gone.lost)}", "warn"))
    session.answer(gone, said)
    return 0


@click.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("service")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--within", type=click.FloatRange(min=0.1), default=3600.0, show_default=True, help="Bound in seconds.")
@shared
@click.pass_obj
def _run(session: Session, service: str, command: tuple[str, ...], within: float) -> int:
    """Run a command in a throwaway instance of what serves: its image, flags, secrets and needs."""
    outcome = session.anew().run(session.environment, service, command, within)
    if session.is_json:
        screen.show_json(outcome)
    elif outcome.output:
        sys.stdout.write(outcome.output)
        sys.stdout.flush()
    if outcome.is_late:
        screen.note(f"it was ended after {within:g} s")
    return outcome.code if outcome.code >= 0 else 128 - outcome.code


@click.command("gc")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be removed, and remove nothing.")
@as_json
@click.pass_obj
def _gc(session: Session, *, is_dry: bool) -> int:
    """Remove what no retained generation needs, and say why the rest is kept."""
    found = session.anew().collect(session.say, is_dry=is_dry)
    session.answer(found, blocks.of_collected(found, is_dry=is_dry))
    return 0


@click.command("schema")
@as_json
@click.pass_obj
def _schema(session: Session) -> int:
    """Print the JSON Schema of anew.yaml, for editors."""
    screen.show_json(session.anew().schema())
    return 0


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def _completion(context: click.Context, shell: str) -> int:
    """Print what makes a shell complete the commands of anew; `eval` it, or save it where the shell looks."""
    kind, parent = get_completion_class(shell), context.parent
    if kind is None or parent is None:
        raise Bug(f"there is no completion for {shell}")
    screen.say(kind(parent.command, {}, "anew", COMPLETES).source().strip())
    return 0


def _value(name: str) -> bytes:
    """Read a value from standard input; a person at a terminal is asked, and does not see it."""
    if screen.is_terminal(sys.stdin):
        said: str = click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True)
        return said.encode()
    value = sys.stdin.buffer.read(LARGEST + 2)
    if not value:
        hint = f"write `printf %s VALUE | anew secret set {name}`, or give it a file with `<`"
        raise SpecError("nothing came in on standard input", where="command line", hint=hint)
    return value.removesuffix(b"\n")


COMMANDS = (_secret, _volumes, _run, _gc, _schema, _completion)
