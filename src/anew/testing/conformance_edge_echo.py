r"""A tiny TCP server in a process of its own, to stand behind an edge: it speaks first, and then repeats what it hears.

``python -m anew.testing.conformance_edge_echo PORT NAME`` says ``NAME\n`` to whoever connects, and sends back all that
comes, until the other side has no more to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from functools import partial


async def echo(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    with contextlib.suppress(ConnectionError):
        writer.write(f"{name}\n".encode())
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(port: int, name: str) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, ended.set)
    server = await asyncio.start_server(partial(echo, name), "127.0.0.1", port, reuse_address=True)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
