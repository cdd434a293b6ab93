"""What an edge is doing, asked of all its workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from anew.edge import buckets, live, process, render, targets
from anew.edge.counters import Counters, part_name, parts
from anew.edge.runs import Runs
from anew.edge.saved import Saved, State
from anew.edge.sockets import Master, Row, Worker
from anew.model import Counts, Declaration, EdgeReading, Seconds

ANSWERS_WITHIN: Seconds = 2.0
READ_AGAIN = 3


class Look:
    """Looks at one edge, and changes nothing."""

    def __init__(self, runs: Runs, master: Master, saved: Saved, counters: Counters, times: Counters) -> None:
        self._runs = runs
        self._master = master
        self._saved = saved
        self._counters = counters
        self._times = times

    def reading(self, *, has_times: bool) -> EdgeReading:
        """Return what the edge is doing now, from itself; `declaration` is None while it runs something unfinished."""
        state = self._saved.state()
        for _ in range(READ_AGAIN):
            workers = self.workers(ANSWERS_WITHIN) if state else ()
            if state is None or not workers:
                break
            with suppress(OSError):  # a reload came in between, or it ended: the next look tells
                return self._read(state, workers, has_times=has_times)
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

    def _read(self, state: State, workers: tuple[Worker, ...], *, has_times: bool) -> EdgeReading:
        current = workers[0]
        is_known = self._master.description(current) == render.description(state.structure)
        rows = self.rows(workers)
        counts, in_flight = self.counted(state.declaration, rows)
        if has_times:
            timed = self.timed(state.declaration, workers)
            counts = {group: replace(one, times=timed.get(group, ())) for group, one in counts.items()}
        known = {group.name: group.service for group in state.declaration.groups}
        weights = {}
        for service in render.services(state.declaration):
            has = buckets.weights_of(self._master.buckets(current, service) or buckets.EMPTY)
            weights[service] = {group: weight for group, weight in has.items() if known.get(group) == service}
        declaration = targets.seen(state, rows.get(current, ())) if is_known else None
        if declaration:
            declaration = live.seen(declaration, self._master.entries(current, live.NAMES))
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
        told: dict[str, dict[str, tuple[int, ...]]] = {}
        for worker, ones in rows.items():
            mine = told.setdefault(worker.identity, {})
            for row in ones:
                if row.group not in names:
                    continue
                if not row.server:
                    mine[row.group] = (row.requests, row.failures, *row.judged)
                    by_group[row.group] += row.in_flight
                elif instance := names[row.group].get(row.address):
                    in_flight[instance] += row.in_flight
        totals = self._counters.take(told, names, must_save=must_save)
        tcp = {group.name for group in declaration.groups if group.is_tcp}
        return {g: _counts(totals.get(g, ()), by_group[g], is_tcp=g in tcp) for g in names}, in_flight

    def timed(
        self, declaration: Declaration, workers: tuple[Worker, ...], *, must_save: bool = False
    ) -> dict[str, tuple[tuple[int, int], ...]]:
        """Return the times of each group's answers, over all workers, also those that have ended."""
        groups = [group.name for group in declaration.groups if not group.is_tcp]
        told: dict[str, dict[str, tuple[int, ...]]] = {}
        for worker in workers:
            by_group = self._master.times(worker, groups) if worker.identity else None
            if by_group is not None:
                told[worker.identity] = {
                    part_name(group, bound): (count,)
                    for group, ones in by_group.items()
                    for bound, count in ones.items()
                }
        out: dict[str, list[tuple[int, int]]] = {}
        for name, (count,) in self._times.take(told, groups, must_save=must_save).items():
            group, bound = parts(name)
            out.setdefault(group, []).append((bound, count))
        return {group: tuple(sorted(ones)) for group, ones in out.items()}


def _counts(counted: tuple[int, ...], in_flight: int, *, is_tcp: bool) -> Counts:
    requests, failures, trials, bad, slow = (*counted, *(0,) * 5)[:5]
    if is_tcp:
        return Counts(requests, failures, in_flight)
    return Counts(requests, failures, in_flight, trials, min(bad, trials), slow)
