"""What the shell is given by the composition root: engines, edges and builders, as values of the ports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol

from anew.model import (
    AS_USUAL,
)

if TYPE_CHECKING:  # what only one command needs
    from anew.core.reference import Reference, Repository
    from anew.core.steps import Step
    from anew.model import (
        Digest,
        Gone,
        HeadTime,
        Image,
        Manner,
        Release,
        Remains,
        Scope,
        Selection,
        Service,
        Spec,
        Stock,
        Test,
        Trial,
    )
    from anew.model.comparison import ImageComparison
    from anew.model.developed import Sources
    from anew.ports import Compute, Edge, Images, Inspection, Say, Volumes, Workbench
    from anew.views import Built, Carried, Check, HeadView, Kept, Rebuilt, Tested


class Making(Protocol):
    """How images are made: one project, one image store."""

    def input_digest(self, spec: Spec, service: Service) -> Digest:
        """Return the digest of everything that determines the image; runs nothing."""
        ...

    def build(
        self, spec: Spec, service: Service, say: Say, *, update: bool = False, manner: Manner = AS_USUAL
    ) -> tuple[Image, Built]:
        """Return the image of a service, made or recognised."""
        ...

    def partly(self, spec: Spec, service: Service, say: Say, manner: Manner) -> Built:
        """Build as far as a step, and make no image."""
        ...

    def recognised(self, spec: Spec, service: Service) -> Image | None:
        """Return the image if it can be recognised without making anything."""
        ...

    def lock(self, spec: Spec, heads: Sequence[str], say: Say, *, update: bool) -> tuple[HeadView, ...]:
        """See `anew.cases.Builder`."""
        ...

    def proving(self, *, is_offline: bool) -> AbstractContextManager[Callable[[str, Image, Say], Rebuilt]]:
        """Yield what makes the image of a service again in an empty place, and compares."""
        ...

    def head_time(self, image: Image, head: str) -> HeadTime:
        """Return when the head of an image was resolved; of an image without layers, when `head` was."""
        ...

    def outdated(self, spec: Spec, say: Say) -> tuple[HeadView, ...]:
        """See `anew.cases.Builder`."""
        ...


class Notary(Protocol):
    """Who signs what is said of images and of ledgers for a project, and looks whether it was said."""

    def attest(self, service: str, image: Image) -> None:
        """Say what an image that was made here is, and how it was made. Idempotent."""
        ...

    def testify(self, trial: Trial, key: Digest, tested: Tested) -> None:
        """Say that the tests of a trial, remembered under `key`, passed; nothing of one that failed. Idempotent."""
        ...

    def doubts(self, image: Image, key: Digest, trusted: Sequence[str]) -> tuple[str, ...]:
        """Return why an image, whose trial has that key, may not be sealed; () if it may.

        `trusted` are lines of public keys; if there are none, this project's own key is trusted.
        """
        ...

    def explains(self, image: Image, trusted: Sequence[str]) -> bool:
        """Say whether a trusted key, or the own one, said that an image was made from the definition that it names."""
        ...

    def changed(self, image: Image) -> tuple[str, ...]:
        """Return which parts of an image, and of what was said of it, are gone or not as they were; reads all."""
        ...

    def signers(self, image: Image, trusted: Sequence[str]) -> tuple[str, ...]:
        """Return the ids of the trusted keys that said something of an image, sorted."""
        ...

    def trusted(self, lines: Sequence[str]) -> tuple[str, ...]:
        """Return the ids of the keys of these lines; without any, of the project's own one."""
        ...

    def line(self) -> str:
        """Return the public half of the project's own key, as a spec trusts it."""
        ...


class Witness(Protocol):
    """Who signs how far the ledger of an environment has come, and remembers it outside of the state."""

    def sign(self, number: int, hash_: Digest) -> None:
        """Remember that the newest event has this number and hash. Idempotent."""
        ...

    def seen(self) -> tuple[int, Digest, str] | None:
        """Return number and hash of the event that was signed last, and the key; None if nothing ever was.

        Raises  Conflict if what is remembered was changed.
        """
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


class Company(Protocol):
    """Fresh instances of services that another one needs."""

    def __call__(
        self, compute: Compute, scope: Scope, trial: Trial, serial: str, port: Callable[[], int], say: Say
    ) -> AbstractContextManager[Mapping[str, int]]:
        """Let all of a trial run until the block ends; yields the port of each service that listens.

        `serial`, 8 hexadecimal digits, is part of the instances' names. Raises EngineError if one can't become ready.
        """
        ...


class SourceTree(Protocol):
    """What a service copies, in the project's folder."""

    def sources(self, image: Image) -> Sources:
        """Return how the sources, as they are now, are mounted into an image of the service.

        Raises  SpecError for a source that is missing or can't be part of an image; Unsupported for too many mounts.
        """
        ...

    def changed(self, watched: Sequence[str], stop: Event) -> Iterator[tuple[str, ...]]:
        """Yield what changed, gathered for a moment, relative to the project; ends when `stop` is set."""
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
    wrong_with_lock: Callable[[Path], str | None]  # of a project
    notary: Callable[[str], Notary]  # of a project
    witness: Callable[[Scope], Witness]
    carriage: Callable[[], Carriage]
    try_image: TryImage
    company: Company
    workbench: Callable[[], Workbench]
    source_tree: Callable[[Path, Service], SourceTree]  # of a project's folder
    compare_images: Callable[[Image, Image], ImageComparison]
    http_failure: Callable[[Test, int, str], str]  # test, port, Host header → "" or why it failed
    is_free: Callable[[int], bool]  # whether a port can be bound now
    require_address: Callable[[Scope, str, int], None]  # raises Conflict unless the edge has the address or may take it
    doctor: Callable[[], tuple[Check, ...]]
    schema: Callable[[], dict[str, object]]  # of the spec, for editors
    parse: Callable[[Path], Spec]  # project root → what its file says
    project: Callable[[Path], str]  # project root → its name, though the rest of the file may be broken
    start_keeper: Callable[[Scope], Callable[[], bool]]  # detached, at once; the answer says whether it still runs
    around: Callable[[str, Step], None]  # "before" or "after" each step: for faults in tests, else nothing
