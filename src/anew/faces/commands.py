"""The commands that make, move and look: what each takes, and what it is for."""

from __future__ import annotations

import click

from anew.faces import acts
from anew.faces.acts import Session
from anew.faces.options import COUNT, detach, services, shared
from anew.model import Manner


@click.command("plan")
@shared
@click.pass_obj
def _plan(session: Session) -> int:
    """Show every step that `up` would take, and build nothing."""
    return acts.plan(session)


@click.command("build")
@services
@click.option("--update", "is_update", is_flag=True, help="Resolve the operating-system heads again.")
@click.option(
    "--no-cache", "is_fresh", is_flag=True, help="Run every step again, and say whether all comes out as before."
)
@click.option(
    "--step", "step", default="", metavar="NAME", help="End after this step (its name or number), with no image."
)
@click.option(
    "--debug", "is_debugging", is_flag=True, help="Open a shell where a step fails; or, with --step, before it."
)
@shared
@click.pass_obj
def _build(
    session: Session, services: tuple[str, ...], step: str, *, is_update: bool, is_fresh: bool, is_debugging: bool
) -> int:
    """Build the images of some services, or of all.

    What was made before from the same inputs is used again, and it is said which inputs and how old it is. A step that
    failed is where the next build goes on.
    """
    manner = Manner(is_fresh=is_fresh, until=step, is_debugging=is_debugging)
    return acts.build(session, services, manner, is_update=is_update)


@click.command("test")
@services
@shared
@click.pass_obj
def _test(session: Session, services: tuple[str, ...]) -> int:
    """Build, and test a fresh instance of each image."""
    return acts.test(session, services)


@click.command("up")
@click.argument("release", default="", metavar="[RELEASE]")
@click.option("--from", "source", default="", metavar="ENV", help="The release that serves in another environment.")
@click.option("--supersede", "may_supersede", is_flag=True, help="Take a rollout with stages to go back first.")
@click.option("--again", "is_again", is_flag=True, help="Though the same seal failed here before.")
@detach
@shared
@click.pass_obj
def _up(session: Session, release: str, source: str, *, is_again: bool, may_supersede: bool, is_detached: bool) -> int:
    """Roll out what anew.yaml says, built and tested, or an existing release (r3) of which nothing is built."""
    asked = acts.Wish(release, source, is_again=is_again, may_supersede=may_supersede)
    return acts.up(session, asked, is_detached=is_detached)


@click.command("rollback")
@click.argument("generation", default="", metavar="[GENERATION]")
@detach
@shared
@click.pass_obj
def _rollback(session: Session, generation: str, *, is_detached: bool) -> int:
    """Go back to what served before, or to the generation named (g2)."""
    return acts.rollback(session, generation, is_detached=is_detached)


@click.command("promote")
@detach
@shared
@click.pass_obj
def _promote(session: Session, *, is_detached: bool) -> int:
    """Give all traffic to the new generation, without the stages that remain."""
    return acts.promote(session, is_detached=is_detached)


@click.command("abort")
@detach
@shared
@click.pass_obj
def _abort(session: Session, *, is_detached: bool) -> int:
    """Take the rollout that is under way back."""
    return acts.abort(session, is_detached=is_detached)


@click.command("dispose")
@shared
@click.pass_obj
def _dispose(session: Session) -> int:
    """End all that runs; releases, history and logs stay."""
    return acts.dispose(session)


@click.command("status")
@shared
@click.pass_obj
def _status(session: Session) -> int:
    """Show what serves, what is warm, and what goes on."""
    return acts.status(session)


@click.command("releases")
@shared
@click.pass_obj
def _releases(session: Session) -> int:
    """Show all releases of the project, newest first."""
    return acts.releases(session)


@click.command("history")
@click.option("-n", "limit", type=COUNT, default=30, show_default=True, help="How many events.")
@click.option("--verify", "is_verifying", is_flag=True, help="Walk the whole chain of hashes instead.")
@shared
@click.pass_obj
def _history(session: Session, limit: int, *, is_verifying: bool) -> int:
    """Show the newest events of the ledger, oldest first."""
    return acts.verify(session) if is_verifying else acts.history(session, limit)


@click.command("why")
@click.argument("one", default="", metavar="[GENERATION]")
@click.argument("other", default="", metavar="[OTHER]")
@click.option("--all", "is_all", is_flag=True, help="Of two: show long lists to their end.")
@click.option(
    "--recompute",
    "is_again",
    is_flag=True,
    help="Judge it again by the windows that were kept, and compare; exit code 1 if the answer is another one.",
)
@shared
@click.pass_obj
def _why(session: Session, one: str, other: str, *, is_all: bool, is_again: bool) -> int:
    """Tell why a generation (g2; or the last one) is what it is: what it runs, how it went, who died of what.

    Of two releases or generations (r3 r5, g2 g4) it tells what differs: inputs, packages, files, flags and the rest.
    """
    if is_again:
        return acts.recompute(session, one, other)
    return acts.compare(session, one, other, is_all=is_all) if other else acts.why(session, one)


@click.command("logs")
@click.argument("target", default="", metavar="[SERVICE|GROUP|INSTANCE]")
@click.option("-n", "lines", type=COUNT, default=100, show_default=True, help="How many lines.")
@shared
@click.pass_obj
def _logs(session: Session, target: str, lines: int) -> int:
    """Show the last lines that instances wrote, disposed ones too."""
    return acts.logs(session, target, lines)


@click.command("doctor")
@shared
@click.pass_obj
def _doctor(session: Session) -> int:
    """Show what this machine has and lacks."""
    return acts.doctor(session)


@click.command("serve")
@click.option(
    "--until-idle", "is_until_idle", is_flag=True, help="End when there is nothing left to do or to wait for."
)
@shared
@click.pass_obj
def _serve(session: Session, *, is_until_idle: bool) -> int:
    """Be the keeper of the environment, in the foreground."""
    return acts.serve(session, is_until_idle=is_until_idle)


COMMANDS = (
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
    _why,
    _logs,
    _doctor,
    _serve,
)
