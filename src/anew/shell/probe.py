"""Health checks: which instances answer on their health path, asked again and again, out of the way of the loop.

Rules

1. What is not ready, has just failed, or has become ready a moment ago is asked eagerly; however many those are, they
   are asked no more often than `PACE` allows.
2. What has been ready for a while is asked every `CALM`. Where nothing is under way that could go back, the pauses
   grow with the time for which it has been ready, to `REST` at most, spread so that instances take turns.
3. All of it is one thread, and each check one connection of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from anew.model import Seconds
from anew.ports import Clock
from anew.shell.asking import PATIENCE, Asked, Asking

EAGER: Seconds = 0.05  # between two checks of an instance that is not ready yet
PACE: Seconds = 0.001  # for each of them, at least: a thousand checks per second are enough
YOUNG: Seconds = 3.0  # so long after it became ready it is checked eagerly still: health that flaps shows at once
CALM: Seconds = 1.0  # between two checks of one that is ready
REST: Seconds = 8.5  # the same at rest: with three strikes after it, a hung instance is noticed within 15 s
TRUST = 0.2  # of the time for which it has been ready it may be left alone at rest
SPREAD = 0.25  # pauses at rest are shorter by up to this part
GRAIN: Seconds = 0.5  # checks that may wait are made together at such times: waking costs as much as one of them
TICK: Seconds = 0.01  # between two looks at what is due, at least
GOLDEN = 0.618034  # multiples of it spread evenly over 0…1, however many there are
STRIKES = 3  # checks in a row that a ready instance may fail


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of one instance."""

    host: str
    port: int
    health: str
    is_ready: bool = False
    is_checked: bool = False  # at least once
    since: float = 0.0  # when `is_ready` last changed
    strikes: int = 0
    due: float = 0.0  # monotonic time of the next check
    says: str = ""  # why the last check failed
    falls: int = 0  # how often it was ready and then no longer

    def is_eager(self, now: float) -> bool:
        """Say whether it is asked eagerly."""
        return not self.is_ready or bool(self.strikes) or 0 <= now - self.since < YOUNG


class Prober:
    """Checks the instances that it was told of, until it is closed; `changed` is called when readiness changes."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._known: dict[str, Probed] = {}
        self._may_rest = False
        self._turn = 0
        self._next_due = 0.0
        self._begun = 0.0  # when it was last looked at what is due
        self._eager = 0  # how many are asked eagerly
        self._is_crowded = False  # more are due than can be asked at once
        self._news = threading.Condition()
        self._is_closed = False
        self._asking = Asking(clock)
        self._thread = threading.Thread(target=self._loop, name="prober", daemon=True)
        self._thread.start()

    def watch(self, targets: Mapping[str, tuple[str, int, str]], *, may_rest: bool = False) -> None:
        """Check exactly `targets` (name → host, port, health path) from now on; what is known of them stays.

        With `may_rest` those that have been ready for long are left alone for longer.
        """
        with self._news:
            if targets.keys() == self._known.keys() and may_rest == self._may_rest:
                return
            for name in self._known.keys() - targets.keys():
                del self._known[name]
            for name, (host, port, health) in targets.items():
                if name not in self._known:
                    self._known[name] = Probed(host, port, health, since=self._clock.now())
            if self._may_rest and not may_rest:
                now = self._clock.monotonic()
                for name, one in self._known.items():
                    self._known[name] = replace(one, due=min(one.due, now + CALM * self._share()))
            self._may_rest = may_rest
            self._next_due = 0.0
        self._asking.wake()

    def settle(self) -> None:
        """Wait until every watched instance has been checked once: not to know yet is not the same as not ready.

        Blocks  at most as long as one answer may take.
        """
        with self._news:
            self._news.wait_for(lambda: all(p.is_checked for p in self._known.values()), PATIENCE + CALM)

    def readings(self) -> Mapping[str, Probed]:
        """Return what is known of every watched instance."""
        with self._news:
            return dict(self._known)

    def close(self) -> None:
        """Stop checking."""
        if not self._is_closed:
            self._is_closed = True
            self._asking.wake()
            self._thread.join(PATIENCE)
            if not self._thread.is_alive():  # only then does nobody use the handles any more
                self._asking.close()

    def _loop(self) -> None:
        while not self._is_closed:
            with self._news:
                begins = max(self._next_due, self._begun + TICK)
                if self._clock.monotonic() >= begins:
                    self._begin()
                    begins = max(self._next_due, self._begun + TICK)
                pause = begins - self._clock.monotonic()
            answers = self._asking.answers(max(pause, 0.0))
            if answers:
                self._take(answers)

    def _begin(self) -> None:
        """Ask all that are due, and say when the next one is."""
        self._begun = now = self._clock.monotonic()
        wall = self._clock.now()
        self._next_due, self._eager, self._is_crowded = now + CALM, 0, False
        for name, one in self._known.items():
            self._eager += one.is_eager(wall)
            if one.due > now:
                self._next_due = min(self._next_due, one.due)
            elif self._asking.is_asked(name):
                continue  # its answer says when it is due again
            elif self._asking.has_room:
                self._asking.ask(name, one.host, one.port, one.health)
            else:
                self._is_crowded = True

    def _take(self, answers: Mapping[str, Asked]) -> None:
        """Note answers, and tell when readiness changed."""
        is_news = False
        with self._news:
            for name, asked in answers.items():
                before = self._known.get(name)
                if before is None or (before.host, before.port) != (asked.host, asked.port):
                    continue
                after = _after(before, asked.says, self._clock.now())
                after = replace(after, due=self._clock.monotonic() + self._pause(after))
                self._known[name] = after
                self._next_due = 0.0 if self._is_crowded else min(self._next_due, after.due)
                is_news = is_news or after.is_ready != before.is_ready
            self._news.notify_all()
        if is_news:
            self._changed()

    def _pause(self, one: Probed) -> Seconds:
        now = self._clock.now()
        if one.is_eager(now):
            return max(EAGER, PACE * self._eager)
        if not self._may_rest:
            return CALM
        longest = min(REST, max(CALM, TRUST * (now - one.since)))
        pause = longest * (1 - SPREAD * self._share())
        return max(CALM, pause - (self._clock.monotonic() + pause) % GRAIN)

    def _share(self) -> float:
        self._turn += 1
        return self._turn * GOLDEN % 1


def _after(before: Probed, says: str, now: float) -> Probed:
    strikes = before.strikes + 1 if says else 0
    is_ready = not says or (before.is_ready and strikes < STRIKES)
    return replace(
        before,
        is_ready=is_ready,
        is_checked=True,
        since=before.since if is_ready == before.is_ready else now,
        strikes=strikes,
        says=says,
        falls=before.falls + (before.is_ready and not is_ready),
    )
