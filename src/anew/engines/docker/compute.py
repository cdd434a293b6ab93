"""The engine `docker`: one read-only container per instance, in Docker or Podman on this machine.

The engine's own objects are all there is: names, labels and states. Every client sees the same, and a launch that was
broken off anywhere is gone on with, or taken back, by the next one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from anew.engines.docker import body, drift, labels, life, memory, touches, trial
from anew.engines.docker.accounts import FOLDER, Accounts
from anew.engines.docker.client import Client
from anew.engines.docker.containers import Containers, NameTaken
from anew.engines.docker.doctor import dropped
from anew.engines.docker.fittings import RUN, Fittings
from anew.engines.docker.images import Blobs, DockerImages
from anew.engines.docker.kept import Kept, lines_of
from anew.engines.docker.labels import Kind, Lot
from anew.engines.docker.life import Life
from anew.engines.docker.look import Look, start_of
from anew.engines.docker.network import Network, name_of
from anew.engines.docker.touches import Touched
from anew.engines.docker.uids import uid_of
from anew.engines.embedded import revealed
from anew.engines.embedded.records import Store
from anew.engines.embedded.revealed import Reveal
from anew.engines.embedded.volumes import Volumes, clear, volumes_of
from anew.errors import Conflict, EngineError, NotFound
from anew.model import Bytes, Instance, Order, Outcome, Scope, Seconds

MADE_WITHIN: Seconds = 10.0  # a container that somebody else makes is to be seen
LOOKS_EVERY: Seconds = 0.02
FRESH: Seconds = 1.0  # so long it is believed that a network which was there is still there


class Docker:
    """Implements `anew.ports.Compute` and `anew.ports.Volumes` on the container engine of this machine.

    `home` is the state folder, `blobs` where the bytes of images are. `owner` is the id of the state whose instances
    these are; what another state or anybody else made is never touched. `reveal` gives the value of a secret; it is
    asked by `launch` and `run` alone. Safe to be used by several threads.
    """

    heals = False

    def __init__(
        self,
        home: Path,
        blobs: Blobs,
        owner: str,
        reveal: Reveal = revealed.nothing,
        client: Client | None = None,
    ) -> None:
        self._home = home.absolute()
        self._owner = owner
        self._client = client or Client()
        self.images = DockerImages(self._client, blobs, owner)
        self._containers = Containers(self._client, owner)
        self._network = Network(self._client, owner)
        self._fittings = Fittings(owner, reveal, RUN)
        self._accounts = Accounts(blobs, self._home / FOLDER)
        self._look = Look(self._containers)
        self._kept = Kept(self._home / "instances")
        self._store = Store(self._home / "instances")  # for its lock, which the launches of all states here share
        self._inside: dict[Scope, tuple[str, float]] = {}  # and when that was asked

    def instances(self, scope: Scope) -> tuple[Instance, ...]:
        """Return every instance of `scope` that was launched and not removed; see the port."""
        return self._look.instances(scope)

    def inside(self, scope: Scope) -> str:
        """Return this machine's address on the network of `scope`, which is made if need be."""
        known = self._inside.get(scope)
        if known is not None and time.monotonic() < known[1] + FRESH:
            return known[0]
        self._client.require_reach()
        with self._store.lock():  # the engine would make two of one name
            self._client.settle(is_used=True)
            gateway = self._network.ensure(scope)
        self._inside[scope] = gateway, time.monotonic()
        return gateway

    def leave(self, scope: Scope) -> None:
        """Remove the network of `scope`, where nothing runs any more; success if it is gone, Conflict if it is used."""
        self._inside.pop(scope, None)
        self.sweep()
        with self._store.lock():
            self._network.remove(scope)
            self._client.settle(is_used=self._network.has_any())

    def sweep(self, *, is_dry: bool = False) -> tuple[str, ...]:
        """Remove what killed callers left: throwaways, containers that were never started, and secrets on the way.

        Returns  the names of those containers; with `is_dry` nothing is removed. Idempotent.
        """
        every = self._containers.listed([f"{labels.OWNER}={self._owner}", labels.LAUNCHER])
        left = [said for said in every if is_left(said)]
        for said in () if is_dry else left:
            self._containers.remove(str(said["Id"]))
            self._fittings.remove(said["Labels"].get(labels.FITTINGS, ""))
        if not is_dry:
            self._fittings.sweep({said["Labels"].get(labels.FITTINGS, "") for said in every}, is_at_work)
        return tuple(sorted(str(said["Labels"].get(labels.NAME, said["Id"])) for said in left))

    def launch(self, order: Order) -> None:
        """Start the instance that `order` describes; see the port."""
        self._client.require_reach()
        until = time.monotonic() + MADE_WITHIN
        while (taken := self._launched(order)) is not None:
            if time.monotonic() > until:
                raise taken
            time.sleep(LOOKS_EVERY)

    def _launched(self, order: Order) -> NameTaken | None:
        """Start the instance; return what the engine says if it is just making a container of that name.

        So it is when another launcher is at work, or was killed: the name is taken before there is anything to see.
        """
        now = self._containers.life(order.name)
        if now is not None and not now.is_intention:
            self._require_instance(now, order.name)
            return None
        if now is not None:  # a launcher was killed: what it made is complete
            try:
                self._containers.start(now.id, order.name)
            except (EngineError, NotFound):  # what it was to be given is gone, after a reboot
                self._discard(now)
            else:
                return None
        self.sweep()
        try:
            container, token = self._create(order, order.name, "instance")
        except NameTaken as cause:
            return cause
        try:
            self._containers.start(container, order.name)
        except BaseException:
            self._containers.remove(container)
            self._fittings.remove(token)
            raise
        return None

    def stop(self, name: str, grace: Seconds) -> None:
        """End an instance; see the port."""
        now = self._containers.life(name)
        if now is not None and now.is_present:
            self._containers.end(now, grace)
        if now is not None and not now.is_intention:
            self._fittings.remove(now.labels.get(labels.FITTINGS, ""))

    def remove(self, name: str) -> None:
        """Forget an ended instance; see the port."""
        said = self._containers.find(name)
        if said is None:
            return
        now = life.of(said)
        if now.is_alive:
            raise Conflict(f"{name} is alive", hint="stop it first", facts={"pid": str(now.pid)})
        if now.is_intention:
            self._discard(now)
            return
        if now.is_present:  # somebody restarted it
            self._containers.end(now, 0.0)
        told = said["Config"]
        record = labels.record(now.labels, told.get("Cmd") or (), told.get("Env") or (), now.started)
        with suppress(NotFound):  # somebody else has removed it meanwhile
            self._kept.keep(record, self._containers.log_parts(now.id), now.code)
        self._discard(now)

    def run(self, order: Order, limit: Seconds) -> Outcome:
        """Run `order` to its end in a throwaway container; see the port."""
        self._client.require_reach()
        self.sweep()
        with self._volumes_in_use(order):
            container, token = self._create(order, trial.name_of(order.name), "throwaway")
            try:
                return trial.run(self._containers, container, order, limit)
            finally:
                self._containers.remove(container)
                self._fittings.remove(token)

    def logs(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last `lines` lines that an instance wrote; see the port."""
        now = self._containers.life(name)
        if now is not None and not now.is_intention:
            with suppress(NotFound):  # it is being removed, and kept
                return lines_of(self._containers.log(now.id, max(0, lines)), lines)
        kept = self._kept.lines(name, lines)
        if kept is None:
            raise NotFound(f"no instance {name} ever ran here", hint="see the names: anew status, anew history")
        return kept

    def drift(self, name: str) -> tuple[str, ...]:
        """Return what differs between a running instance and its image; see the port."""
        said = self._containers.find(name)
        return drift.of(self._client, said) if said is not None and life.of(said).is_present else ()

    def disorder(self, name: str) -> tuple[str, ...]:
        """Return what of a running instance is not as ordered, whoever is inside; () if nothing, or it does not run."""
        said = self._containers.find(name)
        return drift.of_order(self._client, said) if said is not None and life.of(said).is_present else ()

    def changed_files(self, name: str) -> tuple[str, ...]:
        """Return a line for each file of an instance that is not as in its image; () if it is gone."""
        said = self._containers.find(name)
        return drift.changed_files(self._client, said) if said is not None else ()

    def pid(self, name: str) -> int:
        """Return the pid, on this machine, of the first process of a living instance; 0 if none of that name lives."""
        now = self._containers.life(name)
        return now.pid if now is not None and now.is_alive else 0

    def peak_memory(self, name: str) -> Bytes:
        """Return the most memory that a living instance ever had, as its control group counts; 0: not known."""
        pid = self.pid(name)
        return memory.peak(pid) if pid else 0

    def touched(self, scope: Scope, since: float) -> Touched:
        """Return what somebody did through the engine to the instances of `scope` after `since`, in UTC seconds."""
        every = self._containers.of_scope(scope, "instance")
        names = {str(said["Id"]): str(said["Labels"][labels.NAME]) for said in every}
        return touches.touched(self._client, names, name_of(scope), since)

    def volumes(self, scope: Scope) -> tuple[tuple[str, str, Bytes], ...]:
        """Return the volumes of `scope`; see the port."""
        return self._volumes.listing(scope)

    def remove_volume(self, scope: Scope, service: str, name: str) -> None:
        """Remove a volume with all that is in it; see the port."""
        with self._store.lock():
            for told in self._with_volumes(scope, service):
                if name in labels.names(told, labels.VOLUMES):
                    what = f"the volume {name} of {service} belongs to {told[labels.NAME]}, which is alive"
                    raise Conflict(what, hint="stop it first")
            taken_away = self._volumes.take_away(scope, service, name)
        clear(taken_away)

    # ------------------------------------------------------------ inside

    @cached_property
    def _volumes(self) -> Volumes:
        return volumes_of(self._home)

    def _create(self, order: Order, name: str, kind: Kind) -> tuple[str, str]:
        """Make the container of an order; return its id and the name of its fittings."""
        image = self.images.admitted(order.image)
        self._require_network(order.scope)
        launcher = f"{os.getpid()}:{start_of(os.getpid())}"
        with self._store.lock() if order.volumes else nullcontext():
            self._check_volumes(order)
            uid = self._volumes.ensure(order) if order.volumes else uid_of(name, order.port)
            fitted = self._fittings.make(order, uid, launcher, self._files(order, uid))
            try:
                lot = Lot(kind, self._owner, uid, fitted.token, launcher)
                binds = (*fitted.binds, *self._binds(order))
                around = body.Surroundings(
                    image.id,
                    name_of(order.scope),
                    binds,
                    is_podman=self._client.is_podman,
                    unheld=dropped(self._client),
                )
                return self._containers.create(name, body.container(order, lot, around)), fitted.token
            except BaseException:
                self._fittings.remove(fitted.token)
                raise

    def _require_network(self, scope: Scope) -> None:
        """Make sure of the network; raise EngineError if it is another one than the order was made for."""
        known, _ = self._inside.get(scope, ("", 0.0))
        with self._store.lock():
            gateway = self._network.ensure(scope)
        if known not in {"", gateway}:
            self._inside[scope] = known, 0.0  # who launches beside us compares too; the next look asks anew
            raise EngineError(
                f"somebody removed the network {name_of(scope)}: it was made anew, and this machine is {gateway} on it "
                f"now, not {known}",
                hint="what is launched from now on knows that",
            )

    def _files(self, order: Order, uid: int) -> tuple[tuple[str, bytes], ...]:
        """Return the files that give the uid a name; Podman has its own."""
        if self._client.is_podman:
            return ()
        covered = (*order.writable, *(one.path for one in order.volumes))
        return tuple(one for one in self._accounts.files(order.image, uid) if not body.is_below(one[0], covered))

    def _binds(self, order: Order) -> Iterator[body.Bind]:
        for one in order.volumes:
            source = self._volumes.place(order.scope, order.service, one.name)
            yield body.Bind(str(source), one.path, is_writable=True)

    def _require_instance(self, now: Life, name: str) -> None:
        if now.labels.get(labels.KIND) != "instance":
            raise Conflict(f"{name} is no instance", hint="remove it", facts={"command": f"docker inspect {name}"})

    def _discard(self, now: Life) -> None:
        self._containers.remove(now.id)
        self._look.forget(now.id)
        self._fittings.remove(now.labels.get(labels.FITTINGS, ""))

    def _check_volumes(self, order: Order) -> None:
        """Raise Conflict if another state's instance has a volume of the order: nobody keeps those two apart."""
        wanted = {one.name for one in order.volumes if not one.is_shared}
        for told in self._with_volumes(order.scope, order.service) if wanted else ():
            if told[labels.OWNER] != self._owner and wanted & set(labels.names(told, labels.VOLUMES)):
                raise Conflict(
                    f"a volume of {order.service} belongs to {told[labels.NAME]}, which another state launched and "
                    "is alive",
                    hint="end it with the state folder that made it",
                    facts={"owner": told[labels.OWNER]},
                )

    def _with_volumes(self, scope: Scope, service: str) -> Iterator[Mapping[str, str]]:
        """Yield the labels of each container of a service, of any state, that is there and has volumes."""
        wanted = {labels.PROJECT: scope.project, labels.ENVIRONMENT: scope.environment, labels.SERVICE: service}
        for said in self._containers.listed([*(f"{name}={value}" for name, value in wanted.items()), labels.VOLUMES]):
            told: Mapping[str, str] = said["Labels"]
            is_left = said.get("State") in life.INTENTIONS and not is_at_work(told.get(labels.LAUNCHER, ""))
            if said.get("State") not in {"exited", "dead", "stopped"} and not is_left:
                yield told

    @contextmanager
    def _volumes_in_use(self, order: Order) -> Iterator[None]:
        """Keep the volumes of a throwaway container from being removed, before it is there and while it runs."""
        with ExitStack() as stack:
            if order.volumes:
                with self._store.lock():
                    self._volumes.ensure(order)
                    stack.enter_context(self._volumes.in_use(order))
            yield


def is_at_work(launcher: str) -> bool:
    """Say whether the process that a label names, by pid and start, is still there."""
    pid, _, start = launcher.partition(":")
    return bool(start) and start_of(int(pid)) == start


def is_left(said: Mapping[str, Any]) -> bool:
    """Say whether a container is none that stays, and whoever made it is not there any more."""
    told: Mapping[str, str] = said["Labels"]
    is_leaving = told.get(labels.KIND) == "throwaway" or said.get("State") in life.INTENTIONS
    return is_leaving and not is_at_work(told.get(labels.LAUNCHER, ""))
