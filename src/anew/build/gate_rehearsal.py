"""The throwaway instances of one trial of the image gate: ordered, launched, waited for, and ended.

There is no edge here: a caller is told the very port of the instance that it calls. Callees are ready before their
callers are launched; what does not depend on each other starts side by side.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic

from anew.build.gate_ready import HOST, ended, not_ready
from anew.core.names import address_of
from anew.errors import Conflict, EngineError
from anew.model import Actor, Door, Order, Pin, Scope, Trial
from anew.ports import Compute, Say

ENVIRONMENT = "gate"  # no environment of a project: instances of it are nobody's but the gate's
PORTS = 3  # ports that are tried
AT_ONCE = 8
MAC = "gate"  # of a pin whose value was made up


@dataclass(frozen=True, slots=True)
class Place:
    """Where a trial takes place; `serial` (8 hex digits) makes its names unique."""

    scope: Scope
    serial: str
    port: Callable[[], int]  # returns a free port


def throwaway_secret(key: bytes, pin: Pin) -> bytes:
    """Return the made-up value of a secret in the gate, as hexadecimal digits; `key` is random and never kept.

    The same for every service of a trial, or none could log in at another.

    >>> throwaway_secret(b"a", Pin("db", 0, MAC)) == throwaway_secret(b"a", Pin("db", 0, MAC))
    True
    >>> throwaway_secret(b"a", Pin("db", 0, MAC)) == throwaway_secret(b"b", Pin("db", 0, MAC))
    False
    """
    return hmac.digest(key, pin.name.encode(), "sha256").hex().encode()


@dataclass(slots=True)
class Rehearsal:
    """A trial with its instances; whoever starts it stops it."""

    compute: Compute
    trial: Trial
    place: Place
    say: Say
    orders: dict[int, Order] = field(default_factory=dict)  # by actor: what runs, or would
    _launched: dict[int, Order] = field(default_factory=dict)  # that may run; noted before they are launched
    _is_given_up: threading.Event = field(default_factory=threading.Event)

    def start(self) -> dict[int, str]:
        """Start all instances; return why some are not ready, by actor. After that, nothing more is started.

        Blocks  until all are ready, or one can't become so.
        Raises  what the engine raises; some may run then.
        """
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gate") as pool:
            ones: list[Future[str | None]] = []
            try:
                for number, actor in enumerate(self.trial.actors):
                    ones.append(pool.submit(self._start, number, [ones[callee] for callee in actor.needs]))
                wait(ones, return_when=FIRST_EXCEPTION)
            finally:
                self._is_given_up.set()
        reasons = {number: one.result() for number, one in enumerate(ones)}
        return {number: reason for number, reason in reasons.items() if reason}

    def stop(self) -> None:
        """End and forget every instance. Raises what the engine raises, after it tried them all."""
        if not self._launched:
            return
        with ThreadPoolExecutor(len(self._launched), thread_name_prefix="gate") as pool:
            tuple(pool.map(self._stop, self._launched.items()))

    def ended(self) -> dict[int, str]:
        """Return how instances ended, with their last lines, by actor; callees before their callers."""
        numbers = sorted(self._launched)
        reasons = ended(self.compute, [self._launched[number] for number in numbers])
        return {number: reason for number, reason in zip(numbers, reasons, strict=True) if reason}

    def _start(self, number: int, callees: Sequence[Future[str | None]]) -> str | None:
        """Return "" once the instance is ready, or why it isn't, or None if it was given up because of another."""
        if any(callee.result() != "" for callee in callees) or self._is_given_up.is_set():
            return None
        service = self.trial.actors[number].part.service
        began = monotonic()
        if service.kind == "job":  # it runs by the clock
            self.orders[number] = self._order(number, 0)
            return ""
        self._launch(number)
        reason = not_ready(self.compute, self.orders[number], service, self._is_given_up.is_set)
        if reason:
            self._is_given_up.set()
        elif reason is not None:
            name = "" if number == len(self.trial.actors) - 1 else f"{service.name} is "
            self.say(f"{self.trial.tested.service.name}: {name}ready after {monotonic() - began:.1f} s")
        return reason

    def _launch(self, number: int) -> None:
        service = self.trial.actors[number].part.service
        listens = service.kind in {"http", "tcp"}
        for attempt in range(PORTS):
            order = self._order(number, self.place.port() if listens or service.is_asked else 0)
            self.orders[number] = self._launched[number] = order
            try:
                self.compute.launch(order)
            except Conflict:
                # The port was taken between choosing and using it.
                if attempt == PORTS - 1 or not listens:
                    raise
            else:
                break

    def _stop(self, launched: tuple[int, Order]) -> None:
        number, order = launched
        self.compute.stop(order.name, self.trial.actors[number].part.service.policy.grace)
        self.compute.remove(order.name)

    def _order(self, number: int, port: int) -> Order:
        actor = self.trial.actors[number]
        service = actor.part.service
        project, serial = self.place.scope.project, self.place.serial
        own = (("PORT", str(port)),) if port else ()
        host = (("HOST", HOST),) if port else ()
        return Order(
            name=f"{project}-gate-{service.name}-{serial}" + ("" if actor is self.trial.actors[-1] else f"-{number}"),
            group=f"{service.name}-gate",
            scope=replace(self.place.scope, environment=ENVIRONMENT),
            image=actor.part.image,
            command=service.command,
            environment=(*host, *service.flags, *service.told, *self._addresses(actor), *own),
            writable=tuple(dict.fromkeys((*service.folders, *(volume.path for volume in service.volumes)))),
            port=0 if service.is_asked else port,  # a worker is ready by itself, whatever answers there
            secrets=tuple(Pin(name, 0, MAC) for name in service.secrets),
            service=service.name,
            limits=service.limits,
        )

    def _addresses(self, actor: Actor) -> tuple[tuple[str, str], ...]:
        doors = []
        for callee in actor.needs:
            service = self.trial.actors[callee].part.service
            doors.append(Door(service.name, self.orders[callee].port, service.is_tcp))
        return tuple(flag for door in doors for flag in address_of(door, HOST))


@contextmanager
def standing(compute: Compute, trial: Trial, place: Place, say: Say) -> Iterator[dict[str, int]]:
    """Let all actors of a trial run until the block ends; yield the port of each that listens, by service.

    Blocks  until all are ready. Raises EngineError with the reason of the first that can't become so.
    """
    rehearsal = Rehearsal(compute, trial, place, say)
    try:
        for number, why in sorted(rehearsal.start().items()):
            service = trial.actors[number].part.service.name
            what, _, lines = why.partition("\n")
            hint = f"see why: `anew test {service}`"
            raise EngineError(
                f"{service}, which is needed, {what}", hint=hint, facts={"last lines": lines} if lines else {}
            )
        ports = {number: order.port for number, order in rehearsal.orders.items() if order.port}
        yield {trial.actors[number].part.service.name: port for number, port in ports.items()}
    finally:
        rehearsal.stop()
