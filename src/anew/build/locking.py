"""The lock as people see it: what each head is locked to, how old that is, and what has moved since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from anew.build import lock, reuse
from anew.build.files import Files, every
from anew.build.heads import Heads
from anew.build.lock import LockedFile, LockedHead
from anew.build.packages import Move, moved
from anew.core.digest import short
from anew.errors import NotFound
from anew.model import BuiltHead, DebianHead, Digest, Head, HostHead, ImageHead, Spec, TarHead
from anew.ports import Say
from anew.views import HeadView, PackageMove


def locked(
    heads: Heads, files: Files, spec: Spec, names: Sequence[str], say: Say, *, update: bool
) -> tuple[HeadView, ...]:
    """Resolve heads and files and write the lock; see `anew.cases.Builder.lock`."""
    fetches = {one.url: (service, one) for service, one in every(spec.services)}
    out = []
    for head in _chosen(spec, names, fetches):
        before = lock.read(heads.project).heads.get(head.name)  # for another recipe, maybe: what moves then is told too
        heads.layer(head, say, update=update)
        after = _pinned(heads, head)
        moves = _moves(head, before, after) if before and after else ()
        out.append(_view(head, after, moves))
    for url, (service, one) in fetches.items():
        if not names or url in names:
            known = files.pinned(one)
            files.resolve(replace(service, fetch=(one,)), say, is_update=update)
            pinned = files.pinned(one)
            out.append(_file_view(url, pinned, _digest(known), _digest(pinned)))
    return tuple(out)


def outdated(heads: Heads, files: Files, spec: Spec, say: Say) -> tuple[HeadView, ...]:
    """Compare what is locked with what there is now; see `anew.cases.Builder.outdated`."""
    out = []
    for head in spec.heads:
        pinned = _pinned(heads, head)
        moves: tuple[Move, ...] = ()
        if isinstance(head, DebianHead) and pinned is not None:
            from anew.build import resolver  # noqa: PLC0415 - only what asks the archive needs apt

            with resolver.archive(head, heads.project, heads.store.blobs, heads.work, say) as suite:
                moves = moved(pinned.packages, suite.today())
        if isinstance(head, ImageHead) and pinned is not None:
            from anew.build import foreign  # noqa: PLC0415 - what other heads need nothing of

            moves = _moves(head, pinned, replace(pinned, image=foreign.now(head, pinned.image)))
        out.append(_view(head, pinned, moves))
    for service, one in every(spec.services):
        known = files.pinned(one)
        is_open = known is not None and not one.sha256
        now = files.today(service, one, say) if is_open else _digest(known)
        out.append(_file_view(one.url, known, _digest(known), now))
    return tuple(out)


def _digest(pinned: LockedFile | None) -> Digest:
    return pinned.digest if pinned else ""


def _file_view(url: str, pinned: LockedFile | None, before: Digest, after: Digest) -> HeadView:
    """Show a fetched file; a change of what its address gives as the move of one package."""
    return HeadView(
        head=url,
        source="file",
        layer=pinned.digest if pinned else "",
        resolved=pinned.fetched if pinned else "",
        age=reuse.age(lock.seconds(pinned.fetched)) if pinned else 0.0,
        packages=0,
        size=pinned.size if pinned else 0,
        moves=(PackageMove(url, short(before), short(after)),) if before and after and before != after else (),
    )


def _moves(head: Head, before: LockedHead, after: LockedHead) -> tuple[Move, ...]:
    if isinstance(head, ImageHead) and before.image and after.image != before.image:
        return (Move(head.reference, short(before.image), short(after.image)),)
    return moved(before.packages, after.packages)


def _pinned(heads: Heads, head: Head) -> LockedHead | None:
    """Return what a head is locked to; None if that was for another recipe, and for the machine's own root."""
    return None if isinstance(head, HostHead) else heads.pinned(head)


def _chosen(spec: Spec, names: Sequence[str], fetches: Collection[str]) -> tuple[Head, ...]:
    known = {head.name: head for head in spec.heads}
    unknown = [name for name in names if name not in known and name not in fetches]
    if unknown:
        there = f"the heads are: {', '.join(sorted(known))}" if known else "anew.yaml has none under `os`"
        raise NotFound(f"there is no head {unknown[0]!r}", where="anew.yaml os", hint=there)
    return tuple(known[name] for name in names if name in known) if names else spec.heads


def _view(head: Head, pinned: LockedHead | None, moves: Iterable[Move]) -> HeadView:
    return HeadView(
        head=head.name,
        source=_source(head),
        layer=pinned.layer if pinned else "",
        resolved=pinned.resolved if pinned else "",
        age=reuse.age(lock.seconds(pinned.resolved)) if pinned else 0.0,
        packages=len(pinned.packages) if pinned else 0,
        size=sum(one.size for one in pinned.packages) if pinned else 0,
        moves=tuple(PackageMove(one.name, one.before, one.after) for one in moves),
        image=pinned.image if pinned else "",
    )


def _source(head: Head) -> str:
    match head:
        case DebianHead(suite=suite, distribution=distribution):
            return f"{distribution} {suite}"
        case TarHead(path=path):
            return f"tar {path}"
        case ImageHead(reference=reference):
            return f"image {reference}"
        case BuiltHead(recipe=recipe):
            return f"dockerfile {recipe}"
        case HostHead():
            return "host"
