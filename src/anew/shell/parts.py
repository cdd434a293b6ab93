"""What the shell is given by the composition root: engines, edges and builders, as values of the ports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from anew.core.reference import Reference, Repository
from anew.core.steps import Step
from anew.model import Digest, Gone, Image, Release, Remains, Scope, Selection, Service, Spec, Stock, Test, Trial
from anew.ports import Compute, Edge, Images, Inspection, Say, Volumes
from anew.views import Built, Carried, Check, HeadView, Kept, Rebuilt


class Making(Protocol):
    """How images are made: one project, one image store."""

    def input_digest(self, spec: Spec, service: Service) -> Digest:
        """Return the digest of everything that determines the image; runs nothing."""
        ...

    def build(self, spec: Spec, service: Service, say: Say, *, update: bool = False) -> tuple[Image, Built]:
        """Return the image of a service, made or recognised."""
        ...

    def recognised(self, spec: Spec, service: Service) -> Image | None:
        """Return the image if it can be recognised without making anything."""
        ...

    def lock(self, spec: Spec, heads: Sequence[str], say: Say, *, update: bool) -> tuple[HeadView, ...]:
        """See `anew.cases.Builder`."""
        ...

    def prove(self, service: str, image: Image, say: Say, *, is_offline: bool) -> Rebuilt:
        """Make an image again in an empty place, and compare."""
        ...

    def outdated(self, spec: Spec, say: Say) -> tuple[HeadView, ...]:
        """See `anew.cases.Builder`."""
        ...


class Carriage(Protocol):
    """How releases come to registries, and from there."""

    def push(
        self, release: Release, identity: bytes, to: Repository, say: Say, *, with_inputs: bool = False
    ) -> Carried:
        """Have a release in a repository; `identity` are the bytes that its digest is of."""
        ...

    def pull(
        self, reference: Reference, say: Say, *, project: str, expected: Digest = "", with_inputs: bool = False
    ) -> tuple[Release, Carried]:
        """Have a release of a project here, whole; return it without a name. `expected` is its digest, if known."""
        ...


class TryImage(Protocol):
    """The image gate."""

    def __call__(
        self, compute: Compute, scope: Scope, trial: Trial, serial: str, port: Callable[[], int], say: Say
    ) -> tuple[tuple[str, str], ...]:
        """Run the tests of a trial's last part, with fresh instances of all; return (test, "" or why it failed).

        `serial`, 8 hexadecimal digits, is part of the instances' names.
        """
        ...


class Room(Protocol):
    """The image store while a collection has it."""

    @property
    def is_dry(self) -> bool:
        """Whether nothing is removed, only looked at."""
        ...

    def stock(self) -> Stock:
        """Return all that lies in the store. Raises Conflict if that can't be told."""
        ...

    def reduce(self, stock: Stock, stay: Selection) -> tuple[Gone, ...]:
        """Remove all of `stock` but what is to stay, references before content; return what went. Idempotent."""
        ...


class Stockroom(Protocol):
    """The image store, for collections."""

    def opened(self, *, is_dry: bool) -> AbstractContextManager[Room]:
        """Let a collection have the store alone. Raises Conflict if others use it for too long."""
        ...

    def leftovers(self, *, is_dry: bool) -> tuple[Gone, ...]:
        """Remove what killed processes left half done; return what went."""
        ...


class Archive(Protocol):
    """What instances leave on an engine, for collections."""

    def living(self) -> Mapping[str, Digest]:
        """Return the images that instances run from, by instance."""
        ...

    def remains(self) -> tuple[Remains, ...]:
        """Return what ended and removed instances left."""
        ...

    def discard(self, names: Collection[str], *, is_dry: bool) -> tuple[Gone, ...]:
        """Remove what these ended instances left; return what went. Success for what is gone."""
        ...

    def long_logs(self) -> tuple[str, ...]:
        """Return the instances whose log has grown above its bound."""
        ...

    def bound_log(self, name: str, *, is_dry: bool) -> Gone:
        """Free the oldest part of such a log. Raises EngineError if that is not possible here."""
        ...


class Copies(Protocol):
    """What an engine keeps of images beside the image store, for collections."""

    def sweep(self, *, is_dry: bool) -> tuple[str, ...]:
        """End and remove the throwaway instances that killed callers left; return their names."""
        ...

    def reduce(self, stay: Collection[Digest], *, is_dry: bool) -> tuple[tuple[Gone, ...], tuple[Kept, ...]]:
        """Remove the copies of all images that this state brought there, but of those that `stay`. Idempotent.

        Returns  what went, and what did not, with the reason: an engine that does not answer is one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything concrete, chosen in one place."""

    compute: Callable[[Scope], Compute]
    volumes: Callable[[Scope], Volumes | None]  # of the engine that runs the environment
    require_engine: Callable[[str], None]  # raises Unsupported, with what is missing, where an engine can't run here
    prepare: Callable[[Scope, Sequence[Image], Say], None]  # brings images, and what takes long, to the engine
    leave: Callable[[Scope], None]  # removes what an engine has for a scope in which nothing runs any more
    inspection: Callable[[Scope], Inspection]
    edge: Callable[[Scope], Edge]
    images: Callable[[], Images]
    stockroom: Callable[[], Stockroom]
    archive: Callable[[], Archive]
    own_images: Callable[[], Sequence[tuple[Image, str]]]  # of anew itself, which no release names, and why they stay
    copies: Callable[[], Sequence[Copies]]  # of the engines that have some
    sweep: Callable[[Scope], tuple[str, ...]]  # ends what killed callers left on an environment's engine; their names
    update_edge: Callable[[Say], None]  # makes the edge's image of today's packages, where one was ever made
    unheld: Callable[[Scope], Mapping[str, str]]  # limits that its engine can't hold here, and why
    making: Callable[[Path], Making]  # project root → how its images are made
    carriage: Callable[[], Carriage]
    try_image: TryImage
    http_failure: Callable[[Test, int, str], str]  # test, port, Host header → "" or why it failed
    is_free: Callable[[int], bool]  # whether a port can be bound now
    require_address: Callable[[Scope, str, int], None]  # raises Conflict unless the edge has the address or may take it
    doctor: Callable[[], tuple[Check, ...]]
    schema: Callable[[], dict[str, object]]  # of the spec, for editors
    parse: Callable[[Path], Spec]  # project root → what its file says
    project: Callable[[Path], str]  # project root → its name, though the rest of the file may be broken
    start_keeper: Callable[[Scope], Callable[[], bool]]  # detached, at once; the answer says whether it still runs
    around: Callable[[str, Step], None]  # "before" or "after" each step: for faults in tests, else nothing
