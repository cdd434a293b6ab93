"""Counts that are not the edge's: read by a few threads, out of the way of the keeper's loop, and added up by key.

A key only ever grows, whatever happens to what it is read from; so `anew.shell.evidence` takes it as it takes the
counters of the edge.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anew.core.measures import Asked, Measure, Sent
from anew.model import Counts, Rollout, Sample, Seconds
from anew.ports import Clock
from anew.shell.inquiries import Inquiry
from anew.shell.sources import OpenFolder, OutcomesFile, OutcomesPage, Probes, Since, Source, Unread

AT_ONCE = 8  # readings: one that hangs holds up no other
LEAVING: Seconds = 5.0  # a reading under way may take so long when all is closed


@dataclass(slots=True)
class _Known:
    """One source, and when it is read next."""

    source: Source
    due: float  # monotonic
    why: str = ""  # the last reading failed
    is_busy: bool = False
    is_leaving: bool = False  # it is read once more, and then no longer


class Meters:
    """Reads what it is told to watch, until it is closed."""

    def __init__(self, clock: Clock, open_folder: OpenFolder) -> None:
        self._clock = clock
        self._open_folder = open_folder
        self._news = threading.Condition()
        self._known: dict[Measure, _Known] = {}
        self._totals: dict[str, Counts] = {}
        self._threads: set[threading.Thread] = set()
        self._rollout = 0
        self._begun = 0.0
        self._is_closed = False

    def watch(self, rollout: Rollout | None, measures: Collection[Measure]) -> None:
        """Read exactly `measures` from now on; what is left out is read a last time.

        An instance that began since the first look at the rollout counted from nothing; what others have counted by
        then was before, or was seen by a keeper that is no more.
        """
        with self._news:
            if rollout is not None and rollout.id != self._rollout:
                committed = (window.at for window in rollout.windows[-1:])  # by a keeper that is no more
                self._rollout, self._begun = rollout.id, max((rollout.since, *committed))
            wanted, now, is_news = set(measures), self._clock.monotonic(), False
            for measure, one in self._known.items():
                if measure not in wanted and not one.is_leaving:
                    one.is_leaving, one.due, is_news = True, now, True
            for measure in wanted - self._known.keys():
                self._known[measure] = _Known(self._source(measure), now)
                is_news = True
            if not is_news or self._is_closed:
                return
            self._news.notify_all()
            for _ in range(len(self._threads), min(AT_ONCE, len(self._known))):
                thread = threading.Thread(target=self._loop, name="meters", daemon=True)
                self._threads.add(thread)
                thread.start()

    def counts(self) -> Mapping[str, Counts]:
        """Return all that was counted until now, by key."""
        with self._news:
            return dict(self._totals)

    def unread(self) -> Mapping[str, str]:
        """Return why something can't be read, by key."""
        with self._news:
            return {key: one.why for one in self._known.values() if one.why for key in one.source.keys}

    def close(self) -> None:
        """Stop reading."""
        with self._news:
            self._is_closed = True
            self._news.notify_all()
            threads = tuple(self._threads)
        until = time.monotonic() + LEAVING
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._news:
            for one in self._known.values():
                if not one.is_busy:
                    one.source.close()

    def _source(self, measure: Measure) -> Source:
        if isinstance(measure, Sent):
            return Probes(measure)
        if isinstance(measure, Asked):
            return Inquiry(measure)
        # A page may be answered by one of several processes, each with counts of its own.
        since = Since(is_whole=measure.started >= self._begun, has_parts=bool(measure.url))
        return OutcomesPage(measure, since) if measure.url else OutcomesFile(measure, self._open_folder, since)

    def _loop(self) -> None:
        while (found := self._next()) is not None:
            measure, one = found
            did: Mapping[str, Sample] = {}
            why = ""
            try:
                did = one.source.read()
            except Unread as cause:
                why = str(cause)
            self._note(measure, one, did, why)

    def _next(self) -> tuple[Measure, _Known] | None:
        """Wait for what is to be read next, and take it; None when there is nothing left."""
        with self._news:
            while self._known and not self._is_closed:
                waiting = [(measure, one) for measure, one in self._known.items() if not one.is_busy]
                now = self._clock.monotonic()
                first = min(waiting, key=lambda item: item[1].due, default=None)
                if first is not None and first[1].due <= now:
                    first[1].is_busy = True
                    return first
                self._news.wait(first[1].due - now if first is not None else None)
            self._threads.discard(threading.current_thread())
            return None

    def _note(self, measure: Measure, one: _Known, did: Mapping[str, Sample], why: str) -> None:
        with self._news:
            for key, sample in did.items():
                total = self._totals.get(key, Counts())
                self._totals[key] = Counts(total.requests + sample.requests, total.failures + sample.failures)
            one.is_busy, one.why = False, why
            if one.is_leaving:
                one.source.close()
                del self._known[measure]
            else:
                one.due = self._clock.monotonic() + one.source.every
            self._news.notify_all()
