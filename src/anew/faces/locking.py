"""The commands about what images are made of: the lock, what has moved since, and whether they come out the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from anew.errors import SpecError
from anew.faces import blocks
from anew.faces.acts import Session
from anew.faces.blocks import Block, Cell, Grid, short
from anew.faces.options import shared
from anew.views import HeadView, Rebuilt

_DAY = 86400.0
_SHOWN = 30  # differences of one image; JSON has them all
_VERDICTS = {
    "identical": Cell("the same bytes", "good"),
    "same tree": Cell("the same files, packed otherwise", "good"),
    "differs": Cell("differs", "bad"),
    "not proved": Cell("not proved", "warn"),
}


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


@click.command("rebuild")
@click.argument("release", default="", metavar="[RELEASE]")
@click.option("--all", "is_all", is_flag=True, help="All releases of the project.")
@click.option("--offline", "is_offline", is_flag=True, help="Ask nothing of the network.")
@shared
@click.pass_obj
def _rebuild(session: Session, release: str, *, is_all: bool, is_offline: bool) -> int:
    """Make the images of a release (the newest) again in an empty place, and say whether they come out the same.

    The exit code is 1 unless all do.
    """
    if is_all and release:
        raise SpecError(f"`--all` is every release, and {release} is one", where="command line", hint="choose one")
    found = session.anew().rebuild("*" if is_all else release, session.say, is_offline=is_offline)
    session.answer(found, of_rebuilt(found))
    return 0 if all(one.verdict in {"identical", "same tree"} for one in found) else 1


def of_rebuilt(found: Sequence[Rebuilt]) -> Iterator[Block]:
    """Show what came of making images again."""
    rows = tuple(
        (
            Cell(one.service, "strong"),
            Cell(short(one.manifest)),
            Cell(", ".join(one.releases)),
            _VERDICTS[one.verdict],
            Cell(f"{one.seconds:.1f} s"),
        )
        for one in found
    )
    yield Grid(("service", "image", "of", "made again", "in"), rows, frozenset({"in"}))
    for one in found:
        if one.why:
            yield blocks.line(f"{one.service} {short(one.manifest)}: {one.why}", "warn")
        if one.differences:
            yield blocks.line(f"{one.service} {short(one.manifest)}: {_counted(one)}", "bad")
        for each in one.differences[:_SHOWN]:
            yield blocks.line(f"/{each.path}: {each.what}{f': {each.cause}' if each.cause else ''}", depth=1)


def _counted(one: Rebuilt) -> str:
    number = len(one.differences)
    more = f", the first {_SHOWN} of them" if number > _SHOWN else ""
    return f"{number} path{'s' if number > 1 else ''} came out otherwise{more}"


def of_heads(found: Sequence[HeadView], none: str) -> Iterator[Block]:
    """Show heads; `none` is what to say of one whose packages are as they were."""
    rows = tuple(
        (
            Cell(one.head, "strong"),
            Cell(one.source),
            Cell(_age(one)),
            Cell(_contents(one)),
            Cell(f"{len(one.moves)} moved" if one.moves else none if _contents(one) else ""),
        )
        for one in found
    )
    yield Grid(("head", "source", "resolved", "of", "since"), rows)
    for one in found:
        for move in one.moves:
            name = "" if move.name == one.head else f"{move.name} "  # a fetched file is all that moves of it
            text = f"{one.head}: {name}{move.before or '(none)'} → {move.after or '(none)'}"
            yield blocks.line(text, "warn", depth=1)
        yield from (blocks.line(f"{one.head}: {text}", "warn", depth=1) for text in one.overdue)


def _contents(one: HeadView) -> str:
    if one.packages:
        return f"{one.packages} packages, {blocks.size(one.size)}"
    if one.image:
        return short(one.image)
    return blocks.size(one.size) if one.source == "file" and one.layer else ""


def _age(one: HeadView) -> str:
    if not one.layer:
        return "" if one.source == "host" else "not locked"
    if not one.resolved:
        return ""
    days = int(one.age // _DAY)
    return f"{days} days ago" if days > 1 else "yesterday" if days else "today"


COMMANDS = (_lock, _outdated, _rebuild)
