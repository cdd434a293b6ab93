"""Operating-system heads: resolved once, pinned in `anew.lock`, kept in the image store.

A head whose recipe is the locked one is never resolved again: its layer is in the store, or it is made again and
must come out as it was. A changed recipe, or `update`, resolves it anew and writes the lock.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from anew.build import lock
from anew.build.context import Context
from anew.build.definition import HeadRecord, of_head, read
from anew.build.drafts import scratch
from anew.build.entries import Entry
from anew.build.epoch import EPOCH, architecture
from anew.build.filecache import FileDigests
from anew.build.listing import tree_digest
from anew.build.packages import Package, moved
from anew.build.store import ImageStore
from anew.core.digest import PREFIX, digest, digest_bytes
from anew.errors import Bug, Conflict, NotFound, SpecError
from anew.model import BuiltHead, DebianHead, Digest, Head, HeadTime, HostHead, Image, ImageHead, TarHead
from anew.ports import Say

_FORMAT = 1  # of what a head's recipe makes; raised when the same recipe makes another layer
_SHOWN = 5  # packages that moved, in an error


@dataclass(frozen=True, slots=True)
class Heads:
    """The heads of one project."""

    project: Path
    store: ImageStore
    work: Path
    is_offline: bool = False  # then nothing is asked of the network, and what is not in the store is an error

    def recipe(self, head: Head) -> Digest:
        """Return the digest of how to make a head. Raises SpecError for an archive that is missing."""
        match head:
            case DebianHead(suite=suite, packages=packages, distribution=distribution):
                return _recipe({distribution: suite, "packages": sorted(set(packages))})
            case TarHead():
                return _of_archive(self._content(head))
            case ImageHead():
                return _recipe({"image": head.reference})
            case BuiltHead():
                return _of_recipe(*self._given(head))
            case HostHead():
                return _recipe({"host": _os_release(), "machine": platform.machine()})

    @property
    def _cache(self) -> Path:
        return self.store.root / "context.cache"

    def locked(self, head: Head) -> Digest | None:
        """Return the layer that the lock pins for this very recipe; None if it has to be resolved."""
        pinned = self.pinned(head)
        return pinned.layer if pinned else None

    def pinned(self, head: Head) -> lock.LockedHead | None:
        """Return what the lock says of this very recipe; None if it has to be resolved."""
        pinned = lock.read(self.project).heads.get(head.name)
        return pinned if pinned is not None and pinned.recipe == self.recipe(head) else None

    def layer(self, head: Head, say: Say, *, update: bool = False) -> Digest | None:
        """Return the head's layer, made or recognised; None for the machine's own root.

        Raises  Conflict if the locked head, made again, comes out differently; NotFound if `is_offline` and the store
                lacks what it is made of.
        """
        lock.tidy(self.project)
        if isinstance(head, HostHead):
            return None
        recipe = self.recipe(head)
        with self.store.lock(f"head {recipe}"):
            pinned = lock.read(self.project).heads.get(head.name)
            is_pinned = pinned is not None and pinned.recipe == recipe and not update
            if is_pinned and pinned is not None and self._is_here(head, pinned):
                return pinned.layer
            new, kept = self._made(head, recipe, pinned if is_pinned else None, say)
            if is_pinned and pinned is not None:
                if pinned.tree and new.tree != pinned.tree:
                    raise _moved(head, pinned, new)
                new = replace(new, resolved=pinned.resolved)
            self.store.pin(new.layer, head.name, kept)
            if new != pinned:
                with self.store.lock(f"lock {self.project}"):
                    lock.with_head(self.project, head.name, new)
            return new.layer

    def _is_here(self, head: Head, pinned: lock.LockedHead) -> bool:
        """Say whether a head's layer is in the store; then it stays there, with as much as is there of what made it."""

        def made_of() -> tuple[Digest, ...]:
            if isinstance(head, TarHead):
                return (self._kept(head, pinned.recipe),)
            packages = tuple(one.digest for one in pinned.packages if one.digest)
            return packages or (self._blobs_of(pinned.image) if pinned.image else ())

        return self.store.has_head(pinned.layer, head.name, made_of)

    def _made(
        self,
        head: DebianHead | TarHead | ImageHead | BuiltHead,
        recipe: Digest,
        pinned: lock.LockedHead | None,
        say: Say,
    ) -> tuple[lock.LockedHead, tuple[Digest, ...]]:
        """Return a head as it is locked now, and the blobs that it was made of."""
        packages: tuple[Package, ...] = ()
        image = ""
        made: AbstractContextManager[Sequence[Entry]]
        match head:
            case DebianHead():
                from anew.build import debian  # noqa: PLC0415 - a head that is there needs nothing of what makes one

                packages = self._packages(head, pinned.packages if pinned else (), say)
                made, kept = debian.made(head, packages, self.store.blobs, self.work, say), _digests(packages)
            case TarHead():
                archive = self._kept(head, recipe)
                made, kept = self._unpacked(head, archive), (archive,)
            case ImageHead():
                from anew.build import foreign  # noqa: PLC0415 - likewise

                found = foreign.had(head, pinned.image if pinned else "", self.store, say, is_offline=self.is_offline)
                image, kept = found.manifest, found.blobs
                made = foreign.entries(found, head, self.store, self.work)
            case BuiltHead():
                from anew.build import engine_head  # noqa: PLC0415 - what other heads need nothing of

                text, context = self._given(head)
                if _of_recipe(text, context) != recipe:
                    raise _changed(head)
                made, kept = engine_head.made(head, text, context, self.work, say), ()
        with made as entries:
            say(f"packing head {head.name}")
            packed = self.store.add_layer(entries)
        now = "" if isinstance(head, TarHead) else datetime.now(UTC).strftime(lock.TIME)
        return lock.LockedHead(recipe, packed.digest, tree_digest(packed.nodes), packages, now, image), kept

    def _packages(self, head: DebianHead, pinned: tuple[Package, ...], say: Say) -> tuple[Package, ...]:
        """Return the packages of a head, with their files in the store: those that are pinned, or else today's."""
        is_known = bool(pinned) and all(one.digest for one in pinned)
        if is_known and self.store.blobs.are_whole(one.digest for one in pinned):
            return pinned
        if self.is_offline:
            lost = [one.name for one in pinned if not (one.digest and self.store.blobs.are_whole([one.digest]))]
            raise NotFound(
                f"{' and '.join(lost) or 'its packages'} are not in the image store", where=f"os.{head.name}"
            )
        from anew.build.resolver import archive  # noqa: PLC0415 - likewise

        with archive(head, self.project, self.store.blobs, self.work, say) as suite:
            packages = pinned if is_known else suite.today()
            suite.fetch(packages)
        return packages

    @contextmanager
    def _unpacked(self, head: TarHead, archive: Digest) -> Iterator[Sequence[Entry]]:
        from anew.build.archive import members, plain  # noqa: PLC0415 - likewise

        where = f"anew.yaml os.{head.name}.tar"
        with scratch(self.work) as folder:
            (folder / "named").mkdir()
            named = folder / "named" / self._archive(head).name  # as errors call it
            named.symlink_to(self.store.blobs.verify(archive).absolute())
            yield members(plain(named, folder, where), where)

    def _given(self, head: BuiltHead) -> tuple[bytes, Context]:
        """Return what a container engine is given: the text of the recipe, and what lies around it."""
        from anew.build import engine_head  # noqa: PLC0415 - what other heads need nothing of

        return engine_head.recipe_of(head, self.project), engine_head.context_of(head, self.project, self._cache)

    def _blobs_of(self, image: Digest) -> tuple[Digest, ...]:
        from anew.build import foreign  # noqa: PLC0415 - what other heads need nothing of

        return foreign.blobs_of(image, self.store)

    def recorded(self, head: Head) -> HeadRecord:
        """Return the record of a head that is locked, for a definition."""
        record = of_head(head)
        if isinstance(head, HostHead):
            return replace(record, recipe=self.recipe(head))
        pinned = lock.read(self.project).heads[head.name]
        return replace(
            record,
            recipe=pinned.recipe,
            layer=pinned.layer,
            tree=pinned.tree,
            packages=tuple(one.text for one in pinned.packages if one.digest),
            archive=self._kept(head, pinned.recipe) if isinstance(head, TarHead) else "",
            resolved=pinned.resolved,
            blobs=self._blobs_of(pinned.image) if pinned.image else (),
        )

    def time(self, image: Image, name: str) -> HeadTime:
        """Return when the head of an image was resolved.

        The lock knows best, for a head that was looked at again and found to be the newest stays the same; else what
        was recorded with the image. Of an image without layers, which is not built yet, the lock's head `name` tells.
        """
        known = lock.read(self.project).heads
        if not image.layers:
            one = known.get(name)
            return HeadTime(name, lock.seconds(one.resolved)) if one is not None and one.resolved else HeadTime()
        recorded = self._recorded(image)
        if recorded is not None and not recorded.has_age:
            return HeadTime()
        times = {one.resolved: head for head, one in known.items() if one.layer == image.layers[0] and one.resolved}
        if times and not image.is_host:
            return HeadTime(times[max(times)], lock.seconds(max(times)))
        return HeadTime() if recorded is None else HeadTime(recorded.name, lock.seconds(recorded.resolved))

    def _recorded(self, image: Image) -> HeadRecord | None:
        """Return what was recorded of an image's head; None if nothing was, or it is gone."""
        try:
            return read(self.store.blobs.verify(image.inputs[0]).read_bytes()).head if image.inputs else None
        except (NotFound, Conflict):
            return None

    def _kept(self, head: TarHead, recipe: Digest) -> Digest:
        """Keep a head's archive in the store, where it is not there yet. Raises Conflict if `recipe` is of another."""
        known = self._content(head)
        if not self.store.blobs.are_whole([known]):
            known = self.store.blobs.add_file(self._archive(head))
        if _of_archive(known) != recipe:
            raise _changed(head)
        return known

    def _content(self, head: TarHead) -> Digest:
        """Return the digest of a head's archive; it is not read again while the kernel says that it is the same."""
        path = self._archive(head)
        digests = FileDigests(self._cache, path)
        sha = digests.sha256(os.fspath(path), path.stat())
        digests.save()
        return PREFIX + sha

    def _archive(self, head: TarHead) -> Path:
        path = self.project / head.path
        if not path.is_file():
            raise SpecError(
                f"there is no archive {head.path}",
                where=f"anew.yaml os.{head.name}.tar",
                hint=f"put it there, or correct the path (in {self.project})",
            )
        return path


