"""Who is inside a sandbox that did not begin there, what was changed around it, and how one gets in on purpose.

Nobody records who entered a sandbox and left again: only what is inside at the time of a look shows, and what such a
visitor left changed. So where nobody looked for a while, that is said.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence

from anew.engines.embedded import drift, proc
from anew.engines.embedded.clock import WallClock
from anew.engines.embedded.compute import Embedded
from anew.engines.embedded.surroundings import Surroundings
from anew.errors import NotFound, Unsupported
from anew.model import Bytes, Scope, Seconds, Touched
from anew.ports import Clock
from anew.sandbox.terminal import fitted

LATE: Seconds = 30.0  # who was there for so long, and nobody looked, was left alone
GAP = "no keeper looked, and who comes and goes leaves no trace here"
START = 19  # of /proc/PID/stat, from the third field on: when it started, in ticks since the machine did
EVERY: Seconds = 60.0  # between two measurements of memory


class EmbeddedInspection:
    """Implements `anew.ports.Inspection`."""

    def __init__(self, compute: Embedded, clock: Clock | None = None, late: Seconds = LATE) -> None:
        self._compute = compute
        self._clock = clock or WallClock()
        self._late = late
        self._watch = drift.Watch(self._clock)
        self._surroundings = Surroundings()
        self._looked = float("-inf")  # when memory was measured

    def touched(self, scope: Scope, alive: Mapping[str, int], since: float) -> Touched:  # noqa: ARG002 - all are asked for
        """Return who is inside the instances that are `alive`, and what was changed around them; see the port."""
        until = self._clock.now()
        found = dict(self._watch.look(alive))
        for name, lines in self._surroundings.changes(alive).items():
            found[name] = (*found.get(name, ()), *lines)
        self._measure(alive)
        is_late = since > 0 and until - since > self._late and any(_age(pid) > self._late for pid in alive.values())
        return Touched(found, until, GAP if is_late else "")

    def peak_memory(self, name: str) -> Bytes:
        """Return the most memory that an instance ever had; see the port."""
        return self._compute.peak_memory(name)

    def changes(self, name: str) -> tuple[str, ...]:  # noqa: ARG002 - it is so for all of them
        """Return nothing: the root of a sandbox has no layer that could be written to; see the port."""
        return ()

    def _measure(self, alive: Mapping[str, int]) -> None:
        """Let the engine note how much memory each has had: of one that has ended, nobody can tell."""
        now = self._clock.monotonic()
        if now >= self._looked + EVERY:
            self._looked = now
            for name in alive:
                self._compute.peak_memory(name)

    def folder(self, name: str, path: str) -> int:
        """Return a descriptor of a folder in a living instance; see the port."""
        return folder(living(self._compute.pid(name), name), path)

    def entry(self, name: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command line that runs `command` inside; see the port."""
        return entry(living(self._compute.pid(name), name), command)


def living(pid: int, name: str) -> int:
    """Return the pid of an instance. Raises NotFound if it is 0."""
    if not pid:
        raise NotFound(f"no instance {name} lives", hint="anew status shows those that do")
    return pid


def folder(pid: int, path: str) -> int:
    """Return a descriptor of a folder as a process sees it; no link leads out of what it sees."""
    at = -1
    try:
        at = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in path.strip("/").split("/"):
            above = at
            at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
            os.close(above)
    except OSError as cause:
        if at >= 0:
            os.close(at)
        raise NotFound(f"there is no folder {path}: {cause.strerror}", where=f"/proc/{pid}/root") from cause
    return at


def entry(pid: int, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command line that runs `command` in the namespaces of a process, as its user."""
    nsenter = shutil.which("nsenter")
    if nsenter is None:
        raise Unsupported("nsenter is missing", where="PATH", hint="install util-linux")
    user, group = _ids(pid)
    spaces = _other_namespaces(pid)
    who = ("--preserve-credentials",) if "--user" in spaces else (f"--setgid={group}", f"--setuid={user}")
    return (nsenter, f"--target={pid}", *spaces, "--root", "--wd", *who, "--", *fitted(command))


def _other_namespaces(pid: int) -> tuple[str, ...]:
    """Return the options for the namespaces of a process that are not ours."""
    kinds: Mapping[str, str] = {"user": "user", "mnt": "mount", "uts": "uts", "ipc": "ipc", "net": "net", "pid": "pid"}
    return tuple(
        f"--{option}" for kind, option in kinds.items() if proc.namespace(pid, kind) != proc.namespace_of_this(kind)
    )


def _ids(pid: int) -> tuple[int, int]:
    ids = proc.ids(pid)
    if ids is None:
        raise NotFound(f"process {pid} has ended meanwhile", hint="try another instance")
    return ids


def _age(pid: int) -> Seconds:
    """Return for how long a process has been there; 0 if it is not."""
    found = proc.fields(pid)
    started = int(found[START]) / os.sysconf("SC_CLK_TCK") if found else 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started if found else 0.0
