"""What differs between two releases, or two generations, and what each difference comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anew.model.units import Digest

Became = Literal["equal", "changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs; "" where there is none."""

    name: str  # as "flags.GREETING", "openssl", "build[0]"
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """A path of an image that differs, relative to its root."""

    path: str
    what: str  # "added", "removed", "content", "mode 644 before, 600 now", "file before, symlink now"
    origin: str  # where it comes from: "package openssl 3.0.15 → 3.0.16", "copy", "build[0]"; "" where nobody can tell


@dataclass(frozen=True, slots=True)
class ImageComparison:
    """What differs between two images of a service."""

    before: Digest
    after: Digest
    is_same_tree: bool  # all files are equal, though they may be packed otherwise
    inputs: tuple[Change, ...] = ()  # head, steps, and all else that the image is made from
    packages: tuple[Change, ...] = ()  # of the distribution, in the heads
    copied: tuple[FileChange, ...] = ()  # what `copy` brings in
    files: tuple[FileChange, ...] = ()  # all of the image
    unknown: tuple[str, ...] = ()  # what can't be told, and why


@dataclass(frozen=True, slots=True)
class ServiceComparison:
    """What became of one service."""

    service: str
    became: Became
    image: ImageComparison | None  # None where only one of the two has it, or both have the very same
    settings: tuple[Change, ...]  # command, flags, versions of secrets, limits, size, tests, …


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: str  # "r3" or "g5"
    release: str  # "r3"
    digest: Digest  # of the release
    at: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two releases or generations in one view."""

    before: Side
    after: Side
    is_equal: bool
    services: tuple[ServiceComparison, ...]
    notes: tuple[str, ...] = ()  # what the comparison does not cover, and why
