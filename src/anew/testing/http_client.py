"""A small HTTP/1.1 client that can tell how far an exchange came before it broke; GET only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from anew.model import Bytes

MOST_HEAD: Bytes = 64 * 1024
_NO_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Broken(Exception):  # noqa: N818 - it names what happened to the exchange
    """No complete response came; `received` is how many bytes of it did."""

    def __init__(self, what: str, received: Bytes) -> None:
        super().__init__(what)
        self.received = received


class Connection:
    """One connection, which serves one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, header: str) -> None:
        self._reader = reader
        self._writer = writer
        self._header = header
        self._received = 0
        self.is_last = False  # the server said that it closes after this answer

    @classmethod
    async def open(cls, host: str, port: int, header: str = "") -> Connection:
        """Connect; `header` is the Host header, by default host:port. Raises OSError if nobody takes the connection."""
        reader, writer = await asyncio.open_connection(host, port, limit=MOST_HEAD)
        return cls(reader, writer, header or f"{host}:{port}")

    @property
    def is_open(self) -> bool:
        """Say whether neither side has closed the connection, as far as is known here now."""
        return not (self._reader.at_eof() or self._writer.is_closing() or self._reader.exception())

    async def ask(self, path: str) -> Answer:
        """Send one GET and return the whole answer.

        Raises  Broken if the connection ends, or something that is not HTTP comes, before the answer is complete;
                the connection is closed then.
        """
        self._received = 0
        try:
            self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._header}\r\nAccept: */*\r\n\r\n".encode("ascii"))
            await self._writer.drain()
            return await self._answer()
        except asyncio.IncompleteReadError as error:
            self.close()
            received = self._received + len(error.partial)
            what = "closed before any answer" if not received else f"closed after {received} bytes of an answer"
            raise Broken(what, received) from error
        except (OSError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise Broken(f"{type(error).__name__}: {error}", self._received) from error

    def close(self) -> None:
        """End the connection; what is in the way to the other side is still sent."""
        self._writer.close()

    async def _answer(self) -> Answer:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._received += len(head)
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        version, status = first.split(" ", 2)[:2]
        if not version.startswith("HTTP/1."):
            msg = f"not an HTTP answer: {first[:60]!r}"
            raise ValueError(msg)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.is_last = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        body = await self._body(int(status), headers)
        return Answer(int(status), headers, body)

    async def _body(self, status: int, headers: Mapping[str, str]) -> bytes:
        if status in _NO_BODY:
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks()
        if "content-length" in headers:
            return await self._exactly(int(headers["content-length"]))
        self.is_last = True  # only the end of the connection ends such an answer
        return await self._reader.read()

    async def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while True:
            line = await self._reader.readuntil(b"\r\n")
            self._received += len(line)
            size = int(line.partition(b";")[0], 16)
            parts.append(await self._exactly(size + 2))
            if not size:
                return b"".join(part[:-2] for part in parts)

    async def _exactly(self, size: Bytes) -> bytes:
        data = await self._reader.readexactly(size)
        self._received += size
        return data
