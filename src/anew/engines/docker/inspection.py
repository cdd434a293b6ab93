"""Who touched a container from outside: what differs now from what was ordered, and what the engine says was done.

A command that was run in a container and has ended leaves no other trace than the engine's event, and the engine keeps
only the last of them. So it is said when there may be more of them than it tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from anew.engines.docker import drift, memory
from anew.engines.docker.compute import Docker
from anew.engines.embedded.clock import WallClock
from anew.engines.embedded.drift import Watch
from anew.engines.embedded.inspection import entry, folder, living
from anew.model import Bytes, Scope, Touched
from anew.ports import Clock

GAP = "the container engine was started since, or did more than it remembers"


class DockerInspection:
    """Implements `anew.ports.Inspection`."""

    def __init__(self, compute: Docker, clock: Clock | None = None) -> None:
        self._compute = compute
        self._watch = Watch(clock or WallClock(), drift.SPACES)
        self._peaks: dict[str, Bytes] = {}  # by name, of those that lived at the last look or the one before
        self._last: dict[str, Bytes] = {}  # of those that lived at the last look

    def touched(self, scope: Scope, alive: Mapping[str, int], since: float) -> Touched:
        """Return who touched the instances that are `alive`; see the port."""
        # The first look of all tells what happened since the engine began to count, and misses nothing that it knows.
        done = self._compute.touched(scope, since)
        lines: dict[str, list[str]] = {}
        for one in done.touches:
            if one.name in alive:
                at = datetime.fromtimestamp(one.at, UTC).isoformat(timespec="seconds")
                lines.setdefault(one.name, []).append(f"{one.what}, at {at}")
        entered = self._watch.look(alive)
        for name in alive:
            found = (*self._compute.disorder(name), *entered.get(name, ()))
            if found:
                lines.setdefault(name, []).extend(found)
        self._peaks = self._last | {name: memory.peak(pid) for name, pid in alive.items()}
        self._last = {name: self._peaks[name] for name in alive}
        evidence = {name: tuple(found) for name, found in lines.items()}
        return Touched(evidence, done.until, GAP if done.has_gap else "")

    def peak_memory(self, name: str) -> Bytes:
        """Return the most memory that an instance ever had, or had when it was last looked at; see the port."""
        return self._compute.peak_memory(name) or self._peaks.get(name, 0)

    def changes(self, name: str) -> tuple[str, ...]:
        """Return a line for each file that is not as in the instance's image; see the port."""
        return self._compute.changed_files(name)

    def folder(self, name: str, path: str) -> int:
        """Return a descriptor of a folder in a living instance; see the port."""
        return folder(living(self._compute.pid(name), name), path)

    def entry(self, name: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command line that runs `command` inside; see the port."""
        return entry(living(self._compute.pid(name), name), command)
