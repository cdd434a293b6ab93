"""Asking many instances for their health at once, in one thread: a connection each, and nothing that blocks."""

from __future__ import annotations

import os
import select
import socket
from dataclasses import dataclass
from errno import EINPROGRESS

from anew.model import Bytes, Seconds
from anew.ports import Clock

PATIENCE: Seconds = 2.0  # for one answer
AT_ONCE = 64
HOST = "127.0.0.1"  # whom they are asked as, wherever they are: a name that applications allow
LONGEST: Bytes = 65536  # of the head of an answer
ENDS = (b"\r\n\r\n", b"\n\n")
OK = "200"


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one question: "" if it was answered with 200, else what was wrong."""

    host: str
    port: int
    says: str


@dataclass(slots=True)
class _Question:
    """One that is under way."""

    name: str
    host: str
    port: int
    health: str
    until: float  # monotonic
    line: socket.socket
    head: bytes = b""

    def send(self) -> None:
        """Send it; it is far smaller than what the kernel takes at once."""
        self.line.send(
            f"GET {self.health} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nAccept-Encoding: identity\r\n"
            f"User-Agent: anew-health\r\nConnection: close\r\n\r\n".encode()
        )

    def hear(self) -> str | None:
        """Take what has come; return what it says, None if there must be more."""
        part = self.line.recv(4096)
        self.head += part
        return verdict(self.head, self.health, is_whole=not part)


def verdict(head: bytes, health: str, *, is_whole: bool) -> str | None:
    r"""Return what is wrong with the head of an answer, "" if nothing is; None if it must go on and not `is_whole`.

    >>> verdict(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello", "/", is_whole=False)
    ''
    >>> verdict(b"HTTP/1.0 503 Busy\r\n\r\n", "/ready", is_whole=False)
    '/ready answers 503'
    """
    while head.startswith(b"HTTP/1.1 1"):  # an informational answer comes before the final one
        _, end, rest = head.partition(ENDS[0])
        if not end:
            break
        head = rest
    is_whole = is_whole or any(end in head for end in ENDS)
    if not is_whole:
        return None if len(head) < LONGEST else f"{health} answers with a head without an end"
    words = head.partition(b"\n")[0].decode("latin-1").split(None, 2)
    if not head:
        return "the connection was closed without an answer"
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        return f"{health} answers what is no HTTP"
    return "" if words[1] == OK else f"{health} answers {words[1]}"


class Asking:
    """Questions that are under way. All of it belongs to one thread but `wake`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._bell, select.EPOLLIN)
        self._open: dict[int, _Question] = {}  # by descriptor, oldest first
        self._names: set[str] = set()
        self._over: dict[str, Asked] = {}  # was answered at once

    @property
    def has_room(self) -> bool:
        """Whether one more may be asked."""
        return len(self._open) < AT_ONCE

    def is_asked(self, name: str) -> bool:
        """Say whether a question of that name is under way."""
        return name in self._names

    def ask(self, name: str, host: str, port: int, health: str) -> None:
        """Begin a question."""
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        one = _Question(name, host, port, health, self._clock.monotonic() + PATIENCE, line)
        self._names.add(name)
        self._open[line.fileno()] = one
        try:
            refused = line.connect_ex((host, port))
            if refused not in {0, EINPROGRESS}:
                self._end(one, os.strerror(refused))
                return
            # On the loopback the connection is there already, though the kernel says that it is in progress.
            try:
                one.send()
                wanted = select.EPOLLIN
            except BlockingIOError:
                wanted = select.EPOLLOUT
            self._poll.register(line.fileno(), wanted)
        except OSError as cause:
            self._end(one, str(cause))

    def answers(self, timeout: Seconds) -> dict[str, Asked]:
        """Wait for answers, and return them by name; empty when `timeout` is over, or somebody woke us."""
        now = self._clock.monotonic()
        oldest = next(iter(self._open.values()), None)
        if oldest is not None:
            timeout = min(timeout, max(oldest.until - now, 0.0))
        for handle, event in self._poll.poll(0.0 if self._over else timeout):
            if handle == self._bell:
                os.eventfd_read(self._bell)
            elif handle in self._open:  # a child that is just being started may hold one that is closed here
                self._advance(self._open[handle], event)
        now = self._clock.monotonic()
        for one in [one for one in self._open.values() if one.until <= now]:
            self._end(one, "timed out")
        over, self._over = self._over, {}
        return over

    def wake(self) -> None:
        """End `answers`, or its next call. From any thread."""
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Let go of everything."""
        for one in self._open.values():
            one.line.close()
        self._poll.close()
        os.close(self._bell)

    def _advance(self, one: _Question, event: int) -> None:
        try:
            if event & select.EPOLLOUT:
                one.send()
                self._poll.modify(one.line.fileno(), select.EPOLLIN)
                return
            says = one.hear()
        except BlockingIOError:
            return
        except OSError as cause:
            says = str(cause)
        if says is not None:
            self._end(one, says)

    def _end(self, one: _Question, says: str) -> None:
        del self._open[one.line.fileno()]
        one.line.close()
        self._names.discard(one.name)
        self._over[one.name] = Asked(one.host, one.port, says)
