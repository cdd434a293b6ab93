"""Connections that are kept open, and one exchange on one of them. Plain http goes to this machine alone.

An exchange is tried again where that can help and harm nothing, and never without a bound: a connection that broke, a
registry that is busy. What a caller sends must therefore be a value, or something that can be sent from its beginning.
What fails at the caller's end of an exchange, a full disk or a file that is gone, is no connection that broke.
"""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from anew import __version__
from anew.core.reference import is_loopback
from anew.errors import EngineError
from anew.registry.failures import (
    MOST_TOLD,
    PassingError,
    Refusal,
    SilentError,
    UnreachableError,
    of_broken,
    of_relay,
    of_status,
)

PATIENCE = 60.0  # seconds without a byte, or for all of a short answer, after which a connection counts as dead
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_LONGEST = 30.0  # seconds that we wait because a registry says so
_MOST_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PART = 1 << 16  # bytes of a short answer that are read at once
_BROKEN = (OSError, http.client.HTTPException)
_PLAIN = re.compile(r"[!-~]+")  # what an address may be of
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to be sent; `pour` is called with what takes them, and may be called again after a failure."""

    size: int
    pour: Callable[[Callable[[bytes | memoryview], None]], None]


def body_of(data: bytes) -> Body:
    """Return a body of a few bytes."""
    return Body(len(data), lambda send: send(data) if data else None)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `headers` may hold who we are, which goes to no other host than that of `url`."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body | None = None

    @property
    def where(self) -> str:
        """What was asked, for people: without the query, which may hold keys."""
        bare = re.split(r"[?#]", self.url, maxsplit=1)[0]
        return bare.partition("://")[2] or bare


class Answer:
    """What came back; its body is read by whoever asked."""

    def __init__(self, ask: Ask, response: http.client.HTTPResponse, patience: float = PATIENCE) -> None:
        self.ask = ask
        self.login = ""  # what it was asked with and refuses
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.challenges = tuple(response.headers.get_all("WWW-Authenticate") or ())
        self._response = response
        self._patience = patience

    def read(self, most: int) -> bytes:
        """Return the body. Raises EngineError if it is longer than `most` bytes; PassingError if its end is missing."""
        data = self._beginning(most + 1)
        if len(data) > most:
            raise EngineError(f"the registry's answer is longer than {most} bytes", where=self.ask.where)
        if self._response.length:
            raise of_broken(http.client.IncompleteRead(data), self._host)
        return data

    def read_into(self, buffer: memoryview) -> int:
        """Read the next bytes into `buffer`; return how many, 0 at the end. Raises PassingError as `read` does."""
        with _told(self._host):
            return self._response.readinto(buffer)

    def refusal(self) -> Refusal:
        """Return this answer as one that was not hoped for."""
        return Refusal(self.status, self.ask.where, self.headers, self._beginning(MOST_TOLD), self.login)

    def end(self) -> bool:
        """Read a short rest; say whether nothing is left, so that the connection can be used again."""
        if not self._response.isclosed():
            self._beginning(MOST_TOLD)
            with _told(self._host):
                self._response.read(0)  # which notices that nothing is left
        return self._response.isclosed() and not self._response.will_close

    def _beginning(self, most: int) -> bytes:
        """Read at most so many bytes: what trickles may take no longer than what is silent."""
        data, end = bytearray(), time.monotonic() + self._patience
        with _told(self._host):
            while len(data) < most and (part := self._response.read1(min(_PART, most - len(data)))):
                data += part
                if time.monotonic() > end:
                    raise TimeoutError
        return bytes(data)

    @property
    def _host(self) -> str:
        return self.ask.where.partition("/")[0]

    def location(self) -> str:
        """Return where the answer leads; "" if it doesn't. Raises as `led`."""
        found = self.headers.get("location", "")
        return self.led(found) if found else ""

    def led(self, to: str) -> str:
        """Return the address that `to` means here. Raises EngineError if it is none, or leads out of encryption."""
        try:
            url = urljoin(self.ask.url, to)
        except ValueError:
            url = ""
        parts = address(url)
        if parts is None:
            hint = "look at the registry's own configuration, and at what stands before it"
            raise EngineError("the registry leads to what is no address", where=self.ask.where, hint=hint)
        if parts.scheme == "http" and not self.ask.url.startswith("http:"):
            raise EngineError(
                f"the registry leads to {parts.netloc} without encryption, and nothing is sent there",
                where=self.ask.where,
                hint="let it lead to an address that begins with https",
            )
        return url


