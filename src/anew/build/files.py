"""Files that a service fetches: resolved once, pinned in `anew.lock` by address and content, kept in the store.

In an image such a file is what a copied one is: its content is a part of the input digest, its bytes lie in the layer
of what was copied, and there a rebuild takes them from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anew.build import lock
from anew.build.context import Context, Item, check_parents
from anew.build.lock import LockedFile
from anew.build.store import ImageStore
from anew.core.digest import PREFIX, digest
from anew.errors import SpecError
from anew.model import Digest, Fetch, Service
from anew.ports import Say


@dataclass(frozen=True, slots=True)
class Files:
    """The fetched files of one project."""

    project: Path
    store: ImageStore

    def pinned(self, one: Fetch) -> LockedFile | None:
        """Return what an address is locked to; None if that is not what the spec wants, or nothing."""
        found = lock.read(self.project).files.get(one.url)
        return None if found is None or (one.sha256 and found.digest != PREFIX + one.sha256) else found

    def context(self, service: Service, copied: Context) -> Context:
        """Return what is copied and what is fetched together; the address stands in for what is not locked yet.

        Raises  SpecError if a file would be fetched to where another one is copied.
        """
        if not service.fetch:
            return copied
        where = f"anew.yaml services.{service.name}.fetch"
        items = {item.target: item for item in copied.items}
        for one in service.fetch:
            item = self._item(one)
            if item.target in items:
                raise SpecError(
                    f"/{item.target} comes from two places, and {one.url} is one of them",
                    where=where,
                    hint="choose another target for one of the two",
                )
            items[item.target] = item
        check_parents(items, where)
        ordered = tuple(items[target] for target in sorted(items))
        return Context(ordered, digest([[i.target, i.kind, i.mode, i.content] for i in ordered]))

    def resolve(self, service: Service, say: Say, *, is_update: bool = False) -> None:
        """Lock what is not locked yet; with `is_update` look again at all that the spec has no digest of.

        Raises  as `anew.build.fetching.fetched`.
        """
        for one in service.fetch:
            with self.store.lock(f"file {one.url}"):
                pinned = self.pinned(one)
                if pinned is None or (is_update and not one.sha256):
                    wanted = PREFIX + one.sha256 if one.sha256 else ""
                    self._lock(one, pinned, self._fetched(service, one, wanted, say, is_kept=True))

    def supply(self, service: Service, say: Say) -> None:
        """Have all that is locked in the store; what is lost is fetched again, and must be what it was. Raises so."""
        for one in service.fetch:
            with self.store.lock(f"file {one.url}"):
                pinned = self.pinned(one)
                if pinned is not None and not self.store.blobs.are_whole([pinned.digest]):
                    self._fetched(service, one, pinned.digest, say, is_kept=True)

    def today(self, service: Service, one: Fetch, say: Say) -> Digest:
        """Return the digest of what an address gives now; nothing is kept."""
        return self._fetched(service, one, "", say, is_kept=False)[0]

    def recorded(self, service: Service) -> tuple[tuple[str, Digest], ...]:
        """Return the addresses of a service and what they are locked to, for a definition."""
        found = ((one.url, self.pinned(one)) for one in service.fetch)
        return tuple((url, pinned.digest) for url, pinned in found if pinned is not None)

    def _fetched(self, service: Service, one: Fetch, wanted: Digest, say: Say, *, is_kept: bool) -> tuple[Digest, int]:
        from anew.build.fetching import Wanted, fetched  # noqa: PLC0415 - takes long, and most builds fetch nothing

        where = f"anew.yaml services.{service.name}.fetch.{one.url}"
        with fetched(Wanted(one.url, wanted, where), self.store.drafts, say) as found:
            if is_kept:
                self.store.blobs.add(found.digest, found.draft)
            return found.digest, found.size

    def _lock(self, one: Fetch, before: LockedFile | None, found: tuple[Digest, int]) -> None:
        now = datetime.now(UTC).strftime(lock.TIME)
        new = LockedFile(*found, now)
        if before is None or before != new:
            with self.store.lock(f"lock {self.project}"):
                lock.with_file(self.project, one.url, new)

    def _item(self, one: Fetch) -> Item:
        pinned, mode = self.pinned(one), 0o755 if one.is_executable else 0o644
        target = one.target.strip("/")
        if pinned is None:
            return Item(target, "file", mode, content=f"unfetched:{one.url}")
        path = self.store.blobs.path(pinned.digest)
        return Item(target, "file", mode, str(path), pinned.size, pinned.digest.removeprefix(PREFIX))


def every(services: Iterable[Service]) -> Iterator[tuple[Service, Fetch]]:
    """Yield every address once, with the first service that has it."""
    known: set[str] = set()
    for service in services:
        for one in service.fetch:
            if one.url not in known:
                known.add(one.url)
                yield service, one
