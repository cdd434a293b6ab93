"""One GET request to a stranger, with a bound for all of it: time, length and ways to answer.

Each read waits at most until the end of the whole, so that nobody holds us up with a byte now and then. Redirects are
answers like others.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from anew.model import Bytes, Seconds

LONGEST: Bytes = 1 << 20  # of an answer, head and all
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")
_PART: Bytes = 65_536


class NoAnswer(Exception):  # noqa: N818 - it is what came of the request
    """Why there is no answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is under way."""

    line: socket.socket
    until: float  # of the monotonic clock

    @classmethod
    def to(cls, url: str, limit: Seconds, host: str = "") -> Self:
        """Send a GET request; `host` is the name to ask for, if it is not that of `url`.

        HTTP/1.0 keeps answers plain: no parts, and an end where the connection ends.

        Blocks   at most `limit`, and so do the two other methods together with it; but a name is looked up for as long
                 as the system likes.
        Raises   NoAnswer.
        """
        until = time.monotonic() + limit
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = (f"GET {path} HTTP/1.0", f"Host: {host or parts.netloc}", "User-Agent: anew", "Connection: close")
        line = None
        try:
            default = 443 if parts.scheme == "https" else 80
            line = socket.create_connection((parts.hostname or "", parts.port or default), limit)
            line.settimeout(_left(until))
            if parts.scheme == "https":
                line = _encrypted(line, parts.hostname or "")
            line.settimeout(_left(until))
            line.sendall("\r\n".join((*lines, "", "")).encode("ascii"))
        except (OSError, ValueError) as cause:  # ValueError: what is in the way of IDNA and ASCII
            if line is not None:
                line.close()
            raise NoAnswer(_why(cause)) from cause
        return cls(line, until)

    def answer(self) -> tuple[int, bytes]:
        """Return the status and the body, and end the call. Raises NoAnswer; for one that is too long, too."""
        found = b""
        try:
            while part := self._part():
                found += part
                if len(found) > LONGEST:
                    raise NoAnswer(f"the answer has more than {LONGEST} bytes")
        except OSError as cause:
            raise NoAnswer(_why(cause)) from cause
        finally:
            self.line.close()
        head, _, body = found.partition(b"\r\n\r\n")
        if b"\r\ntransfer-encoding:" in head.lower():
            raise NoAnswer("the answer came in parts, which nobody asked for")
        return _status(found), body

    def status(self) -> int:
        """Return the status, and end the call: the body may be as long as it likes. Raises NoAnswer."""
        found = b""
        try:
            while b"\n" not in found and len(found) < _PART and (part := self._part()):
                found += part
        except OSError as cause:
            raise NoAnswer(_why(cause)) from cause
        finally:
            self.line.close()
        return _status(found)

    def close(self) -> None:
        """End the call without an answer."""
        self.line.close()

    def _part(self) -> bytes:
        self.line.settimeout(max(0.0, self.until - time.monotonic()))  # what has come by then is an answer in time
        try:
            return self.line.recv(_PART)
        except BlockingIOError as cause:
            raise TimeoutError("timed out") from cause


def _encrypted(line: socket.socket, name: str) -> socket.socket:
    import ssl  # noqa: PLC0415 - most addresses need none

    return ssl.create_default_context().wrap_socket(line, server_hostname=name)


def _left(until: float) -> Seconds:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _status(found: bytes) -> int:
    match = _STATUS.match(found)
    if match is None:
        raise NoAnswer("the connection was closed without an answer" if not found else "the answer is no HTTP")
    return int(match[1])


def _why(cause: Exception) -> str:
    return (cause.strerror if isinstance(cause, OSError) else "") or str(cause) or type(cause).__name__
