"""Keep a worker alive over a reload until its counters have been read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from anew.model import Seconds

CONNECTS_WITHIN: Seconds = 1.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: kept.invalid\r\n\r\n"


@contextmanager
def kept_alive(port: int) -> Iterator[None]:
    """Hold an idle connection to the worker that listens on this loopback port now.

    An old worker ends with its last connection, and what it counted since the last reading would be lost: at full load
    some hundred requests per reload. It has answered on this connection once, so it is this worker that holds it, and
    not the next one. Where nobody answers, the counters lose that little, and nothing else: that is no reason to fail.
    """
    with socket.socket() as one:
        one.settimeout(CONNECTS_WITHIN)
        try:
            one.connect(("127.0.0.1", port))
            one.sendall(_REQUEST)
            one.recv(1)
        except OSError:
            one.close()
        yield
