"""The lock as people see it: what each head is locked to, how old that is, and what has moved since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from anew.build import foreign, lock, resolver
from anew.build.heads import Heads
from anew.build.lock import LockedHead
from anew.build.packages import Move, moved
from anew.core.digest import short
from anew.errors import NotFound
from anew.model import DebianHead, Head, HostHead, ImageHead, Seconds, Spec, TarHead
from anew.ports import Say
from anew.views import HeadView, PackageMove


def locked(heads: Heads, spec: Spec, names: Sequence[str], say: Say, *, update: bool) -> tuple[HeadView, ...]:
    """Resolve heads and write the lock; see `anew.cases.Builder.lock`."""
    out = []
    for head in _chosen(spec, names):
        before = lock.read(heads.project).heads.get(head.name)  # for another recipe, maybe: what moves then is told too
        heads.layer(head, say, update=update)
        after = _pinned(heads, head)
        moves = _moves(head, before, after) if before and after else ()
        out.append(_view(head, after, moves))
    return tuple(out)


def outdated(heads: Heads, spec: Spec, say: Say) -> tuple[HeadView, ...]:
    """Compare what is locked with what there is now; see `anew.cases.Builder.outdated`."""
    out = []
    for head in spec.heads:
        pinned = _pinned(heads, head)
        moves: tuple[Move, ...] = ()
        if isinstance(head, DebianHead) and pinned is not None:
            with resolver.archive(head, heads.store.blobs, heads.work, say) as suite:
                moves = moved(pinned.packages, suite.today())
        if isinstance(head, ImageHead) and pinned is not None:
            moves = _moves(head, pinned, replace(pinned, image=foreign.now(head, pinned.image)))
        out.append(_view(head, pinned, moves))
    return tuple(out)


def _moves(head: Head, before: LockedHead, after: LockedHead) -> tuple[Move, ...]:
    if isinstance(head, ImageHead) and before.image and after.image != before.image:
        return (Move(head.reference, short(before.image), short(after.image)),)
    return moved(before.packages, after.packages)


def _pinned(heads: Heads, head: Head) -> LockedHead | None:
    """Return what a head is locked to; None if that was for another recipe."""
    if isinstance(head, HostHead) or heads.locked(head) is None:
        return None
    return lock.read(heads.project).heads[head.name]


def _chosen(spec: Spec, names: Sequence[str]) -> tuple[Head, ...]:
    known = {head.name: head for head in spec.heads}
    unknown = [name for name in names if name not in known]
    if unknown:
        there = f"the heads are: {', '.join(sorted(known))}" if known else "anew.yaml has none under `os`"
        raise NotFound(f"there is no head {unknown[0]!r}", where="anew.yaml os", hint=there)
    return tuple(known[name] for name in names) if names else spec.heads


def _view(head: Head, pinned: LockedHead | None, moves: Iterable[Move]) -> HeadView:
    return HeadView(
        head=head.name,
        source=_source(head),
        layer=pinned.layer if pinned else "",
        resolved=pinned.resolved if pinned else "",
        age=_age(pinned.resolved) if pinned else 0.0,
        packages=len(pinned.packages) if pinned else 0,
        size=sum(one.size for one in pinned.packages) if pinned else 0,
        moves=tuple(PackageMove(one.name, one.before, one.after) for one in moves),
        image=pinned.image if pinned else "",
    )


def _source(head: Head) -> str:
    match head:
        case DebianHead(suite=suite):
            return f"debian {suite}"
        case TarHead(path=path):
            return f"tar {path}"
        case ImageHead(reference=reference):
            return f"image {reference}"
        case HostHead():
            return "host"


def _age(resolved: str) -> Seconds:
    """Return how long ago a time of the lock was; 0 for one that can't be read."""
    try:
        then = datetime.strptime(resolved, lock.TIME).replace(tzinfo=UTC)
    except ValueError:
        return 0.0
    return max(0.0, (datetime.now(UTC) - then).total_seconds())
