"""What a keeper tidies now and then, beside its work.

The logs of its instances stay below their bound; and what killed commands left on its engine ends: an `anew run` whose
connection dropped leaves a throwaway instance, where the engine runs it and not we. And an edge whose program was
replaced hands over to the new one, which else it would do in the next rollout.

It is no effect that anything is decided on, so it needs no journal: what was left out is done a minute later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    sweep: Callable[[], tuple[str, ...]] = tuple  # ends what killed commands left; returns their names
    renew: Callable[[], bool] = bool  # hands over to another program of the edge; returns whether there was one
    _next: float = 0.0  # by the monotonic clock
    _said: set[str] = field(default_factory=set)

    def look(self, names: Iterable[str], say: Say) -> None:
        """Bound the logs of these instances and sweep, if a minute has passed since that was last done.

        Blocks  some 10 microseconds for each, what the file system takes to free a part, and what an engine takes to
                list its instances. Raises nothing.
        """
        now = self.clock.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        for name in names:
            try:
                self.archive.bound_log(name, is_dry=False)
            except (AnewError, OSError) as error:
                self._say_once(f"the log of {name} can't be bounded: ", error, say)
        try:
            for name in self.sweep():
                say(f"ended {name}, which a killed command had left")
        except (AnewError, OSError) as error:
            self._say_once("what killed commands left can't be ended: ", error, say)
        try:
            if self.renew():
                say("the edge handed over to another program")
        except (AnewError, OSError) as error:
            self._say_once("the edge can't hand over: ", error, say)

    def _say_once(self, what: str, error: AnewError | OSError, say: Say) -> None:
        what = error.what if isinstance(error, AnewError) else f"{what}{error}"
        if what not in self._said:
            self._said.add(what)
            say(what)
