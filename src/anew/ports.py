"""The narrow seams of anew: what the outside must offer. What anew offers to its faces is in `anew.cases`.

All methods are idempotent and keyed by name. Errors are those of `anew.errors`; a method names the ones that
callers are expected to meet. `None` in place of a port means that the engine does not offer it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # what only one command needs
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
    from anew.model.developed import Mount, Trace

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

    heals: bool  # True if the platform names and replaces its instances itself

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

    def changes(self, name: str) -> tuple[str, ...]:
        """Return a line for each file of an instance, living or ended, that is not as in its image."""
        ...

    def folder(self, name: str, path: str) -> int:
        """Return a descriptor of a folder in a living instance, open for reading; the caller closes it.

        It stays good when the instance has ended, so that what was written last can be read then.

        Raises  NotFound if no instance of that name lives, or it has no such folder; links are not followed.
        """
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

    def reading(self, *, has_times: bool = False) -> EdgeReading:
        """Return what the edge is doing, from the edge itself; `is_up` is False where it does not answer.

        With `has_times`, the counts have `times`, too, which takes longer.
        """
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

    def renew(self) -> bool:
        """Let a program that is wanted instead of the running one take over, as `declare` would; return if there is."""
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


class Workpiece(Protocol):
    """An instance under development: its root may be written to, and its application be started again and again."""

    @property
    def is_listening(self) -> bool:
        """Whether something listens on its port."""
        ...

    def start(self, mounts: Sequence[Mount], show: Say) -> None:
        """Start the application, with `mounts` read-only in it; each line that it writes goes to `show`.

        Blocks  until its process was started; nothing of it may run.
        Raises  EngineError with the command line if there is no sandbox; what the secrets are refused with.
        """
        ...

    def ended(self, limit: Seconds) -> str:
        """Wait up to `limit` for its end; return how it ended ("exit code 1"), "" if it runs."""
        ...

    def stop(self, grace: Seconds) -> None:
        """Send SIGTERM to the application, wait up to `grace`, then end all that is left. Success if nothing runs."""
        ...

    def shell(self, mounts: Sequence[Mount], command: Sequence[str], output: int) -> int:
        """Run a command on this terminal, as root of the instance, with `mounts` to write to; return its exit code.

        It writes to the descriptor `output`.

        Blocks  until it ends; nothing else of the workpiece may run.
        """
        ...

    def changes(self, mounts: Sequence[Mount]) -> tuple[Trace, ...]:
        """Return what is not as the image has it, sorted; not the places of mounts, nor what is in them."""
        ...


class Workbench(Protocol):
    """Where instances are developed. What is on it goes with the process that opened it, however that ends."""

    def opened(self, order: Order) -> AbstractContextManager[Workpiece]:
        """Lay out the instance of `order`; when the block ends, nothing of it is left.

        Raises  NotFound if a layer is missing; SpecError if something can't be mounted where it should be;
                Unsupported without a sandbox.
        """
        ...
