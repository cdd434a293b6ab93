"""The narrow seams of anew: what the outside must offer, and what anew offers to its faces.

All methods are idempotent and keyed by name. Errors are those of `anew.errors`; a method names the ones that
callers are expected to meet. `None` in place of a port means that the engine does not offer it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from anew.model import (
    Bytes,
    Declaration,
    Digest,
    EdgeReading,
    Image,
    Instance,
    Order,
    Outcome,
    Scope,
    Seconds,
    Touched,
    Weights,
)
from anew.views import (
    Built,
    Check,
    Collected,
    Event,
    Plan,
    ReleaseView,
    SecretView,
    Start,
    Status,
    Tested,
    Verified,
    VolumeRemoved,
    VolumeView,
    Why,
)

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

    def inside(self, scope: Scope) -> str:
        """Return the IP address of this machine on which the instances of `scope` call the edge; made if need be.

        Consistency  it stays the same while anything of `scope` runs.
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


class Inspection(Protocol):
    """What an engine tells of an instance beyond whether it lives."""

    def touched(self, scope: Scope, alive: Mapping[str, int], since: float) -> Touched:
        """Return who touched the instances of `scope` that are `alive`, given with their pids, from outside, in words.

        What a process that is inside does to it shows as long as it lasts; what came and went since `since` (UTC
        seconds, of an earlier answer's `until`; 0: whatever is still known) where the engine keeps a record of it.
        """
        ...

    def peak_memory(self, name: str) -> Bytes:
        """Return the most memory that an instance, living or just ended, ever had; 0 if that is not known."""
        ...

    def entry(self, name: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command line that runs `command` inside a living instance, as its user, on this terminal.

        Raises  NotFound if no instance of that name lives; Unsupported with what is missing.
        """
        ...


class Volumes(Protocol):
    """Where an engine keeps the folders that outlive every instance; `Compute.launch` and `run` make them."""

    def volumes(self, scope: Scope) -> tuple[tuple[str, str, Bytes], ...]:
        """Return service, name and bytes on the disk of every volume of `scope`, sorted.

        They are the project's and the environment's, whichever state launched what has them.
        """
        ...

    def remove_volume(self, scope: Scope, service: str, name: str) -> None:
        """Remove a volume, with all that is in it, for good; the next launch that asks for it has an empty one.

        Idempotent  removing what is gone is success, and finishes a removal that was broken off.
        Blocks      until all of it is gone.
        Raises      Conflict if an instance that is alive has it, a throwaway one too.
        """
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

        Idempotent  what is declared already changes nothing. Targets and pins change without a reload; groups, routes
                    and the set of listeners by one, and no request and no connection ends by it.
        Blocks      until the new configuration serves: a pin holds for every new request, also on connections from
                    before, and for every new TCP connection.
        Raises      Conflict if an address is taken by another program; NotFound for a pin to an undeclared group;
                    EngineError if the configuration is refused, in which case what ran goes on.
        """
        ...

    def shift(self, weights: Weights) -> None:
        """Set the weights of all services at once; returns when every worker has confirmed them.

        Idempotent. A service with no weights answers 503 with Retry-After, or takes no TCP connection. Raises NotFound
        for an undeclared group.
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

    def up(self, environment: str, release: str, say: Say, *, again: bool = False, supersede: bool = False) -> int:
        """Make a release the wish; return its generation.

        `release` is its name; or the name of another environment, for the one that serves there; or empty, for what
        the file says: built, tested, released. With `supersede` a rollout that has stages to go is taken back first.
        Raises  Conflict while another rollout has stages to go, unless `supersede`; GateClosed if a test fails, or if
                the same seal failed here before and not `again`; NotFound for a secret that has no value here.
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


class Custodian(Protocol):
    """The use cases that keep house. A secret's value goes in, and never comes out again but into an instance."""

    def put_secret(self, environment: str, name: str, value: bytes) -> int:
        """Keep `value` as the newest version of a secret; return its number. What runs is not touched.

        Idempotent  the newest value again makes no new version. Raises SpecError for a name or value that can't be.
        """
        ...

    def secrets(self, environment: str) -> tuple[SecretView, ...]:
        """Return every version of every secret of an environment, without values, newest last."""
        ...

    def run(self, environment: str, service: str, command: Sequence[str], limit: Seconds) -> Outcome:
        """Run a command in a throwaway instance of what serves: same image, flags, secrets and addresses.

        Blocks  until it ends, at most `limit`. Raises NotFound if nothing serves, or not that service.
        """
        ...

    def collect(self, say: Say, *, is_dry: bool) -> Collected:
        """Remove what no retained generation of this state needs; with `is_dry` only say what that would be."""
        ...

    def revoke_secret(self, environment: str, name: str, version: int) -> tuple[int, tuple[str, ...]]:
        """Make a version (0: the newest) unusable for good.

        Returns  its number, and the generations that hold it and so are no way back any more.
        Raises   Conflict if what serves or is wanted holds it; NotFound if there is no such version.
        """
        ...

    def volumes(self, environment: str) -> tuple[VolumeView, ...]:
        """Return the volumes of an environment, sorted. Raises Unsupported where the engine has none."""
        ...

    def remove_volume(self, environment: str, service: str, name: str, *, is_forced: bool) -> VolumeRemoved:
        """Remove a volume, with all that is in it, for good.

        Blocks   until all of it is gone.
        Raises   Conflict if an instance has it, or, unless `is_forced`, a generation that is kept needs it; NotFound
                 if there is none.
        """
        ...


class Mender(Protocol):
    """The use cases that fix without touching what serves."""

    def rebirth(self, environment: str, service: str) -> tuple[str, ...]:
        """Ask for every instance of what serves ("": of all services) to be replaced, one at a time of each service.

        Returns  the instances that will go; they do when no rollout has stages to go. Raises NotFound if nothing
                 serves, or not that service.
        """
        ...

    def take_aside(self, environment: str, service: str, say: Say) -> str:
        """Take one instance out of traffic, hold it for a minute, and return its name.

        Blocks   until another one has taken its place, and nothing is in flight in it.
        Raises   Conflict while a rollout has stages to go, or if there may be only one; NotFound if it does not
                 serve; EngineError if nothing takes its place in time: then it stays in traffic.
        """
        ...

    def hold(self, environment: str, name: str, span: Seconds) -> None:
        """Hold an instance that was taken aside for so long from now on; with 0 it is disposed of.

        Raises  NotFound if it has ended.
        """
        ...

    def entry(self, environment: str, name: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command line that runs `command` inside an instance, as its user, on this terminal."""
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

    def why(self, environment: str, generation: int) -> Why:
        """Return why a generation (0: the last that was sealed) is what it is. Raises NotFound if there is none."""
        ...

    def verify(self, environment: str) -> Verified:
        """Walk the chain of the environment's ledger from its first event, and say whether it holds."""
        ...

    def schema(self) -> dict[str, object]:
        """Return the JSON Schema of the spec."""
        ...

    def doctor(self) -> tuple[Check, ...]:
        """Return what this machine has and lacks."""
        ...


class Starter(Protocol):
    """What `init` asks for: it needs no project and no state."""

    def __call__(self, folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> Start:
        """Write the spec that brings live what is in `folder`; with `is_writing` false, only say what it would be.

        `kind` and `command` are chosen by the user; "": found by looking.
        Raises  Conflict if there is a spec; SpecError if nothing that can be served is found; NotFound for no folder.
        """
        ...


class Anew(Builder, Mover, Custodian, Mender, Viewer, Protocol):
    """Everything that a face can ask for."""
