"""Bounded HTTP load from a process of its own, which counts every request and says what became of it.

Three kinds of clients, because they meet a replacement differently: `keep-alive` clients hold one connection and
send request after request; `fresh` clients open a new connection for each; `slow` clients are always waiting for
an answer that takes long. Every request that was sent ends in exactly one of two ways:

- *answered*: a complete HTTP response came, whatever its status;
- *dropped*: anything else: refused, reset, closed before the response was complete, or no end within `patience`.

One exception is allowed to clients by RFC 9112, section 9.3.1, and browsers make use of it: a server may close an
idle connection at the very moment when the next request is under way. If a connection that has served before ends
without one byte of a response, the request (all are GET) is sent once more on a new connection. It counts as one
request, and each such repetition is counted in `retried`, so that nobody mistakes it for silence. A connection that
was seen closed *before* a request was written is no failure of anything; it is counted in `reopened`.

``python -m anew.testing.load --port 8080 --seconds 10`` prints a JSON line per interval and a last one in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Literal

import msgspec

from anew.model import Seconds
from anew.testing.http_client import Answer, Broken, Connection

Kind = Literal["keep-alive", "fresh", "slow"]
MOST_DROPS_KEPT = 20
QUANTILES = MappingProxyType({"p50": 0.5, "p99": 0.99, "worst": 1.0})
NOBODY = "edge"  # who answered, when the answer does not say


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, to whom, and for how long at most."""

    port: int
    host: str = "127.0.0.1"
    header: str = ""  # the Host header; "" for host:port
    path: str = "/"
    slow_path: str = "/slow"
    keep_alive: int = 8  # clients of each kind
    fresh: int = 4
    slow: int = 4
    rate: float = 200.0  # requests per second of the keep-alive and the fresh clients together
    seconds: Seconds = 60.0
    most: int = 1_000_000  # requests
    patience: Seconds = 15.0  # the bound of one request
    interval: Seconds = 0.1  # between two lines of figures
    marker: str = "x-release"  # the response header that says who answered, in lower case


@dataclass(slots=True)
class Answerer:
    """The requests that one release answered. Times are UTC seconds, and seconds of the monotonic clock."""

    answered: int = 0
    errors: int = 0  # 5xx
    first_sent: float = 0.0
    last_sent: float = 0.0  # when the last request that it answered was written
    last_sent_monotonic: float = 0.0


@dataclass(frozen=True, slots=True)
class Drop:
    """One request that got no complete answer."""

    at: float
    kind: Kind
    why: str


@dataclass(slots=True)
class Figures:
    """What was counted until now; ``sent == answered + dropped + in_flight`` holds at any time."""

    sent: int = 0
    answered: int = 0
    dropped: int = 0
    in_flight: int = 0
    retried: int = 0
    reopened: int = 0
    connections: int = 0
    late: int = 0  # requests that the generator itself could not send in time and left out
    seconds: Seconds = 0.0
    cpu: Seconds = 0.0  # of the generator
    by_status: dict[str, int] = field(default_factory=dict)
    by_kind: dict[str, int] = field(default_factory=dict)  # sent
    by_release: dict[str, Answerer] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)  # the first few
    milliseconds: dict[str, float] = field(default_factory=dict)  # p50, p99, worst: of answers but to slow clients
    is_final: bool = False


class Moment:
    """When a request was written, by both clocks."""

    __slots__ = ("epoch", "monotonic")

    def __init__(self) -> None:
        self.set()

    def set(self) -> None:
        """Make it now."""
        self.epoch, self.monotonic = time.time(), time.monotonic()