class Wire:
    """All connections of one command; safe with several threads."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._lent: set[http.client.HTTPConnection] = set()
        self._has_answered = False
        self._is_closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, also those in use: who waits on one is told that it broke, and tries no more."""
        self._is_closed.set()
        with self._lock:
            for one in (*self._lent, *(one for idle in self._idle.values() for one in idle)):
                _end(one)
            self._idle.clear()

    def tried(self, attempt: Callable[[], _Result]) -> _Result:
        """Return what `attempt` returns, made again a few times if what stood in its way may pass."""
        for pause in PAUSES:
            try:
                return attempt()
            except PassingError as error:
                self.pause(error, pause)
        return attempt()

    def pause(self, error: PassingError, pause: float) -> None:
        """Wait before another attempt; raises `error` where none makes sense."""
        is_wrong_place = isinstance(error, UnreachableError) and not self._has_answered
        is_silent = isinstance(error, SilentError) and pause > PAUSES[0]  # it took long already: asked twice at most
        if is_wrong_place or is_silent or error.after > _LONGEST or self._is_closed.wait(max(pause, error.after)):
            raise error

    @contextmanager
    def answer(self, ask: Ask) -> Iterator[Answer]:
        """Send one request, once; what is yielded is valid inside the block. A GET goes where it is led.

        Raises  EngineError if no answer comes; PassingError if one may come the next time.
        """
        seen = {ask.url}
        for _ in range(_MOST_HOPS):
            with self._exchange(ask) as found:
                if ask.method not in {"GET", "HEAD"} or found.status not in _REDIRECTS or not found.location():
                    yield found
                    return
                ask = _led(ask, found.location())
            if ask.url in seen:
                break
            seen.add(ask.url)
        what = "in a circle" if len(seen) <= _MOST_HOPS else "without end"
        hint = "look at the registry's own configuration, and at what stands before it"
        raise EngineError(f"the registry leads from place to place {what}", where=ask.where, hint=hint)

    @contextmanager
    def _exchange(self, ask: Ask) -> Iterator[Answer]:
        parts = _checked(ask)
        key = (parts.scheme, parts.netloc)
        connection = self._taken(key)
        is_whole = False
        try:
            response = self._sent(connection, ask, parts)
            self._has_answered = True
            with response:
                found = Answer(ask, response, self._patience)
                yield found
                is_whole = found.end()
        finally:
            self._given_back(key, connection, is_whole=is_whole)

    def _sent(self, connection: http.client.HTTPConnection, ask: Ask, parts: SplitResult) -> http.client.HTTPResponse:
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        if connection.sock is None:
            with _told(parts.netloc):
                connection.connect()
        connection.putrequest(ask.method, path, skip_accept_encoding=True)
        headers = {"User-Agent": f"anew/{__version__}", "Accept-Encoding": "identity", **ask.headers}
        if ask.body is not None or ask.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(ask.body.size if ask.body else 0)
        for name, value in headers.items():
            connection.putheader(name, value)
        try:
            with _told(parts.netloc):
                connection.endheaders()
            if ask.body is not None:
                ask.body.pour(_sender(connection, parts.netloc))
        except PassingError as error:
            # A registry that wants no more of it may have said why before it closed.
            if isinstance(error.__cause__, BrokenPipeError | ConnectionResetError):
                with suppress(*_BROKEN):
                    return connection.getresponse()
            raise
        with _told(parts.netloc):
            return connection.getresponse()

    def _taken(self, key: tuple[str, str]) -> http.client.HTTPConnection:
        with self._lock:
            if self._is_closed.is_set():
                raise EngineError("this was stopped", where=key[1])
            idle = self._idle.setdefault(key, [])
            connection = idle.pop() if idle else _connection(key, self._patience)
            self._lent.add(connection)
            return connection

    def _given_back(self, key: tuple[str, str], connection: http.client.HTTPConnection, *, is_whole: bool) -> None:
        with self._lock:
            self._lent.discard(connection)
            if is_whole and not self._is_closed.is_set():
                self._idle.setdefault(key, []).append(connection)
            else:
                _end(connection)


