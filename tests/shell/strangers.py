"""Servers on the loopback that answer as they are told: well, badly, slowly, or not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Says = Callable[[str], bytes | None]  # from the head of a request to the whole answer; None: it hangs
PATIENCE = 10.0


@dataclass
class Stranger:
    """A server, and what it was asked."""

    says: Says
    pause: float = 0.0  # before each byte
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                line = listener.accept()[0]
                threading.Thread(target=self.answer, args=(line,), daemon=True).start()

    def answer(self, line: socket.socket) -> None:
        with line, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += line.recv(4096)
            self.asked.append(head.decode())
            answer = self.says(head.decode())
            if answer is None:
                line.settimeout(PATIENCE)
                line.recv(1)  # until the other side gives up
            elif self.pause:
                for one in answer:
                    line.sendall(bytes([one]))
                    time.sleep(self.pause)
            else:
                line.sendall(answer)


@contextmanager
def stranger(says: Says, pause: float = 0.0) -> Iterator[Stranger]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = Stranger(says, pause, listener.getsockname()[1])
        threading.Thread(target=one.serve, args=(listener,), daemon=True).start()
        try:
            yield one
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def http(body: str, status: str = "200 OK", *more: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", "Content-Type: text/plain", *more, "", body)).encode()


def dead_url() -> str:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
