"""Collect: remove what nobody needs any more, of all projects of this state, and say why the rest is kept.

Releases, generations and the ledger stay for good, volumes are never touched. What stays is decided by
`anew.core.collection`; here it is read from journal, image store and engine, and carried out: references before
content, so that a collection that is killed leaves nothing that lacks a part, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from anew.core import collection
from anew.core.collection import LOGS, LONG, Choice, Holding, Use
from anew.core.digest import short
from anew.errors import AnewError, EngineError, NotFound
from anew.model import Bytes, Gone, Image, Release, Stock
from anew.ports import Clock, Images, Say
from anew.shell.journal import Journal
from anew.shell.leases import Leases
from anew.shell.parts import Archive, Copies, Room, Stockroom
from anew.views import Collected, Kept

_MANY = {  # kinds that are told by their number: of one, of several
    "layer": ("layer", "layers"),
    "copy": ("image in the container engine", "images in the container engine"),
    "accounts": ("list of accounts of an image that is gone", "lists of accounts of images that are gone"),
    "checkpoint": ("build checkpoint", "build checkpoints"),
    "note": ("note about what is gone", "notes about what is gone"),
    "leftover": ("leftover of a killed process", "leftovers of killed processes"),
    "log": ("log of an ended instance, with its record", "logs of ended instances, with their records"),
    "part": ("oldest part of a log that has grown too long", "oldest parts of logs that have grown too long"),
    "verdict": ("verdict about an image that is gone", "verdicts about images that are gone"),
    "attempt": ("attempt at an effect, more than 30 days ago", "attempts at effects, more than 30 days ago"),
}


@dataclass(frozen=True, slots=True)
class Stores:
    """What a collection looks through; `own` are images that no release names, and why they stay.

    `copies` are what engines have of images: they go when the image does, and also if its blobs went long ago.
    `leases` tell what living processes work from.
    """

    stockroom: Stockroom
    archive: Archive
    own: Sequence[tuple[Image, str]] = ()
    copies: Sequence[Copies] = ()
    leases: Leases | None = None


def collect(journal: Journal, stores: Stores, clock: Clock, say: Say, *, is_dry: bool) -> Collected:
    """Remove all that no environment, no newest release, no living instance and nobody who builds needs.

    Idempotent  a second run frees nothing.
    Raises      Conflict, with nothing removed, if the image store is in use for too long, or damaged so that what is
                needed can't be told.
    """
    now, told = clock.now(), _Told(say)
    stockroom, archive = stores.stockroom, stores.archive
    with stockroom.opened(is_dry=is_dry) as room:
        holdings, choice = _images(journal, room, stores, now, told)
    for copies in stores.copies:
        _copies(copies, choice, told, is_dry=is_dry)
    told.gone += stockroom.leftovers(is_dry=is_dry)
    _logs(archive, holdings, now, told, is_dry=is_dry)
    attempts = journal.ledger.forget_attempts(now - LONG, is_dry=is_dry)
    told.rows["attempt"] = attempts
    return Collected(tuple(told.lines()), sum(one.size for one in told.gone), tuple(told.kept))


def admit(images: Images, release: Release) -> None:
    """Make the images of a release ready to be launched.

    Raises  NotFound that says how to get an image that was collected; else as `Images.admit`.
    """
    with told_of_collected(release):
        for part in release.parts:
            images.admit(part.image)


@contextmanager
def told_of_collected(release: Release) -> Iterator[None]:
    """Turn the error of a manifest that is gone into one that says how to get the image that was collected."""
    try:
        yield
    except NotFound as error:
        names = [one.service.name for one in release.parts if one.image.digest == error.facts.get("digest")]
        if not names:
            raise
        raise NotFound(
            f"the image of {names[0]} in {release.name} is not there any more: it was collected",
            where=f"{release.project} {release.name}",
            hint=f"check out what {release.name} was made from and run `anew up`: the same files make it again",
            facts=error.facts,
        ) from error


@dataclass(slots=True)
class _Told:
    """What there is to tell of a collection."""

    say: Say
    gone: list[Gone] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)  # how many went from the journal
    kept: list[Kept] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)  # throwaway instances

    def lines(self) -> Iterator[str]:
        """Yield what went, for people."""
        yield from (f"throwaway instance {name}" for name in self.ended)
        for one in self.gone:
            if one.kind in {"image", "head"}:
                yield f"{one.kind} {one.name}"
        for kind in _MANY:
            sizes = [one.size for one in self.gone if one.kind == kind]
            if sizes:
                yield f"{_counted(len(sizes), kind)}: {_size(sum(sizes))}"
            elif self.rows.get(kind):
                yield _counted(self.rows[kind], kind)


def _images(
    journal: Journal, room: Room, stores: Stores, now: float, told: _Told
) -> tuple[tuple[Holding, ...], Choice]:
    """Reduce the image store; return what the journal knows of each environment, and what of the store stays."""
    stock, living = room.stock(), stores.archive.living()
    leased = stores.leases.held(is_dry=room.is_dry) if stores.leases else ()
    with journal.reading():
        holdings, newest = tuple(_holdings(journal)), journal.releases.newest()
    groups = (group for one in holdings for group in one.groups.values())
    known = {image.digest: image for image in (*_of(newest), *(group.image for group in groups))}
    uses = (
        *(use for one in holdings for use in collection.held(one, now)),
        *collection.newest(newest),
        *collection.running(living, known),
        *(Use(image.digest, collection.parts_of(image), why) for image, why in (*stores.own, *leased)),
    )
    choice = collection.choose(stock, uses, now)
    told.say(f"of {len(stock.images)} images, {sum(i.digest in choice.images for i in stock.images)} are needed")
    told.rows["verdict"] = journal.releases.forget_verdicts(choice.selection.images, is_dry=room.is_dry)
    told.gone += room.reduce(stock, choice.selection)
    told.kept += _kept(stock, choice)
    return holdings, choice


def _copies(copies: Copies, choice: Choice, told: _Told, *, is_dry: bool) -> None:
    """Reduce what an engine has of images. It is done when the image store is everybody's again: it may take long.

    Somebody may bring an image there meanwhile that was just chosen to go: whoever launches it next brings it again.
    """
    try:
        told.ended += copies.sweep(is_dry=is_dry)
    except AnewError as error:
        told.kept.append(Kept("throwaway instances that killed commands left", error.what))
    gone, kept = copies.reduce(choice.selection.images, is_dry=is_dry)
    told.gone += gone
    told.kept += kept


def _logs(archive: Archive, holdings: Sequence[Holding], now: float, told: _Told, *, is_dry: bool) -> None:
    remains = archive.remains()
    outlived = collection.outlived(remains, holdings, now)
    told.gone += archive.discard(outlived, is_dry=is_dry)
    if len(remains) > len(outlived):
        why = f"the newest {LOGS} of each group, and of each service for good"
        told.kept.append(Kept(_counted(len(remains) - len(outlived), "log"), why))
    for name in archive.long_logs():
        try:
            told.gone.append(archive.bound_log(name, is_dry=is_dry))
        except EngineError as error:
            told.kept.append(Kept(f"the whole log of {name}", error.what))


def _holdings(journal: Journal) -> Iterator[Holding]:
    for row in journal.environments():
        groups, disposed = journal.instances.all_groups(row.scope)
        yield Holding(
            scope=row.scope,
            keep=row.settings.keep,
            serving=row.serving,
            wish=row.wish,
            rollout=journal.rollout(row.scope),
            generations=journal.generations.all(row.scope),
            groups=groups,
            disposed=disposed,
        )


def _of(releases: Iterable[Release]) -> Iterator[Image]:
    return (part.image for release in releases for part in release.parts)


def _kept(stock: Stock, choice: Choice) -> Iterator[Kept]:
    names = {image.digest: image.name for image in stock.images}
    for digest, why in sorted(choice.images.items(), key=lambda one: names.get(one[0], "")):
        is_here = digest in stock.blobs
        yield Kept(f"image {names.get(digest) or short(digest)}", why if is_here else f"{why}; but it is not there")
    heads = {head.layer: head.name for head in stock.heads}
    for layer, why in choice.heads.items():
        yield Kept(f"head {heads[layer]}", why)
    if choice.selection.checkpoints:
        why = "a kept image has their layers, or they were used less than a day ago"
        yield Kept(_counted(len(choice.selection.checkpoints), "checkpoint"), why)


def _counted(count: int, kind: str) -> str:
    return f"{count} {_MANY[kind][count != 1]}"


def _size(count: Bytes) -> str:
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"
