"""The commands that bring releases to a registry, and from there."""

from __future__ import annotations

from collections.abc import Iterator

import click

from anew.faces import blocks
from anew.faces.acts import Session
from anew.faces.blocks import Block, Cell, Grid, short
from anew.faces.options import shared
from anew.views import Carried


@click.command("push")
@click.argument("release", default="", metavar="[RELEASE]")
@click.option(
    "--to", default="", metavar="REPOSITORY", help="Where to; what anew.yaml says under `registry` if left out."
)
@click.option("--inputs", "with_inputs", is_flag=True, help="Also the packages and archives that it was made from.")
@shared
@click.pass_obj
def _push(session: Session, release: str, to: str, *, with_inputs: bool) -> int:
    """Bring a release (the newest) to a registry: images, what is said of them, and what it is; what is there stays."""
    pushed = session.anew().push(release, to, session.say, with_inputs=with_inputs)
    session.answer(pushed, of_pushed(pushed))
    return 0


@click.command("pull")
@click.argument("release", metavar="RELEASE|REFERENCE")
@click.option(
    "--from", "source", default="", metavar="REPOSITORY", help="Where from; `registry` of anew.yaml if left out."
)
@click.option("--inputs", "with_inputs", is_flag=True, help="Also the packages and archives that it was made from.")
@shared
@click.pass_obj
def _pull(session: Session, release: str, source: str, *, with_inputs: bool) -> int:
    """Fetch a release from a registry, check all of it, and give it the next free name; `up` then takes it."""
    pulled = session.anew().pull(release, source, session.say, with_inputs=with_inputs)
    session.answer(pulled, of_pulled(pulled))
    return 0


def of_pushed(one: Carried) -> Iterator[Block]:
    """Show a release that is in a registry."""
    yield _images(one)
    moved = f"{blocks.size(one.moved)} of {blocks.size(one.size)} sent in {one.seconds:.1f} s"
    yield blocks.line(
        f"{one.release} ({short(one.digest)}) is in {one.repository}: {moved}{_said(one.statements)}", "good"
    )
    for tag in one.tags:
        yield blocks.line(f"{one.repository}:{tag}", depth=1)


def of_pulled(one: Carried) -> Iterator[Block]:
    """Show a release that came from a registry."""
    yield _images(one)
    moved = f"{blocks.size(one.moved)} of {blocks.size(one.size)} fetched in {one.seconds:.1f} s"
    there = "is here as" if one.is_new else "was here already, as"
    yield blocks.line(f"{short(one.digest)} {there} {one.release}: {moved}{_said(one.statements)}", "good")


def _images(one: Carried) -> Grid:
    rows = tuple((Cell(service, "strong"), Cell(short(digest))) for service, digest in one.images.items())
    return Grid(("service", "image"), rows)


def _said(statements: int) -> str:
    return f"; {statements} statement{'s' if statements > 1 else ''} about its images" if statements else ""


COMMANDS = (_push, _pull)
