"""How long traffic was away: one client asks again and again, and notes when it was answered well."""

from __future__ import annotations

import http.client
import threading
import time
from types import TracebackType
from typing import Self

from anew.model import Seconds

EVERY: Seconds = 0.02
PATIENCE: Seconds = 3.0
OK = 200


class Watch:
    """Asks a port of the loopback as long as the `with` block lasts, on a new connection each time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ending = threading.Event()
        self._last = 0.0
        self._longest = 0.0
        self._thread = threading.Thread(target=self._ask_on, name="watch")

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def away(self) -> Seconds:
        """The longest time between two good answers until now."""
        return max(self._longest, time.monotonic() - self._last)

    def _ask_on(self) -> None:
        while not self._ending.wait(EVERY):
            if self._is_answered():
                now = time.monotonic()
                self._longest, self._last = max(self._longest, now - self._last), now

    def _is_answered(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return answer.status == OK
