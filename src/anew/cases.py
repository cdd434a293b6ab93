"""What anew offers to its faces: the use cases, one protocol for each kind.

All methods are idempotent and keyed by name. Errors are those of `anew.errors`; a method names the ones that
callers are expected to meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anew.model import AS_USUAL

if TYPE_CHECKING:  # what only one command needs
    from anew.model import Manner, Outcome, Seconds
    from anew.model.comparison import Comparison
    from anew.model.developed import Developed, Terminal
    from anew.ports import Say
    from anew.views import (
        Built,
        Carried,
        Check,
        Collected,
        Event,
        HeadView,
        Installed,
        Plan,
        Rebuilt,
        Recomputed,
        ReleaseView,
        SecretView,
        SigningKeyView,
        Start,
        Status,
        Tested,
        Uninstalled,
        Verification,
        Verified,
        VolumeRemoved,
        VolumeView,
        Why,
    )


class Builder(Protocol):
    """The use cases that make things."""

    def plan(self, environment: str, say: Say) -> Plan:
        """Say every step that `up` would take now, and build nothing; `steps` is empty if there is nothing to do."""
        ...

    def build(
        self, services: Sequence[str], say: Say, *, update: bool = False, manner: Manner = AS_USUAL
    ) -> tuple[Built, ...]:
        """Build the images of `services` (all of them if empty); `update` resolves the heads again.

        With a step in `manner` the build ends there and makes no image; with debugging a shell is opened on this
        process's terminal.
        Raises  EngineError if a step fails, or a secret is in what it made; NotFound for a service, step or secret that
                there is not; Unsupported for debugging without a terminal.
        """
        ...

    def test(self, services: Sequence[str], say: Say) -> tuple[Tested, ...]:
        """Build, then run the image gate; raises GateClosed if a test fails."""
        ...

    def lock(self, heads: Sequence[str], say: Say, *, update: bool = False) -> tuple[HeadView, ...]:
        """Resolve `heads` (all of them if empty) that are not locked as the spec says, and write the lock.

        With `update` those that are locked are resolved again, to what there is now. Idempotent.
        Returns  these heads, each with the packages that moved.
        Raises   NotFound for a head that the spec does not have; Conflict if a locked head can't be had any more.
        """
        ...

    def rebuild(self, release: str, say: Say, *, is_offline: bool = False) -> tuple[Rebuilt, ...]:
        """Make the images of a release ("": the newest, "*": all) again in an empty place, and compare.

        With `is_offline` nothing is asked of the network. What can't be made again is an answer, and no error.
        Raises  NotFound for a release that there is not.
        """
        ...

    def verify_all(self, environment: str, release: str) -> Verification:
        """See whether a release ("": the newest, "*": all) is still what was made, and who vouches for it.

        What is not as it was, or nobody that `environment` trusts has signed, is an answer, and no error; the lock and
        the ledgers of all environments are looked at too.
        Raises  NotFound for a release that there is not.
        """
        ...

    def signing_key(self) -> SigningKeyView:
        """Return the public half of the key that signs for this project here; it is made if there is none."""
        ...

    def outdated(self, say: Say) -> tuple[HeadView, ...]:
        """Return every head with the packages that are newer by now where they come from; nothing is changed.

        Raises  EngineError if the sources of packages can't be asked.
        """
        ...


class Carrier(Protocol):
    """The use cases that bring releases from one machine to another, by way of a registry."""

    def push(self, release: str, to: str, say: Say, *, with_inputs: bool = False) -> Carried:
        """Have a release ("": the newest) in the repository `to` ("": the spec's), with what is said of its images.

        With inputs also the packages and archives that its images are made from. Idempotent: what is there stays.
        Raises  NotFound for a release that there is not, or of which a blob was collected; SpecError if no repository
                is said; EngineError if the registry can't be reached or refuses.
        """
        ...

    def pull(self, release: str, source: str, say: Say, *, with_inputs: bool = False) -> Carried:
        """Have a release of the repository `source` ("": the spec's) here, whole, under the next free name.

        `release` is a tag or a digest there, or a whole reference. Idempotent: what is here stays.
        Raises  NotFound if there is none; Conflict if it is not what it says, or of another project: then nothing is
                registered; EngineError if the registry can't be reached or refuses.
        """
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

        `environment` may be `model.BUILD`, for a secret that steps of builds are lent.
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


class Installer(Protocol):
    """The use cases that make a keeper a part of the machine on which it runs."""

    def install(self, environment: str, say: Say, *, below: Path | None = None, is_writing: bool = True) -> Installed:
        """Let the service manager run the keeper of an environment, now and whenever the machine starts.

        `below`: write it for the machine that this folder is the root of, and start nothing. With `is_writing` false
        only say what it would be.
        Idempotent. Blocks  until that keeper keeps.
        Raises  NotFound if nothing was ever brought up there; Conflict if the service is somebody else's; Unsupported
                without a service manager, and then nothing is written; EngineError if it does not start.
        """
        ...

    def uninstall(self, environment: str, say: Say, *, below: Path | None = None) -> Uninstalled:
        """Take that service away; what runs in the environment goes on without it.

        Idempotent. Blocks  until the service has ended. Raises Conflict if it is somebody else's.
        """
        ...


class Developer(Protocol):
    """The use cases of somebody who works on the project: what a change did, and what it will do."""

    def compare(self, environment: str, before: str, after: str) -> Comparison:
        """Return what differs between two releases ("r3"), or two generations of an environment ("g5").

        Of generations all that was sealed is compared; one beside a release stands for its release. What is not known
        any more, as when images were collected, is said in the answer.
        Raises  NotFound if there is none of that name; SpecError for a name of neither.
        """
        ...

    def recompute(self, environment: str, generation: int) -> tuple[Recomputed, ...]:
        """Judge each service of a generation (0: the last) again by the windows and the policy that its rollout had.

        Raises  NotFound if there is no such generation, it was not judged, or what is needed for it was not kept.
        """
        ...

    def develop(self, environment: str, service: str, terminal: Terminal) -> Developed:
        """Run a service from the image of the release that serves (or the newest, or a build), with its sources in it.

        The application is started again when a source changes, unless the terminal is to have a shell, or restarts are
        not wanted. The environment is not touched.
        Blocks   until it is interrupted, or the shell ends; of the instance nothing is left then.
        Raises   NotFound for no such service; Unsupported where the environment's engine has no workbench; SpecError
                 for sources that can't be mounted; EngineError if what the service needs can't be started.
        """
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


class Anew(Builder, Carrier, Mover, Custodian, Mender, Installer, Developer, Viewer, Protocol):
    """Everything that a face can ask for."""
