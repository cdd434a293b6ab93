"""What a keeper tidies now and then, beside its work: the logs of its instances stay below their bound.

It is no effect that anything is decided on, so it needs no journal: what was left out is done a minute later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from anew.errors import AnewError
from anew.model import Seconds
from anew.ports import Clock, Say
from anew.shell.parts import Archive

EVERY: Seconds = 60.0


@dataclass(slots=True)
class Tidying:
    """Tidies once a minute; what fails is said once, and tried again the next time."""

    archive: Archive
    clock: Clock
    _next: float = 0.0  # by the monotonic clock
    _said: set[str] = field(default_factory=set)

    def look(self, names: Iterable[str], say: Say) -> None:
        """Bound the logs of these instances, if a minute has passed since that was last done.

        Blocks  some 10 microseconds for each, and what the file system takes to free a part. Raises nothing.
        """
        now = self.clock.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        for name in names:
            try:
                self.archive.bound_log(name, is_dry=False)
            except (AnewError, OSError) as error:
                what = error.what if isinstance(error, AnewError) else f"the log of {name} can't be bounded: {error}"
                if what not in self._said:
                    self._said.add(what)
                    say(what)
