"""What the shell is given by the composition root: engines, edges and builders, as values of the ports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from anew.core.steps import Step
from anew.model import Digest, Image, Part, Scope, Service, Spec, Test
from anew.ports import Compute, Edge, Images, Say
from anew.views import Built, Check


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


class TryImage(Protocol):
    """The image gate."""

    def __call__(
        self, compute: Compute, scope: Scope, part: Part, port: Callable[[], int], say: Say
    ) -> tuple[tuple[str, str], ...]:
        """Run the tests of a service in a fresh instance of its image; return (test, "" or why it failed)."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything concrete, chosen in one place."""

    compute: Callable[[Scope], Compute]
    edge: Callable[[Scope], Edge]
    images: Images
    making: Callable[[Path], Making]  # project root → how its images are made
    try_image: TryImage
    http_failure: Callable[[Test, int, str], str]  # test, port, Host header → "" or why it failed
    is_free: Callable[[int], bool]  # whether a port can be bound now
    require_address: Callable[[Scope, str, int], None]  # raises Conflict unless the edge has the address or may take it
    doctor: Callable[[], tuple[Check, ...]]
    parse: Callable[[Path], Spec]  # project root → what its file says
    project: Callable[[Path], str]  # project root → its name, though the rest of the file may be broken
    start_keeper: Callable[[Scope], Callable[[], bool]]  # detached, at once; the answer says whether it still runs
    around: Callable[[str, Step], None]  # "before" or "after" each step: for faults in tests, else nothing
