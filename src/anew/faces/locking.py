"""The commands about what images are made of: the lock, and what has moved since it was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from anew.faces import blocks
from anew.faces.acts import Session
from anew.faces.blocks import Block, Cell, Grid
from anew.faces.options import shared
from anew.views import HeadView

_DAY = 86400.0


@click.command("lock")
@click.argument("heads", nargs=-1, metavar="[HEAD]…")
@click.option("--update", "is_update", is_flag=True, help="Move to the newest packages, and say what changes.")
@shared
@click.pass_obj
def _lock(session: Session, heads: tuple[str, ...], *, is_update: bool) -> int:
    """Resolve what images are made of into anew.lock, a file to commit; what is locked already stays."""
    found = session.anew().lock(heads, session.say, update=is_update)
    session.answer(found, of_heads(found, "nothing moved"))
    return 0


@click.command("outdated")
@shared
@click.pass_obj
def _outdated(session: Session) -> int:
    """Show how old each head is, and which packages are newer by now; nothing is changed."""
    found = session.anew().outdated(session.say)
    session.answer(found, of_heads(found, "nothing newer"))
    return 0


def of_heads(found: Sequence[HeadView], none: str) -> Iterator[Block]:
    """Show heads; `none` is what to say of one whose packages are as they were."""
    rows = tuple(
        (
            Cell(one.head, "strong"),
            Cell(one.source),
            Cell(_age(one)),
            Cell(f"{one.packages} packages, {blocks.size(one.size)}" if one.packages else ""),
            Cell(f"{len(one.moves)} moved" if one.moves else none if one.packages else ""),
        )
        for one in found
    )
    yield Grid(("head", "source", "resolved", "of", "since"), rows)
    for one in found:
        for move in one.moves:
            text = f"{one.head}: {move.name} {move.before or '(none)'} → {move.after or '(none)'}"
            yield blocks.line(text, "warn", depth=1)


def _age(one: HeadView) -> str:
    if not one.layer:
        return "" if one.source == "host" else "not locked"
    if not one.resolved:
        return ""
    days = int(one.age // _DAY)
    return f"{days} days ago" if days > 1 else "yesterday" if days else "today"


COMMANDS = (_lock, _outdated)
