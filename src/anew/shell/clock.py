"""The real clock. A keeper's time never steps back, whatever happens to the machine's."""

from __future__ import annotations

import time
from collections.abc import Callable


class SystemClock:
    """UTC seconds that go on steadily from the first reading, and never lie before `after`.

    The wall clock is read once; what passes since then is taken from the monotonic clock. So a clock that is stepped
    back while a keeper runs changes nothing, and one that was stepped back before it started can't make a committed
    time lie in the future: `catch_up` moves the start.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._offset = wall() - time.monotonic()

    def now(self) -> float:
        """Return UTC seconds since the epoch."""
        return time.monotonic() + self._offset

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return time.monotonic()

    def catch_up(self, latest: float) -> None:
        """Make sure that no later reading lies before `latest`, a time that was committed."""
        self._offset = max(self._offset, latest - time.monotonic())
