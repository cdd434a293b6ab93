"""What was made: images, what a trial and a release hold of them."""

from __future__ import annotations

from dataclasses import dataclass

from anew.model.units import Digest
from anew.model.wish import Service


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity ladder of an image: each rung is a digest, and the first is known before building."""

    input: Digest  # recipe, locked heads, context
    tree: Digest  # paths, modes, owners, contents; no times
    diffs: tuple[Digest, ...]  # one per layer, of its uncompressed bytes
    config: Digest
    manifest: Digest


@dataclass(frozen=True, slots=True)
class Image:
    """What a recipe made; immutable; an OCI image in the image store."""

    identity: Identity
    layers: tuple[Digest, ...]  # lowest first; layer blobs are uncompressed, so these are the diff ids
    is_host: bool = False  # the head is the machine's own root: `layers` hold only what was added
    is_reproducible: bool = True  # false if a step had the network
    inputs: tuple[Digest, ...] = ()  # blobs to make it from again; first its definition. (): an older anew made it

    @property
    def digest(self) -> Digest:
        """The digest of the manifest, by which everything refers to the image."""
        return self.identity.manifest


@dataclass(frozen=True, slots=True)
class HeadTime:
    """When the head of an image was resolved. `head` is "" for one that has no age; `at` is 0.0 if nobody knows."""

    head: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """One service in a release: what to run, and from which image."""

    service: Service
    image: Image


@dataclass(frozen=True, slots=True)
class Actor:
    """A part in a trial, and who answers each of its needs there."""

    part: Part
    needs: tuple[int, ...] = ()  # places of the actors that it calls, one for each need, in the trial


@dataclass(frozen=True, slots=True)
class Trial:
    """What the image gate runs together: callees stand before their callers, and the last one is tested."""

    actors: tuple[Actor, ...]

    @property
    def tested(self) -> Part:
        """The part whose tests are run."""
        return self.actors[-1].part


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable set of images and service definitions, free of any environment; `name` is for people."""

    project: str
    name: str  # "r3"
    digest: Digest
    parts: tuple[Part, ...]
    at: float = 0.0
