r"""A tiny HTTP server in a process of its own, to stand behind an edge: it says its name, and does as it is told.

``python -m anew.testing.backend PORT NAME`` answers every path with ``NAME\\n``, and

- ``/hold?s=2`` after two seconds, ``/hold?while=PATH`` when that file is gone;
- ``/fail`` with 500, ``/health`` with 503 after a GET of ``/sick`` and with 200 again after ``/well``;
- ``/cut`` with nothing: it closes the connection before an answer, ``/tear`` in the middle of one;
- ``/seen`` with the number of requests that came so far (health checks left out);
- ``/headers`` with the request's own headers.

It keeps connections alive, and answers pipelined requests in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

LONGEST_HOLD = 300.0  # seconds
LOOKS_EVERY = 0.01


class Backend:
    """What one server knows: its name, how many requests came, and whether it calls itself well."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen = 0
        self.is_well = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until either side ends it."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        url = urlsplit(head.split(" ", 2)[1])
        self.seen += url.path not in {"/health", "/seen"}
        match url.path:
            case "/cut":
                return False
            case "/tear":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
                await writer.drain()
                return False
            case "/hold":
                await _held(parse_qs(url.query))
        status, text = self._answer(url.path, head)
        body = text.encode("latin-1")
        writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        return "\r\nconnection: close" not in head.lower()

    def _answer(self, path: str, head: str) -> tuple[int, str]:
        match path:
            case "/fail":
                return 500, "failed as asked\n"
            case "/health":
                return (200 if self.is_well else 503), "health\n"
            case "/sick" | "/well":
                self.is_well = path == "/well"
            case "/seen":
                return 200, f"{self.seen}\n"
            case "/headers":
                return 200, head
        return 200, f"{self.name}\n"


async def _held(asked: Mapping[str, Sequence[str]]) -> None:
    """Return when what was asked for is over, and at the latest after `LONGEST_HOLD`."""
    loop = asyncio.get_running_loop()
    path = asked.get("while", [""])[0]
    until = loop.time() + (LONGEST_HOLD if path else min(LONGEST_HOLD, float(asked.get("s", ["1"])[0])))
    # A file tells nobody when it goes, and a look at it takes microseconds.
    while loop.time() < until and (not path or Path(path).exists()):  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(LOOKS_EVERY if path else until - loop.time())


async def main(port: int, name: str) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, ended.set)
    server = await asyncio.start_server(Backend(name).serve, "127.0.0.1", port, reuse_address=True)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
