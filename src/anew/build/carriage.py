"""Releases on their way between this store and registries; implements `shell.parts.Carriage`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anew.build.drafts import sweep
from anew.build.pulling import Puller
from anew.build.pushing import Pusher
from anew.build.store import ImageStore
from anew.core.reference import Reference, Repository
from anew.model import Digest, Release
from anew.ports import Say
from anew.views import Carried


@dataclass(frozen=True, slots=True)
class Carriage:
    """Pushes from one store and pulls into it; `notes` is a folder for what is remembered of registries."""

    store: ImageStore
    notes: Path

    def push(
        self, release: Release, identity: bytes, to: Repository, say: Say, *, with_inputs: bool = False
    ) -> Carried:
        """Have a release in a repository; see `anew.build.pushing`."""
        self._sweep()
        return Pusher(self.store, self.notes).push(release, identity, to, say, with_inputs=with_inputs)

    def pull(
        self, reference: Reference, say: Say, *, project: str, expected: Digest = "", with_inputs: bool = False
    ) -> tuple[Release, Carried]:
        """Have a release here; see `anew.build.pulling`."""
        self._sweep()
        puller = Puller(self.store, self.notes, project, expected)
        return puller.pull(reference, say, with_inputs=with_inputs)

    def _sweep(self) -> None:
        sweep(self.store.drafts)
