"""Exact counters over all workers, also over those that have ended.

Each worker counts for itself and from nothing. What a worker had counted when it was last seen is added to the base
once it is gone, and the base outlives everything, so counters never go backwards. Lost is what a worker counts between
the last reading and its end. At a reload that is next to nothing: an old worker passes new requests on, so only what is
counted when an answer comes, 5xx answers and trials, can be missed, of requests that it was still finishing. Of a
worker that was killed it is all since the last reading that was saved, at most `SAVED_EVERY` before the last reading.

What a table of HAProxy counts has 32 bits, and begins again after that: it is a new round when it falls by more than
half of that. When it falls by less, the reading is older than the last one, or HAProxy has emptied the table: an old
worker does so within a second, but for entries that requests in flight still need. So of an old worker, the earlier
value stands; lost is what came between the last reading and then, of trials and times.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import msgspec

from anew.edge.files import write
from anew.edge.process import identity
from anew.errors import EngineError
from anew.model import Seconds

Totals = Mapping[str, tuple[int, ...]]  # group, or a part of one → what was counted; what is missing at the end is 0
SAVED_EVERY: Seconds = 1.0
FORMAT = 2  # 1 had requests and failures only
ROUND = 1 << 32


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
        pairs = {worker: (self.workers.get(worker, {}), totals) for worker, totals in live.items()}
        base = _sum([self.base, *gone, *(_rounds(*pair) for pair in pairs.values())], known)
        return Tally(FORMAT, base, {worker: _sum([_latest(*pair)], known) for worker, pair in pairs.items()})

    def totals(self) -> dict[str, tuple[int, ...]]:
        """Return what was counted of each group, or part of one."""
        return _sum([self.base, *self.workers.values()])


def part_name(group: str, part: int) -> str:
    """Return how a part of a group is called among totals.

    >>> parts(part_name("web-g1", 127)), parts("web-g1")
    (('web-g1', 127), ('web-g1', 0))
    """
    return f"{group} {part}"


def parts(name: str) -> tuple[str, int]:
    """Return the group and its part, by their name among totals; 0 for a group as a whole."""
    group, _, part = name.partition(" ")
    return group, int(part or 0)


def _sum(every: Iterable[Totals], known: Container[str] | None = None) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    for one in every:
        for name, counted in one.items():
            if any(counted) and (known is None or parts(name)[0] in known):
                out[name] = _joined(out[name], counted, int.__add__) if name in out else counted
    return out


def _joined(one: Sequence[int], other: Sequence[int], by: Callable[[int, int], int]) -> tuple[int, ...]:
    return tuple(by(a, b) for a, b in zip_longest(one, other, fillvalue=0))


def _latest(before: Totals, now: Totals) -> Totals:
    """Return the later of two readings of one worker; what is missing in it, or less, is from the earlier one."""
    changed = {name: counted for name, counted in before.items() if now.get(name) != counted}
    return {**now, **{name: _joined(counted, now.get(name, ()), _later) for name, counted in changed.items()}}


def _later(before: int, now: int) -> int:
    return now if before - now > ROUND // 2 else max(before, now)


def _rounds(before: Totals, now: Totals) -> Totals:
    """Return what a worker's counters lost because they began again."""
    high = {name: counted for name, counted in before.items() if max(counted) > ROUND // 2}
    both = {name: (counted, now[name]) for name, counted in high.items() if name in now}
    return {name: _joined(*pair, lambda a, b: ROUND if a - b > ROUND // 2 else 0) for name, pair in both.items()}


def _present(live: Mapping[str, Totals], tally: Tally) -> dict[str, Totals]:
    """Return a reading without workers that have ended since it was taken, and that somebody has counted already."""
    return {worker: totals for worker, totals in live.items() if worker in tally.workers or not _has_ended(worker)}


def _has_ended(worker: str) -> bool:
    pid, _, start = worker.partition(".")
    return pid.isdecimal() and start.isdecimal() and identity(int(pid)) != worker


class Counters:
    """The tally of one edge in its file, shared by all who read."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic, *, is_needed: bool = True) -> None:
        self._path = path
        self._is_needed = is_needed
        self._monotonic = monotonic
        self._saved_at = float("-inf")
        self._floor: Totals = {}

    def take(self, live: Mapping[str, Totals], groups: Iterable[str], *, must_save: bool = False) -> Totals:
        """Take one reading of all workers; return what each group has counted since the edge knows it, if anything.

        `live` may speak of parts of groups instead, see `part_name`; then so does what is returned.
        The file is written when a worker came or went, at most every `SAVED_EVERY` otherwise, or if it `must_save`.
        Somebody else who writes at this moment has seen the same, so nobody waits. What an edge has answered once
        it never takes back, even if another reader saved less.
        """
        names = frozenset(groups)
        before = self._load()
        live = _present(live, before)
        now = before.after(live, names)
        is_due = self._monotonic() - self._saved_at >= SAVED_EVERY and now != before
        if must_save or is_due or before.workers.keys() != now.workers.keys():
            self._save(live, names)
            self._saved_at = self._monotonic()
        totals = now.totals()
        for name, floor in self._floor.items():
            if totals.get(name) != floor and parts(name)[0] in names:
                totals[name] = _joined(totals.get(name, ()), floor, max)
        self._floor = totals
        return totals

    def forget(self) -> None:
        """Begin at nothing: the edge was stopped on purpose."""
        self._path.unlink(missing_ok=True)
        self._floor = {}

    def _save(self, live: Mapping[str, Totals], groups: Iterable[str]) -> None:
        if not self._path.parent.exists():
            return
        with self._path.with_suffix(".lock").open("a") as lock:
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
            if not self._is_needed:
                return Tally()  # a figure is no reason to hold anything up
            raise EngineError(
                "the edge's counters can't be read",
                where=str(self._path),
                hint="remove the file; they begin at nothing",
            ) from cause