def _moved(head: Head, pinned: lock.LockedHead, new: lock.LockedHead) -> Conflict:
    moves = moved(pinned.packages, new.packages)
    told = [one.text for one in moves[:_SHOWN]]
    more = f" and {len(moves) - _SHOWN} more" if len(moves) > _SHOWN else ""
    return Conflict(
        f"the head {head.name} can't be made again as it was locked: "
        + (f"packages moved: {', '.join(told)}{more}" if moves else "the same packages gave other files"),
        where=f"{lock.NAME} heads.{head.name}",
        hint="`anew build --update` accepts what there is now",
        facts={"locked": pinned.tree, "now": new.tree},
    )


def _digests(packages: Sequence[Package]) -> tuple[Digest, ...]:
    return tuple(one.digest for one in packages)


def _recipe(said: Mapping[str, object]) -> Digest:
    return digest({"format": _FORMAT, "epoch": EPOCH, "architecture": architecture(), **said})


def _of_archive(content: Digest) -> Digest:
    return _recipe({"tar": content})


def _of_recipe(text: bytes, context: Context) -> Digest:
    return _recipe({"dockerfile": digest_bytes(text), "context": context.digest})


def _changed(head: Head) -> Conflict:
    return Conflict(
        f"what the head {head.name} is made of changed while it was being read",
        where=f"anew.yaml os.{head.name}",
        hint="build again when nothing writes to it",
    )


def _os_release() -> str:
    path = Path("/etc/os-release")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else platform.system()


def named(heads: Sequence[Head], name: str) -> Head:
    """Return the head of that name; the spec's checks made sure that there is one."""
    found = next((head for head in heads if head.name == name), None)
    if found is None:
        raise Bug(f"no head named {name!r}")
    return found
