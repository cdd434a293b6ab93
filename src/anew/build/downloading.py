"""One blob of a registry, on its way into the image store: half of one is kept, and nobody takes it for a whole one."""

from __future__ import annotations

from collections.abc import Sequence

from anew.build.drafts import Draft, disk_errors
from anew.build.store import ImageStore
from anew.errors import Conflict
from anew.model import Bytes
from anew.registry import downloads
from anew.registry.client import Described, Registry
from anew.registry.together import together


def fetch(registry: Registry, store: ImageStore, wanted: Sequence[Described]) -> Bytes:
    """Have all these blobs in the store; return how many bytes came over the wire.

    Raises  NotFound if the registry lacks one; Conflict if it has other bytes under its digest.
    """
    unlike = {one.digest: one for one in wanted if not store.blobs.are_whole([one.digest])}
    # The largest first: the small ones fill the gaps at the end.
    ordered = sorted(unlike.values(), key=lambda one: (-one.size, one.digest))
    return sum(together(registry.wire, [lambda one=one: _fetched(registry, store, one) for one in ordered]))  # type: ignore[misc]


def _fetched(registry: Registry, store: ImageStore, blob: Described) -> Bytes:
    with store.lock(f"fetch {blob.digest}"):
        if store.blobs.are_whole([blob.digest]):
            return 0
        path = store.partial(blob.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644)
        with disk_errors(path.parent), path.open("r+b") as file:
            try:
                count = downloads.fetch(registry, blob, file)
            except Conflict:
                path.unlink(missing_ok=True)
                raise
            store.blobs.add(blob.digest, Draft(file, path))
        return count
