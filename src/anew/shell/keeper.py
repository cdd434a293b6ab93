"""The keeper: the one process that acts for an environment. Observe, decide, run, over and over.

It is level-based: being woken, or a health check that changed, only shortens its sleep. Killed at any moment and
started again, it goes on from the world and the journal.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from anew.core.control import watched
from anew.core.decide import decide
from anew.core.machine import BEFORE_FULL
from anew.core.measures import measures
from anew.core.steps import Allot, Decision, Launch, Step
from anew.core.world import World
from anew.errors import AnewError, Conflict
from anew.model import Scope, Seconds
from anew.ports import Say
from anew.shell.clock import SystemClock
from anew.shell.deaths import Deaths
from anew.shell.effects import Effects
from anew.shell.evidence import Evidence, kept
from anew.shell.journal import Journal, Stale
from anew.shell.keeperlock import KeeperLock
from anew.shell.meters import Meters
from anew.shell.observe import Observer
from anew.shell.parts import Parts
from anew.shell.probe import Prober
from anew.shell.runner import Done, Runner
from anew.shell.says import Says, write
from anew.shell.tidying import Tidying
from anew.shell.touches import Touches, record
from anew.shell.windows import EVERY

BUSY: Seconds = 0.05  # between two looks while a rollout has stages to go
CALM: Seconds = 0.5  # while something is warm or heals, or could end without anybody being told
REST: Seconds = 5.0  # while all is as it shall be: deaths, health that changed and wishes wake the keeper by themselves
SETBACKS = 60  # failed rounds in a row, with pauses that grow to `LONGEST`, until a keeper gives up
LONGEST: Seconds = 5.0


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
        self._kept = 0.0  # when windows were committed last
        self._stopping = threading.Event()
        self._clock = clock
        self._clock.catch_up(journal.ledger.latest(scope))
        compute, edge = parts.compute(scope), parts.edge(scope)
        self._prober = Prober(self._clock, lock.wake)
        self._deaths = Deaths()
        mark = says.with_name(says.name.removesuffix(".says.json") + ".watched")
        inspection = parts.inspection(scope)
        self._touches = Touches(inspection, scope, mark, lock.wake)
        self._meters = Meters(self._clock, inspection.folder)
        self._observer = Observer(
            scope,
            journal,
            compute,
            edge,
            self._clock,
            self._prober,
            Evidence(),
            self._deaths,
            self._touches,
            self._meters,
        )
        self._effects = Effects(scope, journal, compute, inspection, edge, parts)
        self._runner = Runner(scope, journal, self._effects, parts)
        self._tidying = Tidying(parts.archive(), clock, lambda: parts.sweep(scope), edge.renew)

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
            self._touches.begin()
            with self._ends_on_signals():
                self._rounds(until_idle=until_idle, say=say)
        finally:
            self._prober.close()
            self._meters.close()
            self._deaths.close()
            self._touches.close()
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
                self._meters.watch(world.rollout, measures(world))
                decision = decide(world)
                record(self._touches, world, self._note, say)
                self._tell(world, decision, say)
                self._keep_windows(world)
                done = self._runner.run(world, decision.steps)
            except AnewError as error:
                done, decision = Done(failures=()), Decision((), None, error.what)
                setbacks = self._endure(setbacks, error, say)
                continue
            real = [(s, e) for s, e in done.failures if not isinstance(e, Stale)]
            if real:
                trouble = Done(tuple(f for f in real if _is_of_rollout(world, f[0]))).trouble
                setbacks = self._endure(setbacks, real[0][1], say, is_urgent=bool(trouble))
                continue
            setbacks = 0
            if decision.steps:
                continue
            self._tidying.look((a.name for a in world.allotments), say)
            if until_idle and decision.wait_until is None and world.rollout is None:
                if self._has_left():
                    return
                continue
            if not self._observer.has_news:
                self._lock.wait(self._pause(world, decision), self._deaths.fileno())

    def _has_left(self) -> bool:
        """Let go of the environment, unless something was asked for since the last look: who asked saw a keeper."""
        seen = self._observer.committed
        self._lock.release()
        return seen is None or seen.stamp == self._journal.stamp() or not self._lock.acquire()

    def _endure(self, setbacks: int, error: AnewError, say: Say, *, is_urgent: bool = False) -> int:
        """Say what failed and pause before the next round; give up after too many in a row."""
        say(f"{error.what}" + (f" ({error.hint})" if error.hint else ""))
        if setbacks >= SETBACKS:
            raise error
        if not is_urgent:
            self._lock.wait(min(LONGEST, 0.1 * 2 ** min(setbacks, 10)))
        return setbacks + 1

    def _note(self, text: str) -> None:
        self._journal.ledger.note(self._scope, "note", text)

    def _tell(self, world: World, decision: Decision, say: Say) -> None:
        ready = tuple(sorted(n for n in world.seen if world.is_ready(n)))
        says = Says(decision.reason, ready, world.trouble)
        if says == self._said:
            return
        if says.reason != self._said.reason:
            say(says.reason)
        self._said = says
        write(self._says_path, says)

    def _keep_windows(self, world: World) -> None:
        """Commit what the groups did while they are compared, now and then."""
        rollout, now = world.rollout, self._clock.monotonic()
        if rollout is None or not world.edge.is_up or now - self._kept < EVERY:
            return
        if not watched(rollout, world.members(rollout.old), world.members(rollout.new)):
            return
        self._kept = now
        counts, slows = kept(world.edge.counts)
        self._journal.windows.keep(self._scope, replace(rollout, counts=counts, slows=slows, windows=world.windows))

    def _pause(self, world: World, decision: Decision) -> Seconds:
        if world.rollout is not None and world.rollout.phase != "warm":
            most = BUSY
        else:
            most = REST if self._deaths.is_complete and is_at_rest(world) else CALM
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


def is_at_rest(world: World) -> bool:
    """Say whether all is as it shall be, so that what changes next is told: by the kernel, a health check or a wish."""
    is_settled = all(a.name in world.apart or (world.is_ready(a.name) and not a.draining) for a in world.allotments)
    return world.rollout is None and is_settled and not world.strays


def _is_of_rollout(world: World, step: Step) -> bool:
    """Say whether a step serves the rollout that has stages to go: what else fails speaks not against it."""
    if world.rollout is None or world.rollout.phase not in BEFORE_FULL:
        return False
    if not isinstance(step, Launch | Allot):
        return True
    return any(m.group == step.group for m in world.members(world.rollout.new).values())
