"""The command about trust: whether all is what it was when it was made, and who signed it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from anew.errors import GateClosed, SpecError
from anew.faces import blocks
from anew.faces.acts import Session
from anew.faces.blocks import Block, Cell, Grid, short
from anew.faces.options import shared
from anew.views import SigningKeyView, Verification, Verified

_SHOWN = 20  # problems of one image; JSON has them all


@click.command("verify")
@click.argument("release", default="", metavar="[RELEASE]")
@click.option("--all", "is_all", is_flag=True, help="All releases of the project.")
@click.option("--key", "is_key", is_flag=True, help="Only show the public half of this project's own key.")
@shared
@click.pass_obj
def _verify(session: Session, release: str, *, is_all: bool, is_key: bool) -> int:
    """See that nothing of a release (the newest), the lock and the ledgers was changed, and who vouches for it.

    Everything is read; the exit code is that of a closed gate unless all is well.
    """
    if is_key:
        key = session.anew().signing_key()
        session.answer(key, of_key(key))
        return 0
    if is_all and release:
        raise SpecError(f"`--all` is every release, and {release} is one", where="command line", hint="choose one")
    found = session.anew().verify_all(session.environment, "*" if is_all else release)
    session.answer(found, of_verification(found))
    return 0 if is_well(found) else GateClosed.exit_code


def is_well(found: Verification) -> bool:
    """Say whether nothing is wrong."""
    return not (
        found.lock
        or any(image.problems for image in found.images)
        or any(ledger.broken for ledger in found.ledgers.values())
        or any(found.seals.values())
    )


def of_key(key: SigningKeyView) -> Iterator[Block]:
    """Show a public key."""
    yield blocks.line(f"{key.line} {key.project}")
    yield blocks.line(f"{key.id}: put the line under `trust` in anew.yaml where images signed here shall run")


def of_verification(found: Verification) -> Iterator[Block]:
    """Show what was found."""
    rows = tuple(
        (
            Cell(one.service, "strong"),
            Cell(short(one.manifest)),
            Cell(", ".join(one.releases)),
            Cell(f"{len(one.problems)} wrong", "bad") if one.problems else Cell("whole, and vouched for", "good"),
            Cell(", ".join(one.keys)),
        )
        for one in found.images
    )
    yield Grid(("service", "image", "of", "is", "by"), rows)
    for one in found.images:
        for problem in one.problems[:_SHOWN]:
            yield blocks.line(f"{one.service} {short(one.manifest)}: {problem}", "bad", depth=1)
        if len(one.problems) > _SHOWN:
            yield blocks.line(f"… and {len(one.problems) - _SHOWN} more", "bad", depth=1)
    lock = "there is none" if found.lock is None else found.lock or "as it was written"
    yield blocks.line(f"anew.lock: {lock}", "bad" if found.lock else "warn" if found.lock is None else "good")
    for name, ledger in sorted(found.ledgers.items()):
        yield blocks.line(f"ledger of {name}: {_of_ledger(ledger)}", "bad" if ledger.broken else "good")
    for name, wrong in sorted(found.seals.items()):
        said = "; ".join(wrong) or "every generation is as it was sealed"
        yield blocks.line(f"seals of {name}: {said}", "bad" if wrong else "good")
    yield blocks.line(f"trusted in {found.environment}: {', '.join(found.trusted)}")


def _of_ledger(ledger: Verified) -> str:
    if ledger.broken:
        return f"event {ledger.broken}: {ledger.wrong}"
    return f"{ledger.events} events" + (f", signed up to {ledger.signed}" if ledger.signed else ", never signed")


COMMANDS = (_verify,)
