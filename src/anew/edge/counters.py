"""Exact counters over all workers, also over those that have ended.

Each worker counts for itself and from nothing. What a worker had counted when it was last seen is added to the base
once it is gone, and the base outlives everything, so counters never go backwards. Lost is what a worker counts between
the last reading and its end. At a reload that is next to nothing: an old worker passes new requests on, so only 5xx
answers to requests that it was still finishing can be missed. Of a worker that was killed it is all since the last
reading that was saved, at most `SAVED_EVERY` before the last reading.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from anew.edge.files import write
from anew.edge.process import identity
from anew.errors import EngineError
from anew.model import Seconds

Totals = Mapping[str, tuple[int, int]]  # group → requests, failures
SAVED_EVERY: Seconds = 1.0
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted by whom: `base` by workers that are gone, `workers` by each one when it was last seen."""

    format: int = FORMAT
    base: Totals = field(default_factory=dict)
    workers: Mapping[str, Totals] = field(default_factory=dict)

    def after(self, live: Mapping[str, Totals], groups: Iterable[str]) -> Tally:
        """Return the tally after a reading of all workers there are; groups that are not named are forgotten."""
        known = frozenset(groups)
        gone = [totals for worker, totals in self.workers.items() if worker not in live]
        base = _sum([self.base, *gone], known)
        return Tally(FORMAT, base, {worker: _sum([totals], known) for worker, totals in live.items()})

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return requests and failures of each group."""
        every = [self.base, *self.workers.values()]
        return _sum(every, {group for one in every for group in one})


def _sum(every: Iterable[Totals], groups: Iterable[str]) -> dict[str, tuple[int, int]]:
    out = dict.fromkeys(groups, (0, 0))
    for one in every:
        for group, (requests, failures) in one.items():
            if group in out:
                out[group] = (out[group][0] + requests, out[group][1] + failures)
    return {group: pair for group, pair in out.items() if any(pair)}


def _present(live: Mapping[str, Totals], tally: Tally) -> dict[str, Totals]:
    """Return a reading without workers that have ended since it was taken, and that somebody has counted already."""
    return {worker: totals for worker, totals in live.items() if worker in tally.workers or not _has_ended(worker)}


def _has_ended(worker: str) -> bool:
    pid, _, start = worker.partition(".")
    return pid.isdecimal() and start.isdecimal() and identity(int(pid)) != worker


class Counters:
    """The tally of one edge in its file, shared by all who read."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._saved_at = float("-inf")
        self._floor: dict[str, tuple[int, int]] = {}

    def take(self, live: Mapping[str, Totals], groups: Iterable[str], *, must_save: bool = False) -> Totals:
        """Take one reading of all workers; return what each group has counted since the edge knows it.

        The file is written when a worker came or went, at most every `SAVED_EVERY` otherwise, or if it `must_save`.
        Somebody else who writes at this moment has seen the same, so nobody waits. What an edge has answered once
        it never takes back, even if another reader saved less.
        """
        names = tuple(groups)
        before = self._load()
        live = _present(live, before)
        now = before.after(live, names)
        is_due = self._monotonic() - self._saved_at >= SAVED_EVERY and now != before
        if must_save or is_due or before.workers.keys() != now.workers.keys():
            self._save(live, names)
            self._saved_at = self._monotonic()
        totals = now.totals()
        for group in names:
            requests, failures = totals.get(group, (0, 0))
            floor = self._floor.get(group, (0, 0))
            totals[group] = (max(requests, floor[0]), max(failures, floor[1]))
        self._floor = {group: totals[group] for group in names}
        return totals

    def forget(self) -> None:
        """Begin at nothing: the edge was stopped on purpose."""
        self._path.unlink(missing_ok=True)
        self._floor = {}

    def _save(self, live: Mapping[str, Totals], groups: Iterable[str]) -> None:
        if not self._path.parent.exists():
            return
        with self._path.with_name("counters.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            before = self._load()
            write(self._path, msgspec.json.encode(before.after(_present(live, before), groups)).decode())

    def _load(self) -> Tally:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Tally)
        except FileNotFoundError:
            return Tally()
        except msgspec.DecodeError as cause:
            raise EngineError(
                "the edge's counters can't be read",
                where=str(self._path),
                hint="remove the file; they begin at nothing",
            ) from cause
