"""Answers about what is made of images: their inputs and tests, releases, plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from anew.model import Bytes, Digest, Seconds


@dataclass(frozen=True, slots=True)
class PackageMove:
    """A package of which a head has another version, or the image that it stands for; "" for none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class HeadView:
    """One operating-system head, or a fetched file by its address: what it is locked to, and what moved."""

    head: str
    source: str  # as "debian bookworm", "tar rootfs.tar", "image localhost:5000/base:1", "host" or "file"
    layer: Digest  # "" if it is not locked as the spec says
    resolved: str  # when, in UTC; "" if that is not known
    age: Seconds  # since then; 0 if that is not known
    packages: int
    size: Bytes  # of all package files
    moves: tuple[PackageMove, ...]  # `lock`: what it changed; `outdated`: what an update would change
    overdue: tuple[str, ...] = ()  # environments for which it is too old: "production takes none older than 30 days"
    image: Digest = ""  # the manifest that an image's reference was resolved to; "" of other heads


Verdict = Literal["identical", "same tree", "differs", "not proved"]  # of making an image again


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that came out otherwise when an image was made again."""

    path: str
    what: str  # as "content", "only now", "mode 644 before, 600 now"
    cause: str  # "" if none is known


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of making an image again."""

    service: str
    manifest: Digest
    verdict: Verdict
    why: str  # what stands in the way of a proof; "" if nothing
    differences: tuple[Difference, ...]
    seconds: Seconds
    releases: tuple[str, ...] = ()  # that have it


@dataclass(frozen=True, slots=True)
class Carried:
    """A release that was brought to a registry, or from there."""

    release: str  # its name here
    digest: Digest
    repository: str
    index: Digest  # by which it is named there for good: REPOSITORY@INDEX
    tags: tuple[str, ...]  # `push`: under which it and its images are there
    is_new: bool  # where it was brought to it was not known
    images: Mapping[str, Digest]  # manifests, by service
    statements: int  # what is said of its images
    size: Bytes  # of all its blobs
    moved: Bytes  # of them: the others were there
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Tested:
    """The verdict of the image gate about one image."""

    service: str
    manifest: Digest
    is_passed: bool
    is_reused: bool
    results: tuple[tuple[str, str], ...]  # test, "" if it passed, else why it failed
    at: float  # when the verdict was given


@dataclass(frozen=True, slots=True)
class Plan:
    """What `up` would do."""

    environment: str
    release: str  # its name, or "new" if it would be made
    builds: tuple[str, ...]  # a line per image that would be built
    steps: tuple[str, ...]  # `describe()` of each step, in order
    notes: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()  # a line per service that comes into traffic by stages, and what if one is undecided


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """One release and where it runs."""

    name: str
    digest: Digest
    at: float
    images: Mapping[str, Digest]
    generations: tuple[str, ...]  # "local g3 promoted"
