"""The edge of one environment: HAProxy, changed while it serves.

Rules

1. What runs is asked, not remembered: its structure by the digest in its description, weights, pins and thresholds by
   its maps, targets by its slots, requests by its counters.
2. A configuration is checked before it is used; a refused one leaves what runs as it is.
3. Files first, sockets second: whenever HAProxy starts or reloads, it reads what was last wanted. The state file comes
   last, so it speaks only of what served. Whoever is killed in between leaves something that calling again completes.
4. Only the newest worker decides about traffic. Old ones pass new requests on to it (see `render`), and a change of
   weights or pins counts once every old worker does and accepts nothing, and the newest one has been read back.
5. One actor at a time, by a lock; reading needs none.
6. What runs is of the program that is wanted now. Another one takes over all that the old one listens on, and the old
   one finishes what it has begun: nobody's request or connection ends by it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from anew.edge import buckets, live, process, render, targets
from anew.edge.addresses import LISTEN_HINT, require_all, require_free
from anew.edge.buckets import Buckets
from anew.edge.checks import check, check_weights
from anew.edge.counters import Counters
from anew.edge.files import alone, write
from anew.edge.kept import kept_alive
from anew.edge.limits import limits
from anew.edge.look import ANSWERS_WITHIN, Look
from anew.edge.process import Launch
from anew.edge.program import STARTS_WITHIN, LocalProgram, Program
from anew.edge.render import Sockets
from anew.edge.runs import Run, Runs, mark, named
from anew.edge.saved import Saved, State
from anew.edge.section import map_name
from anew.edge.slots import all_assigned
from anew.edge.sockets import Master, Worker
from anew.errors import Conflict, EngineError, Unsupported
from anew.model import Declaration, EdgeReading, Seconds, Weights

LONGEST_SOCKET = 107  # bytes of a Unix socket's path
RELOADS_WITHIN: Seconds = 15.0
HANDS_OVER_WITHIN: Seconds = 5.0
DIES_AFTER: Seconds = 5.0  # an edge that is silent for so long is replaced
MOST_OLD_RUNS = 5  # masters that have handed over, each with some old workers


class HaproxyEdge:
    """Implements `anew.ports.Edge`. Several objects, in several processes, may stand for the same edge.

    `folder` keeps its files, and `sockets` its sockets, whose paths must be short; `program` is a HAProxy of this
    machine if none is named; with `is_logged` it logs requests for `anew.edge.telemetry`. Requests and connections
    outlive `render.MOST_OLD_WORKERS` reloads, and `MOST_OLD_RUNS` changes of the program.
    """

    def __init__(self, folder: Path, sockets: Path, program: Program | None = None, *, is_logged: bool = False) -> None:
        self._folder = folder.absolute()
        self._runs = Runs(sockets.absolute())
        self._program = program or LocalProgram()
        self._master = Master(self._runs.link)
        self._saved = Saved(self._folder)
        self._counters = (
            Counters(self._folder / "counters.json"),
            Counters(self._folder / "times.json", is_needed=False),
        )
        self._sockets = Sockets.of(self._folder, str(self._runs.exposed), is_logged=is_logged)
        self._limits = limits()
        self._look = Look(self._runs, self._master, self._saved, *self._counters)

    @property
    def telemetry(self) -> str:
        """The name of the abstract socket on which `anew.edge.telemetry` listens; "" if requests are not logged."""
        return self._sockets.telemetry

    # ------------------------------------------------------------ reading

    def reading(self, *, has_times: bool = False) -> EdgeReading:
        """Return what the edge is doing now, from itself; `declaration` is None while it runs something unfinished."""
        return self._look.reading(has_times=has_times)

    # ------------------------------------------------------------ declaring

    def declare(self, declaration: Declaration) -> None:
        """Make the edge run and know exactly `declaration`; see `anew.ports.Edge`.

        Raises  SpecError for names, paths and addresses that can't be; NotFound for a pin to a group that is not
                declared; Unsupported where there is no HAProxy; Conflict if an address is taken; EngineError if
                HAProxy refuses, with its own lines.
        """
        check(declaration)
        with self._alone():
            before = self._saved.state()
            slots = all_assigned(before.slots if before else {}, declaration.groups)
            structure = render.structure(declaration, slots, self._sockets, self._limits)
            self._make(before, State(declaration, slots, structure))

    def renew(self) -> bool:
        """Hand over to the program that is wanted now; see `anew.ports.Edge`."""
        with self._alone():
            process.trim(self._saved.config)
            state = self._saved.state()
            if state is None or self._running() is None or not self._is_other_program():
                return False
            structure = render.structure(state.declaration, state.slots, self._sockets, self._limits)
            self._make(state, replace(state, structure=structure))  # as this anew writes it
        return True

    def _make(self, before: State | None, state: State) -> None:
        running = self._running()
        if running is None:
            self._start(state)
            self._settle(state)
            self._saved.keep(state)
        elif self._is_other_program():
            with self._kept_alive(before, state):
                self._hand_over(before, state)
                self._bring(before, state, self._running())
        else:
            self._bring(before, state, running)

    def _bring(self, before: State | None, state: State, running: str | None) -> None:
        """Bring `state` into what is running, of whatever structure that is."""
        if running == render.description(state.structure):
            is_alone = not self._runs.others()  # if a hand-over was broken off, the old one may not know of it yet
            if before == state and is_alone and not self._unsettled(state, self._require_current()):
                return
            self._draft(state)
            self._saved.draft.replace(self._saved.config)
            self._saved.keep_maps(state.declaration)
            self._settle(state)
        else:
            with self._kept_alive(before, state):
                self._reload(before, state)
                self._settle(state)
        self._saved.keep(state)

    def _kept_alive(self, before: State | None, state: State) -> AbstractContextManager[None]:
        return kept_alive((before or state).declaration.preview_port)

    def _is_other_program(self) -> bool:
        wanted = mark(self._program.identity())
        return bool(wanted) and wanted != self._runs.current().mark

    def _running(self) -> str | None:
        """Return the description of what runs; None if nothing does, or it has been silent for too long."""
        workers = self._look.workers(DIES_AFTER)
        try:
            return self._master.description(workers[0]) if workers else None
        except OSError:
            return None

    def _draft(self, state: State) -> None:
        write(self._saved.draft, render.config(state.declaration, state.slots, self._sockets, self._limits))

    def _start(self, state: State) -> None:
        self._program.clear()  # which waits for one that is just being started
        process.end(self._saved.config)  # or a worker whose master was killed: it may still hold the address
        self._program.clear()
        require_all(None, state.declaration, self._ours)
        self._check(state)
        self._use(state)
        self._runs.forget()
        run = self._runs.following(self._program.identity())
        self._runs.lead(run)
        process.start(self._program, Launch(run.name, self._saved.config, run.path), lambda: self._serves(state))

    def _check(self, state: State) -> None:
        """Write the new configuration beside the one in use, and let HAProxy check it."""
        self._saved.add_maps(state.declaration)
        self._draft(state)
        process.check(self._program, self._saved.draft)

    def _use(self, state: State) -> None:
        """Put the files in place that HAProxy reads when it starts or reloads."""
        self._saved.drop_groups(state.declaration)
        self._saved.draft.replace(self._saved.config)
        self._saved.keep_maps(state.declaration)

    @contextmanager
    def _using(self, before: State | None, state: State) -> Iterator[None]:
        """Put new files in place; those of before are put back if what is done with them fails."""
        require_all(before.declaration if before else None, state.declaration, self._ours)
        self._check(state)
        self._save_counts(state, is_reloading=True)
        previous = self._saved.config.read_text(encoding="utf-8")
        self._use(state)
        try:
            yield
        except EngineError:
            write(self._saved.draft, self._saved.config.read_text(encoding="utf-8"))  # for a look at it
            write(self._saved.config, previous)
            if before:
                self._saved.keep_maps(before.declaration)
            raise

    def _reload(self, before: State | None, state: State) -> None:
        with self._using(before, state):
            refused = self._master.reload()
            until = time.monotonic() + RELOADS_WITHIN
            while not refused and not self._serves(state):
                if time.monotonic() > until:
                    refused = f"the new worker does not serve within {RELOADS_WITHIN:g} s"
                time.sleep(process.LOOKS_EVERY)
            if refused:
                raise EngineError(
                    "HAProxy refuses to reload; what ran goes on as it was",
                    where=str(self._saved.draft),
                    hint="look at its log",
                    facts={
                        "command": self._program.pasteable(("-c", "-f", str(self._saved.draft))),
                        "output": refused[-process.LAST_LINES :],
                    },
                )

    # ------------------------------------------------------------ handing over to another program

    def _hand_over(self, before: State | None, state: State) -> None:
        """Let a master of the wanted program serve with what the present one listens on; that one is retired later."""
        if not self._runs.exposed.exists():  # it was started by an anew that knew no hand-over
            self._reload(before, state)
        self._program.clear()  # which waits for one that is just being started
        run = self._begun()
        if run is None:
            run = self._runs.following(self._program.identity())
            launch = Launch(run.name, self._saved.config, run.path, self._runs.exposed)
            with self._using(before, state):
                process.start(self._program, launch, lambda: self._serves(state, run.path))
        self._runs.lead(run)

    def _begun(self) -> Run | None:
        """Return the master that serves since a hand-over that was broken off; None if there is none."""
        current = self._runs.current().number
        begun = [run for run in map(named, process.masters(self._saved.config)) if run and run.number > current]
        until = time.monotonic() + STARTS_WITHIN
        for run in reversed(begun):
            while process.ours(self._saved.config, run.path) and not self._master.is_retired(run.path):
                if self._master.described(run.path):
                    return run
                if time.monotonic() > until:
                    process.end(self._saved.config, run.path)
                time.sleep(process.LOOKS_EVERY)
        return None

    def _serves(self, state: State, master: Path | None = None) -> bool:
        """Say whether a worker of this structure answers; of the current master if none is named."""
        return self._master.described(master) == render.description(state.structure)

    def require_address(self, host: str, port: int) -> None:
        """Make sure that the edge has the public address, or may take it.

        Raises  Conflict if another program has it; SpecError or Unsupported if it can't be had here.
        """
        state = self._saved.state()
        has_it = state is not None and (state.declaration.host, state.declaration.port) == (host, port)
        if has_it and self._ours():
            return  # it serves there; whether its workers are in order is for `declare` to see
        require_free(host, port, LISTEN_HINT, self._ours)

    def _ours(self) -> tuple[int, ...]:
        return process.ours(self._saved.config)

    def _save_counts(self, state: State, *, is_reloading: bool = False) -> None:
        workers = self._master.workers()
        self._look.counted(state.declaration, self._look.rows(workers), must_save=True)
        if is_reloading or len(workers) > 1:  # they take longer, and only who ends takes them along
            self._look.timed(state.declaration, workers, must_save=True)

    # ------------------------------------------------------------ settling what runs

    def _unsettled(self, state: State, worker: Worker) -> tuple[str, ...]:
        """Return what a worker still has otherwise: targets to be told, and names of maps."""
        told = targets.commands(state, self._master.rows(worker))
        return *told, *self._other_maps(state.declaration, worker)

    def _other_maps(self, declaration: Declaration, worker: Worker) -> dict[str, list[str]]:
        """Return the lines of those maps that a worker has otherwise."""
        has = self._master.entries(worker, live.NAMES)
        return {name: live.lines(ones) for name, ones in live.maps(declaration).items() if has[name] != ones}

    def _settle(self, state: State) -> None:
        """Bring targets and live maps into the newest worker, and switch the old ones over."""
        current = self._require_current()
        told = targets.commands(state, self._master.rows(current))
        answer = self._master.tell(current, *told) if told else ""
        others = self._other_maps(state.declaration, current)
        self._master.replace(current, others)
        if (told or others) and (left := self._unsettled(state, current)):
            raise EngineError(f"the edge does not take {'; '.join(left)}: {answer.strip()}")
        self._switch_over(state)
        for run in self._runs.others()[:-MOST_OLD_RUNS]:
            process.end(self._saved.config, run.path)
        if self._master.forget_ended():
            self._program.clear()
        self._save_counts(state)

    def _switch_over(self, state: State) -> None:
        until = time.monotonic() + HANDS_OVER_WITHIN
        workers = self._master.workers()
        if any(one.is_retired for one in workers):
            self._save_counts(state)  # one that is told to end may do so at once
        for worker in workers:
            is_told = not worker.is_retired
            while worker.is_old and not self._master.switch_over(worker):
                if not is_told:
                    process.retire(self._saved.config, worker.master)
                    is_told = True
                if time.monotonic() > until:
                    raise EngineError(f"an old worker of the edge, process {worker.pid}, does not hand over")
                time.sleep(process.LOOKS_EVERY)

    def _require_current(self) -> Worker:
        current = self._master.current()
        if current is None:
            raise EngineError("the edge has no worker", where=str(self._runs.link), hint="declare it again")
        return current

    # ------------------------------------------------------------ shifting

    def shift(self, weights: Weights) -> None:
        """Set the weights of all services at once; a service that is not named has none. See `anew.ports.Edge`.

        Raises  NotFound for a group that is not declared; EngineError if the edge is not up or does not confirm.
        """
        with self._alone():
            state = self._saved.state()
            if state is None or not self._look.workers(ANSWERS_WITHIN):
                raise EngineError("the edge is not up, so nothing can be shifted", hint="declare it first")
            check_weights(weights, state.declaration)
            wanted = {}
            for service in render.services(state.declaration):
                wanted[service] = buckets.moved(self._saved.buckets(service), weights.get(service, {}))
                self._saved.keep_buckets(service, wanted[service])
            self._push(state, wanted)

    def _push(self, state: State, wanted: Mapping[str, Buckets]) -> None:
        current = self._require_current()
        different = self._different(current, wanted)
        if different:
            lines = {map_name(service): buckets.lines(ones) for service, ones in different.items()}
            self._master.replace(current, lines)
            left = self._different(current, different)
            if left:
                raise EngineError(f"the edge does not confirm the weights of {', '.join(left)}")
        self._switch_over(state)

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
            for counters in self._counters:
                counters.forget()
            self._runs.forget()
            self._program.clear()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time act on the edge; make its folders first."""
        if len(os.fsencode(self._runs.link)) > LONGEST_SOCKET - len(".12345.tmp"):
            raise Unsupported(
                f"the path of the edge's socket is longer than a Unix socket's may be ({LONGEST_SOCKET} bytes)",
                where=str(self._runs.link),
                hint="name a state folder with a shorter path in $ANEW_HOME",
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._runs.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as cause:
            raise Unsupported(
                f"the edge's folder can't be made: {cause.strerror}",
                where=str(cause.filename),
                hint="make it writable, or name another state folder in $ANEW_HOME",
            ) from cause
        if self._runs.folder.stat().st_uid != os.geteuid():
            raise Conflict(
                "the folder of the edge's socket belongs to another user",
                where=str(self._runs.folder),
                hint="remove it, or name a state folder with a shorter path in $ANEW_HOME",
            )
        with alone(self._folder / "lock"):
            try:
                yield
            except OSError as cause:
                said = f"the edge stopped answering: {cause}"
                raise EngineError(said, where=str(self._runs.link), hint="declare it again") from cause
