"""What lies in the image store and what is left of ended instances: what a collection looks at before it removes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anew.model.units import Bytes, Digest, Scope


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in the index of the store."""

    digest: Digest
    name: str  # "shop-web-0123456789ab"
    config: Digest  # "" if its manifest is gone or damaged: then its layers aren't known
    layers: tuple[Digest, ...]
    used: float  # when it was last made, recognised or admitted
    evidence: tuple[Digest, ...] = ()  # what was said of it


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A layer that a lock pins."""

    layer: Digest
    name: str
    used: float
    packages: tuple[Digest, ...] = ()  # the files that it was made of


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a build step made; `layers` are none if it changed nothing, or if the note is damaged."""

    key: Digest
    layers: tuple[Digest, ...]
    used: float


@dataclass(frozen=True, slots=True)
class Stock:
    """What lies in the image store."""

    images: tuple[StoredImage, ...] = ()
    heads: tuple[StoredHead, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    blobs: Mapping[Digest, float] = field(default_factory=dict)  # when each was last made or looked at


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a stock shall stay; everything else may go."""

    images: frozenset[Digest] = frozenset()
    heads: frozenset[Digest] = frozenset()  # by layer
    checkpoints: frozenset[Digest] = frozenset()  # by key
    blobs: frozenset[Digest] = frozenset()  # and layers unpacked from them


@dataclass(frozen=True, slots=True)
class Remains:
    """Record and logs of an instance that has ended."""

    name: str
    scope: Scope
    group: str
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Gone:
    """One thing that was removed, or would be, and what it took on the disk."""

    kind: Literal["image", "head", "checkpoint", "layer", "note", "leftover", "log", "part", "copy", "accounts"]
    name: str
    size: Bytes