def require(answer: Answer, *good: int) -> None:
    """Raise what the answer means unless its status is one of these."""
    if answer.status not in good:
        raise of_status(answer.refusal())


def address(url: str) -> SplitResult | None:
    """Return the parts of an address; None for what can't be one, or names a user: who we are is told otherwise.

    >>> address("https://localhost:port/") is address("https://a b/") is address("/v2/") is None
    True
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        return None
    return parts if host and "@" not in parts.netloc and _PLAIN.fullmatch(url) else None


def _checked(ask: Ask) -> SplitResult:
    parts = address(ask.url)
    if parts is None:
        hint = "correct the name of the registry"
        raise EngineError("this is no address that can be asked", where=ask.where, hint=hint)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.netloc)):
        return parts
    raise EngineError(
        f"{parts.scheme}://{parts.netloc} is not secure, and nothing is sent there",
        where=ask.where,
        hint="plain http is for registries on this machine alone; let that one speak https",
    )


def _led(ask: Ask, url: str) -> Ask:
    before, after = urlsplit(ask.url), urlsplit(url)
    is_same = (before.scheme, before.netloc) == (after.scheme, after.netloc)
    headers = {name: value for name, value in ask.headers.items() if is_same or name.lower() != "authorization"}
    return Ask(ask.method, url, headers, ask.body)


@contextmanager
def _told(host: str) -> Iterator[None]:
    """Tell of a connection that breaks in the block in our words."""
    try:
        yield
    except _BROKEN as cause:
        raise of_broken(cause, host) from cause


def _sender(connection: http.client.HTTPConnection, host: str) -> Callable[[bytes | memoryview], None]:
    def send(data: bytes | memoryview) -> None:
        with _told(host):
            connection.send(data)

    return send


class _Relayed(http.client.HTTPSConnection):
    """A connection through a proxy, which is named if it gives no way."""

    def connect(self) -> None:
        try:
            super().connect()
        except ssl.SSLError:  # of the registry behind it
            raise
        except _BROKEN as cause:
            raise of_relay(cause, f"{self.host}:{self.port}") from cause


def _connection(key: tuple[str, str], patience: float) -> http.client.HTTPConnection:
    scheme, host = key
    if scheme == "http":
        return http.client.HTTPConnection(host, timeout=patience, blocksize=1 << 20)
    context = ssl.create_default_context()
    through = "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https", "")
    if not through:
        return http.client.HTTPSConnection(host, timeout=patience, context=context, blocksize=1 << 20)
    relay, shown = _relay(through)
    connection = _Relayed(relay, timeout=patience, context=context)
    connection.set_tunnel(host, headers=shown)
    return connection


def _relay(url: str) -> tuple[str, dict[str, str]]:
    """Return the host of a proxy, and who we are there. Raises EngineError if `url` names none."""
    scheme, _, rest = url.rpartition("://")
    who, _, host = rest.partition("/")[0].rpartition("@")
    if address(f"http://{host}/") is None:
        hint = "write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"  # it may hold a password: not shown
        raise EngineError("$https_proxy names no address", where="$https_proxy", hint=hint)
    # A proxy that is to be spoken to with encryption is not spoken to so here: it is told no password.
    if not who or scheme.lower() not in {"", "http"}:
        return host, {}
    said = base64.b64encode(unquote(who).encode(errors="surrogateescape")).decode("ascii")
    return host, {"Proxy-Authorization": f"Basic {said}"}


def _end(connection: http.client.HTTPConnection) -> None:
    """Close a connection, and wake whoever waits on it."""
    if (sock := connection.sock) is not None:
        try:
            sock.shutdown(2)
        except OSError:  # it is not connected any more
            del sock
    connection.close()
