"""What of the image store, and of what ended instances left, somebody still needs; and why. Pure.

Rules

1. An image is kept while a generation that is not retired, a group that is not disposed of, the newest release of a
   project or a living instance refers to it, and for `FRESH` after it was last used: somebody may be building on it.
2. A head or a checkpoint is kept while a kept image has its layers, and for `WARM` after it was last used, so that a
   build that takes long finds what it began with.
3. With a head stay the packages that it was made of, so that it can be made again. A blob is kept while something
   kept refers to it, and for `FRESH` after it was last used: whoever made it has not said yet what it belongs to.
4. Of ended instances the newest `LOGS` of each group are kept until the group has been disposed of for `LONG`; the
   newest `LOGS` of each service are kept for good: logs outlive servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from anew.core.digest import short
from anew.errors import Conflict
from anew.model import Digest, Generation, Group, Image, Release, Remains, Rollout, Scope, Seconds, Selection, Stock

FRESH: Seconds = 3600.0
WARM: Seconds = 86400.0
LONG: Seconds = 30 * 86400.0
LOGS = 5
_BUILDING = "used less than an hour ago: somebody may be building"
_TODAY = "used less than a day ago"


@dataclass(frozen=True, slots=True)
class Holding:
    """What the journal knows of one environment."""

    scope: Scope
    keep: int  # generations kept as a way back
    serving: int
    wish: int
    rollout: Rollout | None  # the one under way
    generations: Mapping[int, Generation]
    groups: Mapping[str, Group]  # all there ever were
    disposed: frozenset[str]  # those of them that are disposed of


@dataclass(frozen=True, slots=True)
class Use:
    """One reason to keep an image; `parts` are its manifest, its config and its layers, () where that isn't known."""

    image: Digest
    parts: tuple[Digest, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a stock shall stay, and why each image and each head does."""

    selection: Selection
    images: Mapping[Digest, str] = field(default_factory=dict)
    heads: Mapping[Digest, str] = field(default_factory=dict)  # by layer


def parts_of(image: Image) -> tuple[Digest, ...]:
    """Return the blobs that an image consists of, and those that it can be made from again."""
    return (image.identity.manifest, image.identity.config, *image.layers, *image.inputs)


def held(holding: Holding, now: float) -> Iterator[Use]:
    """Yield why an environment needs images: its generations first, in their order."""
    mapped: set[str] = set()
    for number, generation in sorted(holding.generations.items()):
        if generation.is_retired:
            continue
        why = _why(holding, generation, now)
        for member in generation.members:
            mapped.add(member.group)
            if member.group in holding.groups:
                yield _use(holding.groups[member.group].image, f"g{number} {why}")
    for name, group in sorted(holding.groups.items()):
        if name not in mapped and name not in holding.disposed:
            yield _use(group.image, f"{name} of {holding.scope} is not disposed of yet")


def newest(releases: Iterable[Release]) -> Iterator[Use]:
    """Yield why the newest release of each project needs its images; `releases` are these."""
    for release in releases:
        for part in release.parts:
            yield _use(part.image, f"{release.name} is the newest release of {release.project}")


def running(living: Mapping[str, Digest], known: Mapping[Digest, Image]) -> Iterator[Use]:
    """Yield why living instances, given with the digests of their images, need them; `known` are all of the journal."""
    for digest in sorted(set(living.values())):
        names = sorted(name for name, one in living.items() if one == digest)
        why = f"{names[0]} runs from it" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more run from it"
        image = known.get(digest)
        yield Use(digest, parts_of(image) if image else (), why)


def choose(stock: Stock, uses: Iterable[Use], now: float) -> Choice:
    """Return what of `stock` shall stay.

    Raises  Conflict if the layers of an image that is needed can't be told: nothing may be removed then.
    """
    reasons: dict[Digest, list[str]] = {}
    parts: dict[Digest, set[Digest]] = {}
    for use in uses:
        told = reasons.setdefault(use.image, [])
        if use.why not in told:
            told.append(use.why)
        parts.setdefault(use.image, {use.image}).update(use.parts)
    needed = frozenset(reasons)
    for image in stock.images:
        if now - image.used < FRESH:
            reasons.setdefault(image.digest, [_BUILDING])
        if image.digest in reasons:
            parts.setdefault(image.digest, {image.digest}).update((image.config, *image.layers) if image.config else ())
    unknown = sorted(digest for digest in needed if len(parts[digest]) == 1)
    if unknown:
        raise Conflict(
            f"image {short(unknown[0])} is needed, but its manifest is gone, so its layers can't be told",
            where=unknown[0],
            hint="dispose of what needs it, or build it again; nothing was removed",
            facts={"needed": "; ".join(reasons[unknown[0]])},
        )
    return _choice(stock, {digest: "; ".join(told) for digest, told in reasons.items()}, parts, now)


def _choice(stock: Stock, reasons: dict[Digest, str], parts: Mapping[Digest, set[Digest]], now: float) -> Choice:
    needed = {digest for image in reasons for digest in parts[image]}
    names = {image.digest: image.name for image in stock.images}
    heads: dict[Digest, str] = {}
    for head in stock.heads:
        of = sorted(names.get(image) or short(image) for image in reasons if head.layer in parts[image])
        if of:
            heads[head.layer] = f"the head of {of[0]}" + (f" and of {len(of) - 1} more" if len(of) > 1 else "")
        elif now - head.used < WARM:
            heads[head.layer] = _TODAY
    points = [
        point
        for point in stock.checkpoints
        if now - point.used < WARM or (point.layers and needed.issuperset(point.layers))
    ]
    packages = {digest for head in stock.heads if head.layer in heads for digest in head.packages}
    blobs = needed | heads.keys() | packages | {layer for point in points for layer in point.layers}
    blobs |= {digest for image in stock.images if image.digest in reasons for digest in image.evidence}
    blobs |= {digest for digest, used in stock.blobs.items() if now - used < FRESH}
    selection = Selection(
        images=frozenset(reasons),
        heads=frozenset(heads),
        checkpoints=frozenset(point.key for point in points),
        blobs=frozenset(blobs),
    )
    return Choice(selection, reasons, heads)


def outlived(remains: Sequence[Remains], holdings: Sequence[Holding], now: float) -> tuple[str, ...]:
    """Return the names of ended instances whose record and logs nobody needs any more, sorted."""
    places = {(one.scope.project, one.scope.environment): one for one in holdings}
    by_group: dict[tuple[str, str, str], list[Remains]] = {}
    by_service: dict[tuple[str, str, str], list[Remains]] = {}
    for one in sorted(remains, key=lambda r: (-r.started, r.name)):
        place = (one.scope.project, one.scope.environment)
        by_group.setdefault((*place, one.group), []).append(one)
        by_service.setdefault((*place, _service(places.get(place), one.group)), []).append(one)
    stay = {one.name for ones in by_service.values() for one in ones[:LOGS]}
    for (project, environment, group), ones in by_group.items():
        holding = places.get((project, environment))
        is_over = holding is None or group not in holding.groups or group in holding.disposed
        if not is_over or now - max(one.ended for one in ones) < LONG:
            stay |= {one.name for one in ones[:LOGS]}
    return tuple(sorted({one.name for one in remains} - stay))


def _use(image: Image, why: str) -> Use:
    return Use(image.digest, parts_of(image), why)


def _why(holding: Holding, generation: Generation, now: float) -> str:
    number, scope, rollout = generation.number, holding.scope, holding.rollout
    if number == holding.serving:
        return f"serves {scope}"
    if number == holding.wish:
        return f"is wanted in {scope}"
    if rollout is not None and number in {rollout.old, rollout.new}:
        return f"takes part in the {rollout.kind} under way in {scope}"
    if generation.warm_until > now:
        return f"is warm in {scope}"
    if generation.outcome == "promoted":
        return f"is kept as a way back of {scope} (keep: {holding.keep})"
    return f"is not retired yet in {scope}"


def _service(holding: Holding | None, group: str) -> str:
    known = holding.groups.get(group) if holding else None
    return known.service if known else group.rpartition("-")[0]
