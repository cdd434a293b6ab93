"""What an edge is doing, asked of all its workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

from anew.edge import buckets, process, render, targets
from anew.edge.counters import Counters
from anew.edge.listeners import with_pins
from anew.edge.runs import Runs
from anew.edge.saved import Saved, State
from anew.edge.sockets import Master, Row, Worker
from anew.model import Counts, Declaration, EdgeReading, Seconds

ANSWERS_WITHIN: Seconds = 2.0
READ_AGAIN = 3


class Look:
    """Looks at one edge, and changes nothing."""

    def __init__(self, runs: Runs, master: Master, saved: Saved, counters: Counters) -> None:
        self._runs = runs
        self._master = master
        self._saved = saved
        self._counters = counters

    def reading(self) -> EdgeReading:
        """Return what the edge is doing now, from itself; `declaration` is None while it runs something unfinished."""
        state = self._saved.state()
        for _ in range(READ_AGAIN):
            workers = self.workers(ANSWERS_WITHIN) if state else ()
            if state is None or not workers:
                break
            with suppress(OSError):  # a reload came in between, or it ended: the next look tells
                return self._read(state, workers)
        return EdgeReading(is_up=False)

    def workers(self, patience: Seconds) -> tuple[Worker, ...]:
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
            if time.monotonic() > until or not process.ours(self._saved.config, self._runs.current().path):
                return ()
            time.sleep(process.LOOKS_EVERY)

    def _read(self, state: State, workers: tuple[Worker, ...]) -> EdgeReading:
        current = workers[0]
        is_known = self._master.description(current) == render.description(state.structure)
        rows = self.rows(workers)
        counts, in_flight = self.counted(state.declaration, rows)
        known = {group.name: group.service for group in state.declaration.groups}
        weights = {}
        for service in render.services(state.declaration):
            has = buckets.weights_of(self._master.buckets(current, service) or buckets.EMPTY)
            weights[service] = {group: weight for group, weight in has.items() if known.get(group) == service}
        declaration = targets.seen(state, rows.get(current, ())) if is_known else None
        if declaration and declaration.listeners:
            declaration = with_pins(declaration, self._master.pins(current))
        return EdgeReading(
            is_up=True,
            declaration=declaration,
            weights={service: has for service, has in weights.items() if has},
            counts=counts,
            in_flight=in_flight,
            pids=tuple(dict.fromkeys((*(worker.master for worker in workers), *(worker.pid for worker in workers)))),
        )

    def rows(self, workers: tuple[Worker, ...]) -> dict[Worker, tuple[Row, ...]]:
        """Ask every worker for what it counts; one that has ended meanwhile is left out."""
        rows = {worker: self._master.rows(worker) for worker in workers if worker.identity}
        return {worker: ones for worker, ones in rows.items() if ones}

    def counted(
        self, declaration: Declaration, rows: Mapping[Worker, tuple[Row, ...]], *, must_save: bool = False
    ) -> tuple[dict[str, Counts], dict[str, int]]:
        """Return the counts of each group, and the requests in flight at each instance, over all workers."""
        names = {g.name: {f"{t.host}:{t.port}": t.name for t in g.targets} for g in declaration.groups}
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
