"""The machine's clocks, for an engine that is given none."""

from __future__ import annotations

import time


class WallClock:
    """Implements `anew.ports.Clock` with the machine's own clocks."""

    def now(self) -> float:
        """Return UTC seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return time.monotonic()
