"""Developing one service: its instance is chosen as it would run in the environment, and follows its sources.

Rules

1. The environment is not touched: the instance is no part of any group, has no volume of it, and gets no traffic of it.
2. What serves in the environment is called as that service's own instances call it. Where nothing serves, what is
   needed runs from the same release, for as long as this does.
3. A secret that the environment does not have, or that is shared with what runs only for this, is made up.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from types import FrameType

from anew.core import trials
from anew.core.names import address_of
from anew.core.world import LOOPBACK
from anew.errors import AnewError, NotFound
from anew.model import Door, Environment, Group, Order, Part, Pin, Release, Scope, Seconds, Service, Trial
from anew.model.developed import Developed, Mount, Sources, Terminal
from anew.ports import Workpiece
from anew.shell.effects import order_of
from anew.shell.journal import Journal
from anew.shell.parts import SourceTree
from anew.shell.sealing import seal

LOOKS_EVERY: Seconds = 0.1
SHELL = ("/bin/sh",)
SHOWN = 3  # changed files that are named
MADE_UP = "dev"  # of a pin without a value


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is developed: a service, the group that its instance is like, and what must run besides."""

    service: Service
    group: Group
    origin: str
    company: Trial | None = None  # what it needs, and does not serve


def from_release(
    journal: Journal, scope: Scope, release: Release, environment: Environment, choice: tuple[str, str]
) -> Chosen:
    """Return a service of a release as its environment would seal it; `choice` is its name, and where that is from."""
    name, origin = choice
    known = trials.by_service(release)
    if name not in known:
        raise NotFound(
            f"{release.name or 'anew.yaml'} has no service {name!r}", hint=f"it has: {', '.join(sorted(known))}"
        )
    names = (name, *trials.needed((name,), {one: part.service.needs for one, part in known.items()}))
    parts = tuple(known[one] for one in names)
    alone = set(known[name].service.secrets) - {one for part in parts[1:] for one in part.service.secrets}
    pins = _pins(journal, scope, alone, known[name].service.secrets)
    sealed = seal(scope, Release(scope.project, "", "", parts), environment, pins)
    seals = {one.service: one for one in sealed.seals}
    flagged = {
        one.service.name: Part(replace(one.service, flags=seals[one.service.name].flags), one.image) for one in parts
    }
    group = Group(f"{name}-dev", name, "", seals[name], known[name].image)
    trial = trials.trial_of(flagged[name], flagged)
    return Chosen(known[name].service, group, origin, Trial(trial.actors[:-1]) if len(trial.actors) > 1 else None)


def _pins(journal: Journal, scope: Scope, alone: set[str], names: Sequence[str]) -> tuple[Pin, ...]:
    """Return the versions of secrets; 0, for a made-up one, where the environment has none, or it is not its alone."""
    found: list[Pin] = []
    for name in names:
        try:
            found += journal.vault.pins(scope, [name]) if name in alone else [Pin(name, 0, MADE_UP)]
        except NotFound:
            found.append(Pin(name, 0, MADE_UP))
    return tuple(found)


def order(scope: Scope, chosen: Chosen, name: str, port: int, company: Mapping[str, int]) -> Order:
    """Return the order of the instance; `company` are the ports of what runs besides."""
    seal_ = chosen.group.seal
    plain = order_of(scope, chosen.group, name, port, LOOPBACK)
    doors = [Door(one.service, company[one.service], one.is_tcp) for one in seal_.needs if one.service in company]
    folders = (*seal_.writable, *(one.path for one in seal_.volumes))
    return replace(
        plain,
        environment=(*plain.environment, *(flag for door in doors for flag in address_of(door, LOOPBACK))),
        writable=tuple(dict.fromkeys(folders)),
        volumes=(),
    )


def notes(chosen: Chosen, asked: Order) -> Iterator[str]:
    """Yield what a person should know of how this instance differs from others."""
    made_up = [pin.name for pin in asked.secrets if not pin.version]
    if made_up:
        why = "the environment has none, or they are shared with what was started"
        yield f"made-up values for {', '.join(made_up)}: {why}"
    for one in chosen.group.seal.volumes:
        yield f"the volume {one.name} is an empty folder at {one.path}: those of the environment are left alone"
    if chosen.service.kind == "worker":
        yield f"{chosen.service.name} is a worker, and takes work as soon as it runs"
    told = dict(asked.environment)
    for need in chosen.group.seal.needs:
        names = [name for name, _ in address_of(Door(need.service, 0, need.is_tcp), "")]
        yield from (f"{name} is {told[name]}" for name in names if name in told)


# ------------------------------------------------------------ following the sources