class Generator:
    """All clients, and the one count that they share."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.figures = Figures()
        self._took: Counter[float] = Counter()  # milliseconds, two digits
        self._stopping = asyncio.Event()
        self._begun = time.monotonic()

    def stop(self) -> None:
        """Send nothing more; what is in flight is waited for."""
        self._stopping.set()

    async def run(self, tell: Callable[[Figures], None]) -> Figures:
        """Send until `stop`, the bound of time or of count; `tell` gets the figures at each interval."""
        load = self._load
        period = (load.keep_alive + load.fresh) / load.rate
        async with asyncio.TaskGroup() as clients:
            clients.create_task(self._tell(tell))
            for number in range(load.keep_alive):
                clients.create_task(self._send("keep-alive", period, period * number / load.keep_alive))
            for number in range(load.fresh):
                clients.create_task(self._send("fresh", period, period * number / load.fresh))
            for number in range(load.slow):
                clients.create_task(self._send("slow", 0.0, 0.5 * number))
        self.figures.is_final = True
        return self._count()

    async def _tell(self, tell: Callable[[Figures], None]) -> None:
        while not await self._pause(self._load.interval):
            tell(self._count())
            if time.monotonic() - self._begun >= self._load.seconds or self.figures.sent >= self._load.most:
                self.stop()

    def _count(self) -> Figures:
        figures = self.figures
        figures.seconds = time.monotonic() - self._begun
        figures.cpu = time.process_time()
        figures.milliseconds = {name: _quantile(self._took, part) for name, part in QUANTILES.items()}
        return figures

    async def _pause(self, seconds: Seconds) -> bool:
        """Wait; return True as soon as the generator is asked to stop."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    async def _turns(self, kind: Kind, period: Seconds, offset: Seconds) -> AsyncIterator[None]:
        due = time.monotonic() + offset
        while not await self._pause(due - time.monotonic()) and self.figures.sent < self._load.most:
            yield
            now = time.monotonic()
            due += period
            if kind == "slow":
                due = now
            elif now - due > 1.0:  # the answers were slower than the rate: never send a burst to make up for it
                self.figures.late += int((now - due) / period)
                due = now

    async def _send(self, kind: Kind, period: Seconds, offset: Seconds) -> None:
        connection: Connection | None = None
        async for _ in self._turns(kind, period, offset):
            if connection is not None and not connection.is_open:
                self.figures.reopened += 1
                connection.close()
                connection = None
            connection = await self._ask(kind, connection)
            if connection is not None and (kind == "fresh" or connection.is_last):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    async def _ask(self, kind: Kind, connection: Connection | None) -> Connection | None:
        """Send one request and count what became of it; return the connection if it can be used again."""
        figures = self.figures
        figures.sent += 1
        figures.in_flight += 1
        figures.by_kind[kind] = figures.by_kind.get(kind, 0) + 1
        sent = Moment()
        try:
            async with asyncio.timeout(self._load.patience):
                connection, answer = await self._exchange(kind, connection, sent)
        except (OSError, Broken) as why:  # TimeoutError is an OSError
            if connection is not None:
                connection.close()
            figures.dropped += 1
            if len(figures.drops) < MOST_DROPS_KEPT:
                what = str(why) or f"no complete answer in {self._load.patience:g} s"
                figures.drops.append(Drop(sent.epoch, kind, what))
            return None
        finally:
            figures.in_flight -= 1
        self._note(kind, sent, answer)
        return connection

    async def _exchange(self, kind: Kind, connection: Connection | None, sent: Moment) -> tuple[Connection, Answer]:
        load = self._load
        path = load.slow_path if kind == "slow" else load.path
        if connection is not None:
            try:
                return connection, await connection.ask(path)
            except Broken as why:
                if why.received:
                    raise
                self.figures.retried += 1
        self.figures.connections += 1
        fresh = await Connection.open(load.host, load.port, load.header)
        sent.set()
        try:
            return fresh, await fresh.ask(path)
        except BaseException:
            fresh.close()
            raise

    def _note(self, kind: Kind, sent: Moment, answer: Answer) -> None:
        figures = self.figures
        figures.answered += 1
        status = str(answer.status)
        figures.by_status[status] = figures.by_status.get(status, 0) + 1
        who = figures.by_release.setdefault(answer.headers.get(self._load.marker, NOBODY), Answerer())
        who.answered += 1
        who.errors += answer.status >= 500
        who.first_sent = min(who.first_sent or sent.epoch, sent.epoch)
        who.last_sent = max(who.last_sent, sent.epoch)
        who.last_sent_monotonic = max(who.last_sent_monotonic, sent.monotonic)
        if kind != "slow":
            self._took[float(f"{(time.monotonic() - sent.monotonic) * 1000:.2g}")] += 1


def _quantile(took: Counter[float], part: float) -> float:
    left = part * took.total()
    for milliseconds in sorted(took):
        left -= took[milliseconds]
        if left <= 0:
            return milliseconds
    return 0.0


def as_line(figures: Figures) -> str:
    """Return the figures as one line of JSON; `Figures` are made of it again by `from_line`."""
    return msgspec.json.encode(figures).decode()


def from_line(line: str) -> Figures:
    """Return the figures of a line. Raises ValueError (msgspec.DecodeError) if it is something else."""
    return msgspec.json.decode(line, type=Figures)


def _print(figures: Figures) -> None:
    sys.stdout.write(as_line(figures) + "\n")
    sys.stdout.flush()


async def _generate(load: Load, *, is_tied: bool) -> Figures:
    loop = asyncio.get_running_loop()
    generator = Generator(load)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, generator.stop)

    def release() -> None:
        loop.remove_reader(sys.stdin)
        generator.stop()

    if is_tied:
        loop.add_reader(sys.stdin, release)  # readable: the one who started this is done, or dead
    return await generator.run(_print)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m anew.testing.load", description="Send bounded HTTP load.")
    for one in fields(Load):
        kind = {"int": int, "float": float, "Seconds": float}.get(str(one.type), str)
        needed = one.default is MISSING
        parser.add_argument(
            f"--{one.name.replace('_', '-')}", type=kind, required=needed, default=None if needed else one.default
        )
    parser.add_argument("--tied", action="store_true", help="end when standard input ends")
    return parser


def main() -> int:
    """Generate load as the command line says; return 1 if a request was dropped."""
    given = vars(_arguments().parse_args())
    is_tied = bool(given.pop("tied"))
    figures = asyncio.run(_generate(Load(**given), is_tied=is_tied))
    _print(figures)
    return 1 if figures.dropped else 0


if __name__ == "__main__":
    sys.exit(main())
