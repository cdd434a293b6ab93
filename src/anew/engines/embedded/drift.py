"""What differs between a running instance and its image.

Files can't: the root is read-only, and what is writable is empty at the start and gone at the end; a volume is no part
of an image. What remains is somebody who came in from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anew.engines.embedded import proc
from anew.model import Seconds
from anew.ports import Clock

SPACES = ("pid", "mnt")  # whoever shares one of these with a sandbox is inside
TRIES = 5  # to follow the parents of a process
WHOLE: Seconds = 60.0  # between two looks at every process; between them only new ones are looked at


def of(pid: int) -> tuple[str, ...]:
    """Return a line for each process that entered the sandbox of the inner process `pid`, and for each debugger."""
    return _Sandboxes({"": pid}).lines(proc.pids(), is_whole=True).get("", ())


class Watch:
    """Looks again and again at many sandboxes, for little.

    Whoever comes in is mostly a new process. One that is old may come in as well, and a debugger need not come in: they
    are found by the next whole look.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sandboxes = _Sandboxes({})
        self._inner: Mapping[str, int] = {}
        self._known: frozenset[int] = frozenset()
        self._looked = float("-inf")  # when every process was looked at

    def look(self, inner: Mapping[str, int]) -> Mapping[str, tuple[str, ...]]:
        """Return the lines of each sandbox that somebody is inside of, by name; `inner` are their inner processes."""
        now = self._clock.monotonic()
        is_whole = inner != self._inner or now >= self._looked + WHOLE
        if is_whole:
            self._sandboxes, self._inner, self._known, self._looked = _Sandboxes(inner), dict(inner), frozenset(), now
        pids = frozenset(proc.pids())
        fresh = pids - self._known
        self._known = pids
        return self._sandboxes.lines(fresh, is_whole=is_whole)


class _Sandboxes:
    """The sandboxes, and who was found inside of them."""

    def __init__(self, inner: Mapping[str, int]) -> None:
        self._inner = inner
        self._spaces = {
            (kind, space): name
            for name, pid in inner.items()
            for kind in SPACES
            if (space := proc.namespace(pid, kind))
        }
        self._found: dict[tuple[str, int], str] = {}  # by sandbox, and the process that is inside

    def lines(self, fresh: Iterable[int], *, is_whole: bool) -> dict[str, tuple[str, ...]]:
        """Look at the processes `fresh`, and return what is to be said of those who are there now.

        `is_whole`: look for debuggers too, which shows only at those who are debugged.
        """
        self._found = {at: says for at, says in self._found.items() if proc.fields(at[1])}
        for one in fresh:
            spaces = ((kind, proc.namespace(one, kind)) for kind in SPACES)
            name = next((self._spaces[at] for at in spaces if at in self._spaces), None)
            if name is not None and not _is_native(one, self._inner[name]):
                self._found[name, one] = f"{proc.name(one)} (pid {one}) has entered from outside"
        if is_whole:
            self._debuggers()
        out: dict[str, tuple[str, ...]] = {}
        for (name, _), says in sorted(self._found.items()):
            out[name] = (*out.get(name, ()), says)
        return out

    def _debuggers(self) -> None:
        for name, pid in self._inner.items():
            for one in proc.descendants(pid):
                by = proc.tracer(one)
                if by:
                    says = f"{proc.name(one)} (pid {one}) is debugged by {proc.name(by)} (pid {by})"
                    self._found[name, by] = says


def _is_native(pid: int, ancestor: int) -> bool:
    """Say whether a process descends from `ancestor`, or has ended: processes end while one follows their parents."""
    for _ in range(TRIES):
        at = pid
        while at > 1 and at != ancestor:
            at = proc.parent(at)
        if at == ancestor:
            return True
        if at == 1:
            return False
    return not proc.fields(pid)
