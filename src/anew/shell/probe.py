"""Health checks: which instances answer on their health path, asked again and again, out of the way of the loop."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from anew.model import Seconds
from anew.ports import Clock

EAGER: Seconds = 0.05  # between two checks of an instance that is not ready yet
CALM: Seconds = 1.0  # between two checks of one that is
YOUNG: Seconds = 3.0  # so long after it became ready it is checked eagerly still: health that flaps shows at once
PATIENCE: Seconds = 2.0  # for one answer
STRIKES = 3  # checks in a row that a ready instance may fail
AT_ONCE = 16
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of one instance."""

    port: int
    health: str
    is_ready: bool = False
    is_checked: bool = False  # at least once
    since: float = 0.0  # when `is_ready` last changed
    strikes: int = 0
    due: float = 0.0  # monotonic time of the next check
    says: str = ""  # why the last check failed
    falls: int = 0  # how often it was ready and then no longer


def check(port: int, health: str, patience: Seconds = PATIENCE) -> str:
    """Ask an instance for its health; return "" if it answers 200, else what was wrong."""
    connection = http.client.HTTPConnection(HOST, port, timeout=patience)
    try:
        connection.request("GET", health, headers={"User-Agent": "anew-health", "Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as cause:
        return str(cause) or type(cause).__name__
    finally:
        connection.close()
    return "" if status == http.client.OK else f"{health} answers {status}"


class Prober:
    """Checks the instances that it was told of, until it is closed; `changed` is called when readiness changes."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._known: dict[str, Probed] = {}
        self._busy: set[str] = set()
        self._lock = threading.Condition()
        self._is_closed = False
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe")
        self._thread = threading.Thread(target=self._loop, name="prober", daemon=True)
        self._thread.start()

    def watch(self, targets: Mapping[str, tuple[int, str]]) -> None:
        """Check exactly `targets` (name → port, health path) from now on; what is known of them stays."""
        with self._lock:
            for name in self._known.keys() - targets.keys():
                del self._known[name]
            for name, (port, health) in targets.items():
                if name not in self._known:
                    self._known[name] = Probed(port, health, since=self._clock.now())
            self._lock.notify_all()

    def settle(self) -> None:
        """Wait until every watched instance has been checked once: not to know yet is not the same as not ready.

        Blocks  at most as long as one answer may take.
        """
        with self._lock:
            self._lock.wait_for(lambda: all(p.is_checked for p in self._known.values()), PATIENCE + CALM)

    def readings(self) -> Mapping[str, Probed]:
        """Return what is known of every watched instance."""
        with self._lock:
            return dict(self._known)

    def close(self) -> None:
        """Stop checking."""
        with self._lock:
            self._is_closed = True
            self._lock.notify_all()
        self._thread.join(PATIENCE)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _loop(self) -> None:
        with self._lock:
            while not self._is_closed:
                now = self._clock.monotonic()
                idle = {n: p for n, p in self._known.items() if n not in self._busy}
                for name, one in idle.items():
                    if one.due <= now:
                        self._busy.add(name)
                        self._pool.submit(self._check, name, one)
                next_due = min((p.due for p in idle.values() if p.due > now), default=now + CALM)
                self._lock.wait(max(next_due - now, 0.001))

    def _check(self, name: str, one: Probed) -> None:
        says = check(one.port, one.health)
        with self._lock:
            self._busy.discard(name)
            before = self._known.get(name)
            if before is None:
                return
            after = _after(before, says, self._clock)
            self._known[name] = after
            self._lock.notify_all()
        if after.is_ready != before.is_ready:
            self._changed()


def _after(before: Probed, says: str, clock: Clock) -> Probed:
    strikes = before.strikes + 1 if says else 0
    is_ready = not says or (before.is_ready and strikes < STRIKES)
    since = before.since if is_ready == before.is_ready else clock.now()
    is_calm = is_ready and not strikes and not 0 <= clock.now() - since < YOUNG
    return replace(
        before,
        is_ready=is_ready,
        is_checked=True,
        since=since,
        strikes=strikes,
        due=clock.monotonic() + (CALM if is_calm else EAGER),
        says=says,
        falls=before.falls + (before.is_ready and not is_ready),
    )
