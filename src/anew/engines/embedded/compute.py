"""The embedded engine: instances are sandboxes of bubblewrap on this machine, and outlive whoever launched them.

There is no daemon: the folder of records, the kernel's locks and /proc are all there is, and every client of the same
folder sees the same. What only launching needs is imported there: a look at hundreds of instances shall be fast.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from anew.engines.embedded import cgroups, drift, ending, life, output, ports, proc, refusals, revealed, uids
from anew.engines.embedded.clock import WallClock
from anew.engines.embedded.life import Life
from anew.engines.embedded.records import Record, Store
from anew.engines.embedded.revealed import Reveal
from anew.errors import Conflict, NotFound
from anew.model import Bytes, Digest, Instance, Order, Outcome, Scope, Seconds
from anew.ports import Clock

LOOPBACK = "127.0.0.1"

if TYPE_CHECKING:
    from subprocess import Popen

    from anew.engines.embedded.launch import Start
    from anew.engines.embedded.volumes import Volumes


class Embedded:
    """Implements `anew.ports.Compute` and `anew.ports.Volumes` in the state folder `home`.

    `tree` says where a layer is unpacked. `owner` is the id of the state whose instances these are; those of another
    are never touched. `reveal` gives the value of a secret; it is asked by `launch` and `run` alone. Safe to be used
    by several threads.
    """

    heals = False

    def __init__(
        self,
        home: Path,
        tree: Callable[[Digest], Path],
        owner: str,
        clock: Clock | None = None,
        reveal: Reveal = revealed.nothing,
    ) -> None:
        self._home = home.absolute()
        self._tree = tree
        self._owner = owner
        self._clock = clock or WallClock()
        self._reveal = reveal
        self._store = Store(self._home / "instances")
        self._binary: Path | None = None
        self._guard = threading.Lock()
        self._started: set[int] = set()  # outer processes that are children of this one, to be reaped
        self._over: dict[str, tuple[Record, Life]] = {}  # how instances ended, by name: it never changes
        self._alive: dict[str, tuple[Record, Life]] = {}  # what was seen of those that lived
        self._listening: dict[
            str, tuple[int, frozenset[str]]
        ] = {}  # by name: pid and sockets that were found to be its
        self._peaks: dict[str, Bytes] = {}  # by name: what `peak_memory` found last

    def instances(self, scope: Scope) -> tuple[Instance, ...]:
        """Return every instance of `scope` that was launched and not removed; see the port."""
        self._reap()
        sockets = ports.listeners()
        found = []
        for name in self._store.names():
            record = self._store.read(name)
            if record is None or record.scope.owner != self._owner:
                continue
            if (record.scope.project, record.scope.environment) == (scope.project, scope.environment):
                life_ = self._life(record)
                if life_ is not None:
                    found.append(self._as_instance(record, life_, sockets))
        return tuple(found)

    def inside(self, scope: Scope) -> str:  # noqa: ARG002 - it is the same for all of them
        """Return the loopback address: instances share the machine's network."""
        return LOOPBACK

    def launch(self, order: Order) -> None:
        """Start the instance that `order` describes; see the port. A limit that can't be had here is none."""
        from anew.engines.embedded import confining, launch
        from anew.engines.embedded.layout import lay_out

        self._reap()
        if self._is_there(order.name):
            return
        layout = lay_out(order, self._home, self._tree)
        bwrap = self._bwrap()  # before anything is written down
        cgroup = confining.planned(order.name, self._owner, order.limits)
        with revealed.of(order, self._reveal) as secrets:
            with self._store.lock():
                if self._is_there(order.name):
                    return
                self._check_port(order)
                uid = self._uid(order)
                record = Record.of(order, self._owner, uid, self._clock.now(), cgroup.folders)
                files = self._store.write(record)
            start = launch.Start(bwrap, layout, uids.drop_to(uid), cgroup)
            place = self._store.place(order.name)
            try:
                with (
                    cgroup.made(start.uid) as entry,
                    launch.prepared(start, files.status, files.alive, secrets) as (command, handed),
                ):
                    outer = launch.spawn(start, command, handed, files.log, entry)
            except BaseException:
                self._store.discard(order.name)
                raise
            finally:
                files.close()
        is_settled = launch.settled(outer, place)
        self._let_go(outer)
        self._check_start(place, start, is_settled=is_settled)

    def stop(self, name: str, grace: Seconds) -> None:
        """End an instance; see the port."""
        if self._owned(name) is None:
            return
        ending.stop(self._store.place(name), grace)
        self._reap()

    def remove(self, name: str) -> None:
        """Forget an ended instance; see the port."""
        record = self._owned(name)
        if record is None:
            return
        place = self._store.place(name)
        now = life.read(place)
        if now is not None and now.is_alive:
            raise Conflict(f"{name} is alive", hint="stop it first", facts={"pid": str(now.pid)})
        ending.clear(place)
        self._reap()
        cgroups.remove(record.cgroups)
        self._store.archive(name)
        self._over.pop(name, None)
        self._alive.pop(name, None)
        self._listening.pop(name, None)
        self._peaks.pop(name, None)

    def run(self, order: Order, limit: Seconds) -> Outcome:
        """Run `order` to its end in a throwaway instance; see the port."""
        from anew.engines.embedded import confining, trial
        from anew.engines.embedded.launch import Start
        from anew.engines.embedded.layout import lay_out

        layout = lay_out(order, self._home, self._tree)
        bwrap = self._bwrap()
        self._check_port(order)
        with (
            revealed.of(order, self._reveal) as secrets,
            self._lent_uid(order) as uid,
            confining.throwaway(order.name, self._owner, order.limits) as cgroup,
        ):
            return trial.run(Start(bwrap, layout, uids.drop_to(uid), cgroup), limit, order.name, secrets)

    def sweep(self) -> tuple[str, ...]:
        """Return (): a throwaway instance of this engine ends with the process that runs it, and leaves nothing."""
        return ()

    def logs(self, name: str, lines: int) -> tuple[str, ...]:
        """Return the last `lines` lines that an instance wrote; see the port."""
        path = self._store.log(name)
        if path is None:
            raise NotFound(f"no instance {name} ever ran here", hint="see the names: anew status, anew history")
        return output.last_lines(path, lines)

    def drift(self, name: str) -> tuple[str, ...]:
        """Return what differs between a running instance and its image; see the port."""
        pid = self.pid(name)
        return drift.of(pid) if pid else ()

    def pid(self, name: str) -> int:
        """Return the pid of the first process inside a living instance; 0 if none of that name lives."""
        record = self._owned(name)
        now = self._life(record) if record is not None else None
        return now.pid if now is not None and now.is_alive else 0

    def peak_memory(self, name: str) -> Bytes:
        """Return the most memory that an instance ever had, living or ended and not yet removed; 0: not known.

        With a limit of memory the kernel has counted all that the limit is about. Without, it is the sum of what each
        process that is alive has ever had resident; of an ended one, what that was when it was last asked here.
        """
        record = self._owned(name)
        if record is None:
            return 0
        now = self._life(record)
        if now is not None and now.is_alive and now.pid:
            self._peaks[name] = sum(proc.peak(one) for one in proc.descendants(now.pid)[1:])
        return cgroups.peak(record.cgroups) or self._peaks.get(name, 0)

    def volumes(self, scope: Scope) -> tuple[tuple[str, str, Bytes], ...]:
        """Return the volumes of `scope`; see the port."""
        return self._volumes.listing(scope)

    def remove_volume(self, scope: Scope, service: str, name: str) -> None:
        """Remove a volume with all that is in it; see the port."""
        from anew.engines.embedded.volumes import clear

        with self._store.lock():
            for record in self._with_volumes(scope, service):
                if name in record.volumes:
                    what = f"the volume {name} of {service} belongs to {record.name}, which is alive"
                    raise Conflict(what, hint="stop it first")
            taken_away = self._volumes.take_away(scope, service, name)
        clear(taken_away)

    @cached_property
    def _volumes(self) -> Volumes:
        from anew.engines.embedded.volumes import volumes_of

        return volumes_of(self._home)

    def _bwrap(self) -> Path:
        from anew.sandbox import find

        if self._binary is None or not self._binary.is_file():
            self._binary = find.bwrap(self._home / "bin")
        return self._binary

    def _owned(self, name: str) -> Record | None:
        """Return the record of an instance that is ours; None if there is none, Conflict if it is another state's."""
        record = self._store.read(name)
        if record is not None and record.scope.owner != self._owner:
            raise Conflict(
                f"{name} belongs to another state",
                hint="use the state folder that made it, or another project name",
                facts={"owner": record.scope.owner},
            )
        return record

    def _is_there(self, name: str) -> bool:
        record = self._owned(name)
        return record is not None and self._life(record) is not None

    def _life(self, record: Record) -> Life | None:
        known = self._over.get(record.name)
        if known is not None and known[0] is record:
            return known[1]
        before = self._alive.get(record.name)
        now = life.read(
            self._store.place(record.name), before[1] if before is not None and before[0] is record else None
        )
        if now is not None and now.ended and record.cgroups:
            is_ours = (self._store.place(record.name) / ending.OURS).exists()
            now = replace(now, ended=cgroups.explained(now, record.cgroups, record.memory, is_ours=is_ours))
        if now is not None and now.is_final:
            self._over[record.name] = (record, now)
        if now is not None and now.is_alive:
            self._alive[record.name] = (record, now)
        return now

    def _as_instance(self, record: Record, now: Life, sockets: Mapping[int, Mapping[str, int]]) -> Instance:
        return Instance(
            name=record.name,
            group=record.group,
            is_alive=now.is_alive,
            is_listening=now.is_alive and self._is_listening(record, now.pid, sockets.get(record.port, {})),
            port=record.port,
            pid=now.pid if now.is_alive else 0,
            started=record.started,
            ended=now.ended,
            warden=now.outer if now.is_alive else 0,
        )

    def _is_listening(self, record: Record, pid: int, sockets: Mapping[str, int]) -> bool:
        """Say whether one of the `sockets` on its port is the instance's; a socket that was its own stays its own."""
        if not sockets or not pid:
            return False
        if uids.is_own(record.uid, record.port) and record.uid in sockets.values():
            return True  # nobody else runs under its uid
        known_pid, known = self._listening.get(record.name, (0, frozenset()))
        if known_pid == pid and known & sockets.keys():
            return True
        if not ports.is_of(pid, sockets):
            return False
        self._listening[record.name] = (pid, frozenset(sockets))
        return True

    def _check_port(self, order: Order) -> None:
        """Raise Conflict if the port of an order is taken, by a live instance or by anything that listens on it."""
        if not order.port:
            return
        for name in self._store.names():
            record = self._store.read(name)
            if record is not None and record.port == order.port and record.name != order.name:
                now = self._life(record)
                if now is not None and now.is_present:
                    raise Conflict(
                        f"port {order.port} is the port of {name}", hint="choose another port for one of them"
                    )
        if not ports.is_free(order.port):
            by = ports.holder(order.port) or "a process that is not ours to see"
            raise Conflict(
                f"port {order.port} is taken by {by}",
                hint="end that process, or let anew choose another port",
                facts={"command": f"ss -ltnp sport = :{order.port}"},
            )

    def _uid(self, order: Order) -> int:
        """Return the uid of an instance that is about to be written down; its volumes are there then."""
        if not order.volumes:
            return uids.of_instance(order.port, self._live_uids)
        self._check_volumes(order)
        return self._volumes.ensure(order)

    @contextmanager
    def _lent_uid(self, order: Order) -> Iterator[int]:
        """Yield the uid of a throwaway instance; its volumes, if it has any, can't be removed meanwhile."""
        if not order.volumes:
            with uids.of_trial(self._home / "uids") as uid:
                yield uid
            return
        with ExitStack() as stack:
            with self._store.lock():
                uid = self._uid(order)
                stack.enter_context(self._volumes.in_use(order))
            yield uid

    def _check_volumes(self, order: Order) -> None:
        """Raise Conflict if another state's instance has a volume of the order: nobody keeps those two apart."""
        wanted = {one.name for one in order.volumes if not one.is_shared}
        for record in self._with_volumes(order.scope, order.service):
            if record.scope.owner != self._owner and wanted & set(record.volumes):
                raise Conflict(
                    f"a volume of {order.service} belongs to {record.name}, which another state launched and is alive",
                    hint="end it with the state folder that made it",
                    facts={"owner": record.scope.owner},
                )

    def _with_volumes(self, scope: Scope, service: str) -> Iterator[Record]:
        """Yield the record of each instance of a service, of any state, that is there and has volumes."""
        for name in self._store.names():
            record = self._store.read(name)
            if record is None or not record.volumes or record.service != service:
                continue
            if (record.scope.project, record.scope.environment) == (scope.project, scope.environment):
                now = self._life(record)
                if now is not None and now.is_present:
                    yield record

    def _live_uids(self) -> frozenset[int]:
        every = [record for name in self._store.names() if (record := self._store.read(name)) is not None]
        return frozenset(one.uid for one in every if (now := self._life(one)) is not None and now.is_present)

    def _let_go(self, outer: Popen[bytes]) -> None:
        """Take the outer process from its Popen, which would complain that it is left behind: it is meant to be."""
        if outer.returncode is None:
            with self._guard:
                self._started.add(outer.pid)
            outer.returncode = 0

    def _reap(self) -> None:
        """Let the kernel forget the outer processes that have ended."""
        with self._guard:
            for pid in tuple(self._started):
                try:
                    is_over = os.waitpid(pid, os.WNOHANG)[0] == pid
                except ChildProcessError:  # somebody else in this program has waited for it
                    is_over = True
                if is_over:
                    self._started.discard(pid)

    def _check_start(self, place: Path, start: Start, *, is_settled: bool) -> None:
        """Raise the error that says why a sandbox did not start; a command that is not there is an ended instance."""
        from anew.engines.embedded import argv, launch

        now = life.read(place)
        if is_settled and now is not None and not now.ended.startswith(life.REFUSED):
            return
        ending.clear(place)
        said = life.message(output.last_text(place / "output.log", life.TAIL))
        if cgroups.killed(start.cgroup.folders):
            said = f"{cgroups.OUT_OF_MEMORY} (limit {cgroups.size(start.cgroup.limits.memory)})"
        cgroups.remove(start.cgroup.folders)
        self._store.discard(place.name)
        line = argv.pasteable(start.bwrap, start.layout, start.uid)
        if not is_settled:
            said = f"no program runs after {launch.LIMIT:g} s"
        raise refusals.as_error(said, line, place.name)