@dataclass(slots=True)
class Following:
    """One workpiece whose application is started again when its sources change."""

    piece: Workpiece
    asked: Order
    chosen: Chosen
    tree: SourceTree
    terminal: Terminal
    starts: int = 0
    ended: str = ""
    code: int = 0
    mounts: tuple[Mount, ...] = ()
    _changes: SimpleQueue[tuple[str, ...]] = field(default_factory=SimpleQueue)
    _is_watching: bool = False  # so a change may come that starts it again

    def run(self) -> None:
        """Run until somebody ends it."""
        if self.terminal.is_shell:
            self._shell()
            return
        with interruptible():
            try:
                with self._watching():
                    self._follow()
            except KeyboardInterrupt:
                self.ended = ""
                self._stop()

    def _shell(self) -> None:
        command = " ".join(self.asked.command)
        self.terminal.say(f"a shell in {self.chosen.service.name}, as root of it; its command is: {command}")
        self.mounts = self._sources().mounts
        self.code = self.piece.shell(self.mounts, SHELL, self.terminal.output)

    def _follow(self) -> None:
        while True:
            why = self._start()
            while not why:
                why = self._wait()
            changed = self._taken() or self._awaited(why)
            if not changed:
                self.code = 0 if why == "exit code 0" else 1
                return
            self.ended = ""
            self._stop()
            self.terminal.say(f"{_named(changed)} changed; {self.chosen.service.name} starts again")

    def _start(self) -> str:
        """Start the application; return why it could not be, "" if it was."""
        try:
            self.mounts = self._sources().mounts
            self.piece.start(self.mounts, self.terminal.show)
        except AnewError as error:
            if not self.starts or not self._is_watching:
                raise
            return f"it could not be started: {error.what}"
        self.starts += 1
        return ""

    def _wait(self) -> str:
        """Wait a moment; return how it ended, or that it has to, and "" if it goes on."""
        was_listening = self.piece.is_listening if self.asked.port else True
        try:
            why = self.piece.ended(LOOKS_EVERY)
        except AnewError as error:
            if self.starts == 1 or not self._is_watching:
                raise
            return f"it could not be started: {error.what}"
        if not why and not was_listening and self.piece.is_listening:
            self.terminal.say(f"{self.chosen.service.name} listens at {address(self.chosen, self.asked)}")
        if not why and not self._changes.empty():
            return "a source changed"
        return why

    def _stop(self) -> None:
        self.piece.stop(self.chosen.service.policy.grace)

    def _sources(self) -> Sources:
        return self.tree.sources(self.chosen.group.image)

    def _taken(self) -> tuple[str, ...]:
        """Return what has changed until now."""
        found: dict[str, None] = {}
        while True:
            try:
                found.update(dict.fromkeys(self._changes.get_nowait()))
            except Empty:
                return tuple(found)

    def _awaited(self, why: str) -> tuple[str, ...]:
        """Wait for a change, as the application has ended; return () if none can come."""
        self.ended = why
        if self._is_watching:
            self.terminal.say(f"{self.chosen.service.name} ended: {why}; it is started again when a source changes")
        while self._is_watching:
            with suppress(Empty):
                return self._changes.get(timeout=LOOKS_EVERY)
        return ()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Take note of changed sources in a thread of its own, if that matters."""
        watched = self._sources().watched
        if not self.terminal.may_restart or not watched:
            yield
            return
        stop = threading.Event()

        def watch() -> None:
            try:
                for changes in self.tree.changed(watched, stop):
                    self._changes.put(changes)
            except (AnewError, OSError) as error:
                self.terminal.say(f"sources can't be watched any more: {error}")
            self._is_watching = False

        self._is_watching = True
        thread = threading.Thread(target=watch, name="sources", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _named(changed: Sequence[str]) -> str:
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return ", ".join(changed[:SHOWN]) + more


def address(chosen: Chosen, asked: Order) -> str:
    """Return where the instance is reached from this machine; "" if it does not listen."""
    match chosen.service.kind:
        case "http":
            return f"http://{LOOPBACK}:{asked.port}/"
        case "tcp":
            return f"{LOOPBACK}:{asked.port}"
        case _:
            return ""


def outcome(scope: Scope, followed: Following) -> Developed:
    """Return how it ended; the workpiece must be stopped."""
    chosen = followed.chosen
    return Developed(
        service=chosen.service.name,
        environment=scope.environment,
        image=chosen.group.image.digest,
        origin=chosen.origin,
        address=address(chosen, followed.asked),
        starts=followed.starts,
        ended=followed.ended,
        code=followed.code,
        changes=followed.piece.changes(followed.mounts),
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Let being asked to end, and the loss of the terminal, be as ^C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.signal(number, interrupt))
        yield
