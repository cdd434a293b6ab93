"""The edge of one environment: HAProxy, changed while it serves.

Rules

1. What runs is asked, not remembered: its structure by the digest in its description, weights by its maps, targets by
   its slots, requests by its counters.
2. A configuration is checked before it is used; a refused one leaves what runs as it is.
3. Files first, sockets second: whenever HAProxy starts or reloads, it reads what was last wanted. The state file comes
   last, so it speaks only of what served. Whoever is killed in between leaves something that calling again completes.
4. Only the newest worker decides about traffic. Old ones pass new requests on to it (see `render`), and a change of
   weights counts once every old worker does, and the newest one has been read back.
5. One actor at a time, by a lock; reading needs none.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from anew.edge import buckets, process, render, targets
from anew.edge.addresses import require_free
from anew.edge.buckets import Buckets
from anew.edge.counters import Counters
from anew.edge.files import alone, write
from anew.edge.find import find
from anew.edge.pin import pinned
from anew.edge.render import Limits, Sockets
from anew.edge.saved import Saved, State
from anew.edge.slots import all_assigned
from anew.edge.sockets import Master, Row, Worker
from anew.errors import Bug, Conflict, EngineError, NotFound, Unsupported
from anew.model import Counts, Declaration, EdgeReading, Seconds, Weights

LONGEST_SOCKET = 107  # bytes of a Unix socket's path
WORKER_UID = 65_533  # where root starts them; reserved by Debian policy, and nobody's
MOST_CONNECTIONS = 10_000
RESERVED_FILES = 1_000  # descriptors for listeners, checks and logs
MOST_THREADS = 4
RELOADS_WITHIN: Seconds = 15.0
ANSWERS_WITHIN: Seconds = 2.0
DIES_AFTER: Seconds = 5.0  # an edge that is silent for so long is replaced
READ_AGAIN = 3
LISTEN_HINT = "say another address in anew.yaml: `environments: {NAME: {listen: 127.0.0.1:8081}}`"
PREVIEW_HINT = "end what listens there, or choose another preview port"


class HaproxyEdge:
    """Implements `anew.ports.Edge`. Several objects, in several processes, may stand for the same edge.

    `folder` keeps its files, and `socket_folder` its admin socket, whose path must be short. Requests that are still
    answered `render.HARD_STOP` seconds after a reload are cut.
    """

    def __init__(self, folder: Path, socket_folder: Path) -> None:
        self._folder = folder.absolute()
        self._socket_folder = socket_folder.absolute()
        self._master_path = self._socket_folder / "haproxy.sock"
        self._master = Master(self._master_path)
        self._saved = Saved(self._folder)
        self._counters = Counters(self._folder / "counters.json")
        self._sockets = Sockets.of(self._folder)
        self._limits = limits()

    @property
    def telemetry(self) -> str:
        """The name of the abstract socket on which `anew.edge.telemetry` listens for this edge's request log."""
        return self._sockets.telemetry

    # ------------------------------------------------------------ reading

    def reading(self) -> EdgeReading:
        """Return what the edge is doing now, from itself; `declaration` is None while it runs something unfinished."""
        state = self._saved.state()
        for _ in range(READ_AGAIN):
            workers = self._workers(ANSWERS_WITHIN) if state else ()
            if state is None or not workers:
                break
            with suppress(OSError):  # a reload came in between, or it ended: the next look tells
                return self._read(state, workers)
        return EdgeReading(is_up=False)

    def _workers(self, patience: Seconds) -> tuple[Worker, ...]:
        """Return all workers, the newest one first; () if the edge is down.

        While HAProxy reloads, nobody answers for some milliseconds, maybe because somebody else let it. So for as long
        as there are processes of ours, and at most for `patience`, this looks again.
        """
        until = time.monotonic() + patience
        while True:
            try:
                workers = self._master.workers()
            except OSError:
                workers = ()
            if workers and not workers[0].is_old:
                return workers
            if time.monotonic() > until or not process.ours(self._saved.config):
                return ()
            time.sleep(process.LOOKS_EVERY)

    def _read(self, state: State, workers: tuple[Worker, ...]) -> EdgeReading:
        current = workers[0]
        is_known = self._master.description(current) == render.description(state.structure)
        rows = self._rows(workers)
        counts, in_flight = self._counted(state.declaration, rows)
        known = {group.name: group.service for group in state.declaration.groups}
        weights = {}
        for service in render.services(state.declaration):
            has = buckets.weights_of(self._master.buckets(current, service) or buckets.EMPTY)
            weights[service] = {group: weight for group, weight in has.items() if known.get(group) == service}
        return EdgeReading(
            is_up=True,
            declaration=targets.seen(state, rows.get(current, ())) if is_known else None,
            weights={service: has for service, has in weights.items() if has},
            counts=counts,
            in_flight=in_flight,
        )

    def _rows(self, workers: tuple[Worker, ...]) -> dict[Worker, tuple[Row, ...]]:
        """Ask every worker for what it counts; one that has ended meanwhile is left out."""
        rows = {worker: self._master.rows(worker) for worker in workers if worker.identity}
        return {worker: ones for worker, ones in rows.items() if ones}

    def _counted(
        self, declaration: Declaration, rows: Mapping[Worker, tuple[Row, ...]], *, must_save: bool = False
    ) -> tuple[dict[str, Counts], dict[str, int]]:
        """Return the counts of each group, and the requests in flight at each instance, over all workers."""
        names = {g.name: {f"{targets.LOOPBACK}:{t.port}": t.name for t in g.targets} for g in declaration.groups}
        by_group = dict.fromkeys(names, 0)
        in_flight = {instance: 0 for ones in names.values() for instance in ones.values()}
        live: dict[str, dict[str, tuple[int, int]]] = {}
        for worker, ones in rows.items():
            mine = live.setdefault(worker.identity, {})
            for row in ones:
                if row.group not in names:
                    continue
                if not row.server:
                    mine[row.group] = (row.requests, row.failures)
                    by_group[row.group] += row.in_flight
                elif instance := names[row.group].get(row.address):
                    in_flight[instance] += row.in_flight
        totals = self._counters.take(live, names, must_save=must_save)
        return {group: Counts(*totals[group], by_group[group]) for group in names}, in_flight

    # ------------------------------------------------------------ declaring

    def declare(self, declaration: Declaration) -> None:
        """Make the edge run and know exactly `declaration`; see `anew.ports.Edge`.

        Raises  SpecError for names, paths and addresses that can't be; Unsupported where there is no HAProxy; Conflict
                if an address is taken; EngineError if HAProxy refuses, with its own lines.
        """
        render.check(declaration)
        with self._alone():
            before = self._saved.state()
            slots = all_assigned(before.slots if before else {}, declaration.groups)
            structure = render.structure(declaration, slots, self._sockets, self._limits)
            try:
                self._make(before, State(declaration, slots, structure))
            except OSError as cause:
                raise _silent(cause, self._master_path) from cause

    def _make(self, before: State | None, state: State) -> None:
        running = self._running()
        if running is None:
            self._start(state)
            self._settle(state)
        elif running == render.description(state.structure):
            if before == state and not self._unsettled(state):
                return
            self._draft(state)
            self._saved.draft.replace(self._saved.config)
            self._settle(state)
        else:
            with pinned(before.declaration.preview_port if before else state.declaration.preview_port):
                self._reload(before, state)
                self._settle(state)
        self._saved.keep(state)

    def _running(self) -> str | None:
        """Return the description of what runs; None if nothing does, or it has been silent for too long."""
        workers = self._workers(DIES_AFTER)
        try:
            return self._master.description(workers[0]) if workers else None
        except OSError:
            return None

    def _draft(self, state: State) -> None:
        write(self._saved.draft, render.config(state.declaration, state.slots, self._sockets, self._limits))

    def _start(self, state: State) -> None:
        program = find()
        process.end(self._saved.config)  # a worker whose master was killed may still hold the address
        self._require_addresses(None, state.declaration)
        self._saved.add_maps(state.declaration)
        self._draft(state)
        process.check(program, self._saved.draft)
        self._saved.drop_groups(state.declaration)
        self._saved.draft.replace(self._saved.config)
        process.start(program, self._saved.config, self._master_path, lambda: self._serves(state))

    def _reload(self, before: State | None, state: State) -> None:
        program = find()
        self._require_addresses(before.declaration if before else None, state.declaration)
        self._saved.add_maps(state.declaration)
        self._draft(state)
        process.check(program, self._saved.draft)
        self._save_counts(state)
        self._saved.drop_groups(state.declaration)
        previous = self._saved.config.read_text(encoding="utf-8")
        self._saved.draft.replace(self._saved.config)
        refused = self._master.reload()
        until = time.monotonic() + RELOADS_WITHIN
        while not refused and not self._serves(state):
            if time.monotonic() > until:
                refused = f"the new worker does not serve within {RELOADS_WITHIN:g} s"
            time.sleep(process.LOOKS_EVERY)
        if refused:
            write(self._saved.config, previous)
            raise EngineError(
                "HAProxy refuses to reload; what ran goes on as it was",
                where=str(self._saved.draft),
                hint="look at its log",
                facts={
                    "command": program.pasteable("-c", "-f", str(self._saved.draft)),
                    "output": refused[-process.LAST_LINES :],
                },
            )

    def _serves(self, state: State) -> bool:
        """Say whether a worker of this structure answers."""
        try:
            current = self._master.current()
            return current is not None and self._master.description(current) == render.description(state.structure)
        except OSError:
            return False

    def _require_addresses(self, before: Declaration | None, wanted: Declaration) -> None:
        def ours() -> Iterable[int]:
            return process.ours(self._saved.config)

        if before is None or (before.host, before.port) != (wanted.host, wanted.port):
            require_free(wanted.host, wanted.port, LISTEN_HINT, ours)
        if wanted.preview_port and (before is None or before.preview_port != wanted.preview_port):
            require_free(targets.LOOPBACK, wanted.preview_port, PREVIEW_HINT, ours)

    def require_address(self, host: str, port: int) -> None:
        """Make sure that the edge has the public address, or may take it.

        Raises  Conflict if another program has it; SpecError or Unsupported if it can't be had here.
        """
        state = self._saved.state()
        has_it = state is not None and (state.declaration.host, state.declaration.port) == (host, port)
        if has_it and process.ours(self._saved.config):
            return  # it serves there; whether its workers are in order is for `declare` to see
        require_free(host, port, LISTEN_HINT, lambda: process.ours(self._saved.config))

    def _save_counts(self, state: State) -> None:
        self._counted(state.declaration, self._rows(self._master.workers()), must_save=True)

    # ------------------------------------------------------------ settling what runs

    def _unsettled(self, state: State) -> tuple[str, ...]:
        """Return what would still have to be told to the newest worker."""
        current = self._master.current()
        return targets.commands(state, self._master.rows(current)) if current else ("start it",)

    def _settle(self, state: State) -> None:
        """Bring the targets into the newest worker, and switch the old ones over."""
        current = self._require_current()
        told = targets.commands(state, self._master.rows(current))
        if told:
            answer = self._master.tell(current, *told)
            if self._unsettled(state):
                raise EngineError(f"the edge does not take its targets: {answer.strip()}")
        self._switch_over()
        self._save_counts(state)

    def _switch_over(self) -> None:
        for worker in self._master.workers():
            if worker.is_old and not self._master.switch_over(worker):
                raise EngineError(f"an old worker of the edge, process {worker.pid}, does not hand over")

    def _require_current(self) -> Worker:
        current = self._master.current()
        if current is None:
            raise EngineError("the edge has no worker", where=str(self._master_path), hint="declare it again")
        return current

    # ------------------------------------------------------------ shifting

    def shift(self, weights: Weights) -> None:
        """Set the weights of all services at once; a service that is not named has none. See `anew.ports.Edge`.

        Raises  NotFound for a group that is not declared; EngineError if the edge is not up or does not confirm.
        """
        with self._alone():
            state = self._saved.state()
            if state is None or not self._workers(ANSWERS_WITHIN):
                raise EngineError("the edge is not up, so nothing can be shifted", hint="declare it first")
            _check_weights(weights, state.declaration)
            wanted = {}
            for service in render.services(state.declaration):
                wanted[service] = buckets.moved(self._saved.buckets(service), weights.get(service, {}))
                self._saved.keep_buckets(service, wanted[service])
            try:
                self._push(wanted)
            except OSError as cause:
                raise _silent(cause, self._master_path) from cause

    def _push(self, wanted: Mapping[str, Buckets]) -> None:
        current = self._require_current()
        different = self._different(current, wanted)
        if different:
            self._master.replace_buckets(current, different)
            left = self._different(current, different)
            if left:
                raise EngineError(f"the edge does not confirm the weights of {', '.join(left)}")
        self._switch_over()

    def _different(self, worker: Worker, wanted: Mapping[str, Buckets]) -> dict[str, Buckets]:
        return {service: ones for service, ones in wanted.items() if self._master.buckets(worker, service) != ones}

    # ------------------------------------------------------------ ending

    def stop(self) -> None:
        """End the edge and all its workers, requests in flight too, and forget its weights; success if it is gone."""
        if not self._folder.exists():
            return
        with self._alone():
            process.end(self._saved.config)
            self._saved.forget()
            self._counters.forget()
            self._master_path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time act on the edge; make its folders first."""
        if len(os.fsencode(self._master_path)) > LONGEST_SOCKET - len(".12345.tmp"):
            raise Unsupported(
                f"the path of the edge's socket is longer than a Unix socket's may be ({LONGEST_SOCKET} bytes)",
                where=str(self._master_path),
                hint="name a state folder with a shorter path in $ANEW_HOME",
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._socket_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as cause:
            raise Unsupported(
                f"the edge's folder can't be made: {cause.strerror}",
                where=str(cause.filename),
                hint="make it writable, or name another state folder in $ANEW_HOME",
            ) from cause
        if self._socket_folder.stat().st_uid != os.geteuid():
            raise Conflict(
                "the folder of the edge's socket belongs to another user",
                where=str(self._socket_folder),
                hint="remove it, or name a state folder with a shorter path in $ANEW_HOME",
            )
        with alone(self._folder / "lock"):
            yield


def limits() -> Limits:
    """Return what this machine and this user allow the edge."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST_CONNECTIONS * 3 if hard == resource.RLIM_INFINITY else hard
    connections = max(100, min(MOST_CONNECTIONS, (files - RESERVED_FILES) // 2))
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    return Limits(connections, threads, WORKER_UID if os.geteuid() == 0 else None)


def _check_weights(weights: Weights, declaration: Declaration) -> None:
    known = {group.name: group.service for group in declaration.groups}
    for service, ones in weights.items():
        for group, weight in ones.items():
            if known.get(group) != service and weight:
                raise NotFound(f"the edge knows no group {group} of {service}", hint="declare it first")
        if sum(ones.values()) not in {0, 1000} or min(ones.values(), default=0) < 0:
            raise Bug(f"weights of {service} must sum to 1000, or to 0: {dict(ones)}")


def _silent(cause: OSError, where: Path) -> EngineError:
    return EngineError(f"the edge stopped answering: {cause}", where=str(where), hint="declare it again")
