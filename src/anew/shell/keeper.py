"""The keeper: the one process that acts for an environment. Observe, decide, run, over and over.

It is level-based: being woken, or a health check that changed, only shortens its sleep. Killed at any moment and
started again, it goes on from the world and the journal.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from anew.core.decide import decide
from anew.core.machine import BEFORE_FULL
from anew.core.steps import Decision
from anew.core.world import World
from anew.errors import AnewError, Conflict
from anew.model import Scope, Seconds
from anew.ports import Say
from anew.shell.clock import SystemClock
from anew.shell.effects import Effects
from anew.shell.evidence import Evidence
from anew.shell.journal import Journal, Stale
from anew.shell.keeperlock import KeeperLock
from anew.shell.observe import Observer
from anew.shell.parts import Parts
from anew.shell.probe import Prober
from anew.shell.runner import Done, Runner

BUSY: Seconds = 0.05  # between two looks while a rollout has stages to go
CALM: Seconds = 0.5  # while something is warm or heals
IDLE: Seconds = 1.0
SETBACKS = 60  # failed rounds in a row, with pauses that grow to `LONGEST`, until a keeper gives up
LONGEST: Seconds = 5.0
PATIENCE: Seconds = 60.0  # for a keeper that was asked to end: it carries out its round first


@dataclass(frozen=True, slots=True)
class Says:
    """What a keeper last said of itself, for those who watch: a file, because it is news and not truth."""

    reason: str = ""
    ready: tuple[str, ...] = ()
    trouble: str = ""


def heard(path: Path) -> Says:
    """Return what the keeper last wrote to `path`; nothing if it never did."""
    try:
        data = json.loads(path.read_text())
        return Says(str(data["reason"]), tuple(data["ready"]), str(data["trouble"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Says()  # absent or half-written: the next one comes within a second


class Keeper:
    """Acts for one environment until it is stopped, or until nothing is left to do."""

    def __init__(
        self, scope: Scope, clock: SystemClock, journal: Journal, parts: Parts, lock: KeeperLock, says: Path
    ) -> None:
        self._scope = scope
        self._journal = journal
        self._lock = lock
        self._says_path = says
        self._said = Says()
        self._stopping = threading.Event()
        self._clock = clock
        self._clock.catch_up(journal.ledger.latest(scope))
        compute, edge = parts.compute(scope), parts.edge(scope)
        self._prober = Prober(self._clock, lock.wake)
        self._observer = Observer(scope, journal, compute, edge, self._clock, self._prober, Evidence())
        self._effects = Effects(scope, journal, compute, edge, parts)
        self._runner = Runner(scope, journal, self._effects, parts)

    def run(self, *, until_idle: bool, say: Say) -> None:
        """Keep the environment.

        Raises  Conflict if another process keeps it; the last error if round after round failed.
        """
        if not self._lock.acquire():
            raise Conflict(
                f"the environment {self._scope} is kept by another process, {self._lock.holder()}",
                hint="it acts on what you ask for; end it first if you want to be the keeper yourself",
            )
        try:
            with self._ends_on_signals():
                self._rounds(until_idle=until_idle, say=say)
        finally:
            self._prober.close()
            self._lock.release()

    def _rounds(self, *, until_idle: bool, say: Say) -> None:
        setbacks, trouble, entered = 0, "", (0, 0)
        while not self._stopping.is_set():
            if not self._lock.path.exists():
                raise Conflict("the state folder is gone, so there is nothing left to keep", where=str(self._lock.path))
            try:
                world = self._observer.world(is_testing=self._effects.is_testing, trouble=trouble)
                at = (world.rollout.id, world.rollout.version) if world.rollout else (0, 0)
                if at != entered and trouble:
                    entered, trouble = at, ""
                    continue
                entered = at
                decision = decide(world)
                self._tell(world, decision, say)
                done = self._runner.run(world, decision.steps)
            except AnewError as error:
                done, decision = Done(failures=()), Decision((), None, error.what)
                setbacks = self._endure(setbacks, error, say)
                continue
            real = [(s, e) for s, e in done.failures if not isinstance(e, Stale)]
            if real:
                trouble = Done(tuple(real)).trouble if world.rollout and world.rollout.phase in BEFORE_FULL else ""
                setbacks = self._endure(setbacks, real[0][1], say, is_urgent=bool(trouble))
                continue
            setbacks = 0
            if decision.steps:
                continue
            if until_idle and decision.wait_until is None and world.rollout is None:
                return
            self._lock.wait(self._pause(world, decision))

    def _endure(self, setbacks: int, error: AnewError, say: Say, *, is_urgent: bool = False) -> int:
        """Say what failed and pause before the next round; give up after too many in a row."""
        say(f"{error.what}" + (f" ({error.hint})" if error.hint else ""))
        if setbacks >= SETBACKS:
            raise error
        if not is_urgent:
            self._lock.wait(min(LONGEST, 0.1 * 2 ** min(setbacks, 10)))
        return setbacks + 1

    def _tell(self, world: World, decision: Decision, say: Say) -> None:
        ready = tuple(sorted(n for n in world.seen if world.is_ready(n)))
        says = Says(decision.reason, ready, world.trouble)
        if says == self._said:
            return
        if says.reason != self._said.reason:
            say(says.reason)
        self._said = says
        fresh = self._says_path.with_suffix(".new")
        fresh.write_text(json.dumps({"reason": says.reason, "ready": says.ready, "trouble": says.trouble}))
        fresh.replace(self._says_path)

    def _pause(self, world: World, decision: Decision) -> Seconds:
        if world.rollout is not None and world.rollout.phase != "warm":
            most = BUSY
        else:
            most = IDLE if decision.wait_until is None else CALM
        if decision.wait_until is None:
            return most
        return min(most, max(0.001, decision.wait_until - self._clock.now()))

    @contextmanager
    def _ends_on_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the keeper between two rounds: nothing is half-done, and nothing it keeps ends."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(_number: int, _frame: object) -> None:
            self._stopping.set()
            self._lock.wake()

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)


def end_keeper(lock: KeeperLock, pid: int) -> None:
    """Ask the keeper that holds `lock` to end, and wait until it has.

    Raises  Conflict if it does not within `PATIENCE`.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while lock.holder() == pid:
        if time.monotonic() > end:
            raise Conflict(f"the keeper, process {pid}, does not end", hint=f"end it by hand: kill -9 {pid}")
        time.sleep(0.02)
