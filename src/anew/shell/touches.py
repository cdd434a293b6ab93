"""Who touched the instances of an environment: looked at again and again, out of the way of the keeper's loop.

Rules

1. A look at all of them takes its time, so it is made in a thread of its own, and begins `EVERY` seconds after the
   one before.
2. Up to when was looked is written down when what was found is committed, so that the next keeper asks for what
   happened since; where nobody can tell, the ledger says for how long nobody watched.
3. A look that fails is said once, and the next one asks for the same time again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anew.core.world import World
from anew.errors import AnewError
from anew.model import Scope, Seconds
from anew.ports import Inspection, Say

EVERY: Seconds = 6.0  # from one look to the next: what was touched is found within 10 s, though looks take their time
REST: Seconds = 2.0  # between two looks, however long they take
SOON: Seconds = 0.5
SHOWN = 3  # lines of evidence; whoever touched it once may have done so often


class Touches:
    """Looks until it is closed; `changed` is called when something new was found."""

    def __init__(self, inspection: Inspection, scope: Scope, mark: Path, changed: Callable[[], None]) -> None:
        self._inspection = inspection
        self._scope = scope
        self._mark = mark
        self._changed = changed
        self._guard = threading.Lock()
        self._found: dict[str, str] = {}
        self._gaps: list[str] = []
        self._failure = ""
        self._until = 0.0
        self._marked = 0.0
        self.is_wanted = True
        self.alive: Mapping[str, int] = {}  # the instances that are looked at, with their pids; told by the keeper
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._loop, name="touches", daemon=True)
        self._thread.start()

    def found(self) -> Mapping[str, str]:
        """Return what touched each instance that was touched."""
        with self._guard:
            return dict(self._found)

    def gaps(self) -> tuple[str, ...]:
        """Return for how long nobody watched, in words, as far as that was not written down."""
        with self._guard:
            return tuple(self._gaps)

    def written_down(self, gaps: int, known: Container[str]) -> None:
        """Forget the first `gaps`, and mark up to when was looked if all that was found is `known` to the journal."""
        with self._guard:
            del self._gaps[:gaps]
            until = self._until if all(name in known for name in self._found) else 0.0
        if until > self._marked:
            self._mark.write_text(f"{until:.3f}\n", encoding="ascii")
            self._marked = until

    def close(self) -> None:
        """Stop looking."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(EVERY)

    def _loop(self) -> None:
        since = watched_until(self._mark)
        while not self._closing.is_set():
            if not self.alive or not self.is_wanted:  # the keeper has not looked yet, or there is nothing to look at
                self._closing.wait(SOON)
                continue
            began = time.monotonic()
            since = self.look(since)
            self._closing.wait(max(REST, EVERY - (time.monotonic() - began)))

    def look(self, since: float) -> float:
        """Look once at what happened since then; return up to when was looked."""
        try:
            alive = {name: pid for name, pid in self.alive.items() if name not in self._found}  # it is known of those
            seen = self._inspection.touched(self._scope, alive, since)
        except (AnewError, OSError, ValueError) as error:  # ValueError: an engine that answers what it should not
            self._fail(str(error))
            return since
        found = {name: "; ".join(lines[:SHOWN]) for name, lines in seen.evidence.items() if lines}
        with self._guard:
            self._failure, self._until = "", seen.until
            is_news = bool(found.keys() - self._found.keys())
            # What came and went is not seen again by the next look, and has happened all the same.
            self._found |= {name: says for name, says in found.items() if name not in self._found}
            if seen.gap and since:
                self._gaps.append(f"unwatched from {_written(since)} to {_written(seen.until)}: {seen.gap}")
                is_news = True
        if is_news:
            self._changed()
        return seen.until

    def _fail(self, says: str) -> None:
        with self._guard:
            if says != self._failure:
                self._failure = says
                self._gaps.append(f"nobody can tell now who touches the instances: {says}")
        self._changed()


def watched_until(mark: Path) -> float:
    """Return up to when a keeper before has looked; 0 if none has."""
    try:
        return float(mark.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0


def record(touches: Touches, world: World, note: Callable[[str], None], say: Say) -> None:
    """Write down for how long nobody watched, and up to when was looked: a keeper that is killed loses nothing."""
    touches.is_wanted = world.environment.taint != "ignore"
    gaps = touches.gaps()
    for gap in gaps:
        note(gap)
        say(gap)
    pending = {a.name for a in world.allotments if not (a.tainted or a.draining or a.aside)}
    touches.written_down(len(gaps), _Others(pending))


@dataclass(frozen=True, slots=True)
class _Others:
    """All names but some."""

    names: Container[str]

    def __contains__(self, name: object) -> bool:
        return name not in self.names


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
