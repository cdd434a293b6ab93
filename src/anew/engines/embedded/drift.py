"""What differs between a running instance and its image.

Files can't: the root is read-only, and what is writable is empty at the start and gone at the end; a volume is no part
of an image. What remains is somebody who came in from outside or holds a program with a debugger; and what stands
around it, which `surroundings` looks at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from anew.engines.embedded import proc
from anew.model import Seconds
from anew.ports import Clock

BORN = "pid"  # whose namespaces a process never leaves: only its children are in another
SPACES = ("pid", "mnt")  # whoever shares one of these with a sandbox is inside
TRIES = 5  # to follow the parents of a process
WHOLE: Seconds = 60.0  # between two looks that trust nothing of what was found before


def of(pid: int) -> tuple[str, ...]:
    """Return a line for each process that entered the sandbox of the inner process `pid`, and for each debugger."""
    return Sandboxes({"": pid}).lines().get("", ())


class Watch:
    """Looks again and again at many sandboxes, for little: who was inside before, and was born there, belongs there."""

    def __init__(self, clock: Clock, kinds: Sequence[str] = SPACES) -> None:
        self._clock = clock
        self._kinds = kinds
        self._sandboxes = Sandboxes({})
        self._inner: Mapping[str, int] = {}
        self._looked = float("-inf")  # when nothing was trusted

    def look(self, inner: Mapping[str, int]) -> Mapping[str, tuple[str, ...]]:
        """Return the lines of each sandbox that somebody is inside of, by name; `inner` are their first processes."""
        now = self._clock.monotonic()
        if inner != self._inner or now >= self._looked + WHOLE:
            self._sandboxes, self._inner, self._looked = Sandboxes(inner, self._kinds), dict(inner), now
        return self._sandboxes.lines()


class Sandboxes:
    """The sandboxes, who belongs into them, and who is inside and does not."""

    def __init__(self, inner: Mapping[str, int], kinds: Sequence[str] = SPACES) -> None:
        self._inner = inner
        self._kinds = kinds
        self._spaces = {
            (kind, space): name for name, pid in inner.items() for kind in kinds if (space := proc.namespace(pid, kind))
        }
        self._joined = tuple(kind for kind in kinds if kind != BORN)
        self._natives: dict[int, str] = {}  # by process: the sandbox in which it was born
        self._known: Collection[int] = frozenset()

    def lines(self) -> dict[str, tuple[str, ...]]:
        """Look at all processes, and return what is to be said of those who touch each sandbox now."""
        pids = frozenset(proc.pids())
        found: list[tuple[str, str]] = []
        strangers = set()
        for one in pids - self._natives.keys():
            name = self._sandbox(one, self._joined if one in self._known else self._kinds)
            if name is not None and _is_native(one, self._inner[name]):
                self._natives[one] = name
            elif name is not None:
                strangers.add(one)
                found.append((name, f"{proc.name(one)} (pid {one}) has entered from outside"))
        self._natives = {one: name for one, name in self._natives.items() if one in pids}
        self._known = pids - self._natives.keys() - strangers
        found += self._debuggers()
        out: dict[str, tuple[str, ...]] = {}
        for name, says in sorted(found):
            out[name] = (*out.get(name, ()), says)
        return out

    def _sandbox(self, pid: int, kinds: Iterable[str]) -> str | None:
        for kind in kinds:
            name = self._spaces.get((kind, proc.namespace(pid, kind)))
            if name is not None:
                return name
        return None

    def _debuggers(self) -> Iterable[tuple[str, str]]:
        for one, name in self._natives.items():
            by = proc.tracer(one)
            if by and self._natives.get(by) != name:  # a program may debug its own children
                yield name, f"{proc.name(one)} (pid {one}) is debugged by {proc.name(by)} (pid {by})"


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
