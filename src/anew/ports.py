"""The narrow seams of anew: what the outside must offer, and what anew offers to its faces.

All methods are idempotent and keyed by name. Errors are those of `anew.errors`; a method names the ones that
callers are expected to meet. `None` in place of a port means that the engine does not offer it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from anew.model import (
    Declaration,
    Digest,
    EdgeReading,
    Image,
    Instance,
    Order,
    Outcome,
    Scope,
    Seconds,
    Weights,
)
from anew.views import Built, Check, Event, Plan, ReleaseView, Status, Tested

Say = Callable[[str], None]  # takes one line of progress for people


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Return UTC seconds since the epoch; may step back."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        ...


class Compute(Protocol):
    """Where instances live."""

    heals: bool
    """True if the platform names and replaces its instances itself."""

    def instances(self, scope: Scope) -> tuple[Instance, ...]:
        """Return every instance of `scope` that was launched and not removed, ended ones too, sorted by name.

        Consistency  a launch or stop that returned is seen at once, by every client.
        """
        ...

    def launch(self, order: Order) -> None:
        """Start the instance that `order` describes.

        Idempotent  an instance of that name, alive or ended, is left as it is.
        Blocks      until its process runs; not until it listens. At most 10 s.
        Raises      Conflict if another state owns the name or the port is taken; NotFound if a layer is missing;
                    EngineError with the command line if the sandbox does not start.
        """
        ...

    def stop(self, name: str, grace: Seconds) -> None:
        """Send SIGTERM to the application, wait up to `grace`, then end all that is left of the instance.

        Idempotent  stopping what has ended or is unknown is success.
        Blocks      until nothing of it runs.
        """
        ...

    def remove(self, name: str) -> None:
        """Forget an ended instance; its logs and its record stay readable by `logs`.

        Idempotent  removing what is gone is success. Raises Conflict if it is alive.
        """
        ...

    def run(self, order: Order, limit: Seconds) -> Outcome:
        """Run `order` to its end in a throwaway instance of its own, at most `limit`; nothing of it is left."""
        ...

    def logs(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last `lines` lines that an instance wrote, oldest first; also of one that was removed.

        Raises NotFound if no instance of that name ever ran here.
        """
        ...

    def drift(self, name: str) -> tuple[str, ...]:
        """Return what differs between a running instance and its image, a line each; () if nothing does."""
        ...


class Images(Protocol):
    """Where an engine keeps images ready to run."""

    def has(self, digest: Digest) -> bool:
        """Say whether the image can be launched at once."""
        ...

    def admit(self, image: Image) -> None:
        """Make `image` ready to be launched; verifies every blob. Idempotent.

        Raises NotFound if a blob is missing, Conflict if a blob's bytes do not match its digest.
        """
        ...

    def remove(self, digest: Digest) -> None:
        """Forget an image; success if it is gone. Layers that other admitted images use stay."""
        ...


class Edge(Protocol):
    """The load balancer in front of the groups of one environment."""

    def reading(self) -> EdgeReading:
        """Return what the edge is doing, from the edge itself; `is_up` is False where it does not answer."""
        ...

    def declare(self, declaration: Declaration) -> None:
        """Make the edge run and know exactly `declaration`; weights stay as they are.

        Idempotent  what is declared already changes nothing. Targets change without a reload; groups and routes by one.
        Blocks      until the new configuration serves.
        Raises      Conflict if the address is taken by another program; EngineError if the configuration is refused,
                    in which case what ran goes on.
        """
        ...

    def shift(self, weights: Weights) -> None:
        """Set the weights of all services at once; returns when every worker has confirmed them.

        Idempotent. A service with no weights answers 503 with Retry-After. Raises NotFound for an undeclared group.
        """
        ...

    def stop(self) -> None:
        """End the edge and all its workers; success if it is not running."""
        ...


class Builder(Protocol):
    """The use cases that make things."""

    def plan(self, environment: str, say: Say) -> Plan:
        """Say every step that `up` would take now, and build nothing; `steps` is empty if there is nothing to do."""
        ...

    def build(self, services: Sequence[str], say: Say, *, update: bool = False) -> tuple[Built, ...]:
        """Build the images of `services` (all of them if empty); `update` resolves the heads again."""
        ...

    def test(self, services: Sequence[str], say: Say) -> tuple[Tested, ...]:
        """Build, then run the image gate; raises GateClosed if a test fails."""
        ...


class Mover(Protocol):
    """The use cases that move traffic. All return once the intention is committed and a keeper acts on it."""

    def up(self, environment: str, release: str, say: Say, *, again: bool = False) -> int:
        """Make `release` (or, if empty, what the file says: built, tested, released) the wish; return its generation.

        Raises  Conflict while another rollout has stages to go; GateClosed if a test fails, or if the same seal
                failed here before and not `again`.
        """
        ...

    def rollback(self, environment: str, generation: int) -> int:
        """Make `generation` the wish (0: the last that served before this one and did not fail); return its number.

        While a rollout has stages to go, and `generation` is 0, this is `abort`.
        """
        ...

    def promote(self, environment: str) -> int:
        """Skip the stages that remain; return the generation. Raises Conflict if no rollout has stages to go."""
        ...

    def abort(self, environment: str) -> int:
        """Take the rollout back; return the generation that goes. Raises Conflict if there is none."""
        ...

    def dispose(self, environment: str, say: Say) -> None:
        """Take all that runs in the environment out of traffic and end it: instances, edge and keeper.

        Releases, generations, ledger and logs stay; `up` begins anew.
        Idempotent. Blocks  until nothing of it runs.
        """
        ...

    def serve(self, environment: str, *, until_idle: bool, say: Say) -> None:
        """Be the keeper of the environment, in this process. Raises Conflict if another process is."""
        ...


class Viewer(Protocol):
    """The use cases that only look."""

    def status(self, environment: str) -> Status:
        """Return what there is now; fast, and without touching anything."""
        ...

    def releases(self) -> tuple[ReleaseView, ...]:
        """Return all releases of the project, newest first."""
        ...

    def history(self, environment: str, limit: int) -> tuple[Event, ...]:
        """Return the newest `limit` events of the ledger, oldest first."""
        ...

    def logs(self, environment: str, target: str, lines: int) -> tuple[tuple[str, str], ...]:
        """Return (instance, line) of the last lines of a service, group or instance, disposed ones too."""
        ...

    def doctor(self) -> tuple[Check, ...]:
        """Return what this machine has and lacks."""
        ...


class Anew(Builder, Mover, Viewer, Protocol):
    """Everything that a face can ask for."""
