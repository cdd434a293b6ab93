"""The request log of an edge as it is written: per group and second, requests, failures and how long answers took.

HAProxy keeps its log in a ring in memory and sends it to whoever listens on a local socket, so nothing touches a disk,
and a reader that pauses loses nothing as long as the ring holds (4 MiB, some 100,000 lines). Without a reader HAProxy
looks for one again and again: 2.8.25 twice per second, 2.6.12 some 9,000 times, which takes half a core (measured). So
an edge has the ring only if it is asked to log (`is_logged`).

The alternatives were measured, on two cores with 32 connections, together with the reader: the ring 45,800 requests/s
and every line of 274,636 there, at 2.4 us of the reader's CPU per line; UDP with a forced 16 MiB buffer 42,000 and
every line, at 4.4 us, but any local program can send to it; a Unix datagram socket 25,100, and a quarter of the lines
lost; no log at all 47,100.

One limit was found by measurement, too: at a reload the old worker stops sending at once, so the lines of requests that
it was still finishing are missing, about one per connection that was kept alive. `losses` says how many.

The socket's name is abstract, so the edge's workers reach it under any uid; who it is that connects, the kernel says,
and only the edge's workers and this user are listened to.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from anew.edge.limits import WORKER_UID
from anew.errors import Bug, Conflict
from anew.model import Counts, Sample, Seconds
from anew.ports import Clock

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # upper bounds; one bucket more is open
KEPT = 3600  # windows
SETTLES: Seconds = 0.3  # a window is complete this long after its end
STOPS_WITHIN: Seconds = 5.0
_CHUNK = 1 << 18
_WORDS = 5  # of a line
_CREDENTIALS = struct.Struct("3i")


@dataclass(slots=True)
class Window:
    """One second of one group; `slow` counts answers per bucket of `BOUNDS_MS`."""

    requests: int = 0
    failures: int = 0
    slow: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))


class Telemetry:
    """Listens to one edge from a thread of its own; one reader per edge at a time.

    `name` is `HaproxyEdge.telemetry`. Use it with `with`, or `start` and `stop`.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[int, dict[str, Window]] = {}
        self._lines: dict[str, int] = {}
        self._connected = 0
        self._begin: Mapping[str, Counts] = {}
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, counts: Mapping[str, Counts] | None = None) -> None:
        """Begin to listen; `counts` are the edge's exact counters now, against which `losses` compares.

        Raises  Conflict if somebody else listens to this edge.
        """
        if self._thread is not None:
            raise Bug("this telemetry has been started already")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # HAProxy fills an abstract name up with zero bytes to the length of the address.
            listener.bind(b"\0" + self._name.encode().ljust(107, b"\0"))
        except OSError as cause:
            listener.close()
            raise Conflict(
                "something else reads the request log of this edge", where=f"@{self._name}", hint="end it"
            ) from cause
        listener.listen(64)
        self._begin = dict(counts or {})
        self._wake, asleep = socket.socketpair()
        self._thread = threading.Thread(target=self._run, args=(listener, asleep), name="telemetry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; success if it does not. What was heard stays readable."""
        if self._thread is None or self._wake is None:
            return
        self._wake.close()
        self._thread.join(STOPS_WITHIN)
        if self._thread.is_alive():
            raise Bug("the telemetry thread does not end")
        self._thread = self._wake = None

    def listened_to(self) -> int:
        """Return how many workers are connected. One that finds nobody when it begins looks again every second."""
        with self._lock:
            return self._connected

    def samples(self, group: str, since: float) -> tuple[Sample, ...]:
        """Return a sample per whole second from `since` on (UTC seconds), oldest first, empty ones too.

        Shapes  of the same length for every group that is asked for at the same time. Only seconds that are complete.
        """
        with self._lock:
            found = [self._windows.get(second, {}).get(group) for second in self._seconds(since)]
            return tuple(Sample(one.requests, one.failures) if one else Sample(0, 0) for one in found)

    def latencies(self, group: str, since: float) -> tuple[int, ...]:
        """Return how many answers took at most as long as each of `BOUNDS_MS`, and how many longer."""
        total = [0] * (len(BOUNDS_MS) + 1)
        with self._lock:
            for second in self._seconds(since):
                one = self._windows.get(second, {}).get(group)
                for bucket, count in enumerate(one.slow if one else ()):
                    total[bucket] += count
        return tuple(total)

    def losses(self, counts: Mapping[str, Counts]) -> dict[str, int]:
        """Return how many requests of each group the edge has finished since `start` and nobody heard of.

        `counts` are the edge's exact counters now. Requests in flight are not missed yet. HAProxy writes no line about
        a request on a kept connection whose instance closed it without an answer: that counts as lost here, too.
        """
        with self._lock:
            lines = dict(self._lines)
        out = {}
        for group, now in counts.items():
            begin = self._begin.get(group, Counts())
            answered = now.requests - now.in_flight - (begin.requests - begin.in_flight)
            out[group] = max(0, answered - lines.get(group, 0))
        return out

    def _seconds(self, since: float) -> range:
        end = int(self._clock.now() - SETTLES)
        return range(max(-int(-since // 1), end - KEPT), end)

    # ------------------------------------------------------------ the thread

    def _run(self, listener: socket.socket, asleep: socket.socket) -> None:
        rests: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector, listener, asleep:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(asleep, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is asleep:
                        for one in rests:
                            one.close()
                        return
                    if key.fileobj is listener:
                        self._accept(listener, rests, selector)
                    elif isinstance(key.fileobj, socket.socket):
                        self._hear(key.fileobj, rests, selector)

    def _accept(
        self, listener: socket.socket, rests: dict[socket.socket, bytes], selector: selectors.BaseSelector
    ) -> None:
        one, _ = listener.accept()
        credentials = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] not in {os.geteuid(), WORKER_UID}:
            one.close()
            return
        rests[one] = b""
        with self._lock:
            self._connected += 1
        selector.register(one, selectors.EVENT_READ)

    def _hear(self, one: socket.socket, rests: dict[socket.socket, bytes], selector: selectors.BaseSelector) -> None:
        try:
            data = one.recv(_CHUNK)
        except OSError:
            data = b""  # the worker was killed; what it had sent before is here
        if not data:
            selector.unregister(one)
            one.close()
            del rests[one]
            with self._lock:
                self._connected -= 1
            return
        lines = (rests[one] + data).split(b"\n")
        rests[one] = lines.pop()
        with self._lock:
            self._take(lines)

    def _take(self, lines: Sequence[bytes]) -> None:
        """Count lines ``web-g1 200 12 1700000000 --``: group, status, milliseconds in all, second of the answer, end.

        An end ``SD`` is an answer that its instance broke off. The status of a TCP connection is 0, it is told of when
        it has ended, and an end ``SC`` says that no instance took it. One that says "preview" at the end was no request
        of the public: it is heard, and no sample.
        """
        for line in lines:
            words = line.split()
            if len(words) < _WORDS:
                continue  # the ring's own note about what it had to drop; `losses` finds it in the counters
            group = words[0].decode("ascii", "replace")
            self._lines[group] = self._lines.get(group, 0) + 1
            if len(words) > _WORDS:
                continue
            second = int(words[3])
            groups = self._windows.get(second)
            if groups is None:
                groups = self._windows[second] = {}
                self._forget(second - KEPT)
            window = groups.get(group)
            if window is None:
                window = groups[group] = Window()
            window.requests += 1
            window.failures += _is_failure(words[1], words[4])
            window.slow[_bucket(int(words[2]))] += 1

    def _forget(self, before: int) -> None:
        for second in [one for one in self._windows if one < before]:
            del self._windows[second]


def _is_failure(status: bytes, end: bytes) -> bool:
    if status == b"0":
        return end in {b"SC", b"sC"}
    return status[:1] == b"5" or end == b"SD"


def _bucket(milliseconds: int) -> int:
    for number, bound in enumerate(BOUNDS_MS):
        if milliseconds <= bound:
            return number
    return len(BOUNDS_MS)
