"""Who is inside a sandbox that did not begin there, and how one gets in on purpose.

Nobody records who entered a sandbox and left again: only what is inside at the time of a look shows.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from anew.engines.embedded import drift, proc
from anew.engines.embedded.clock import WallClock
from anew.engines.embedded.compute import Embedded
from anew.errors import NotFound, Unsupported
from anew.model import Bytes, Scope, Touched
from anew.ports import Clock


class EmbeddedInspection:
    """Implements `anew.ports.Inspection`."""

    def __init__(self, compute: Embedded, clock: Clock | None = None) -> None:
        self._compute = compute
        self._clock = clock or WallClock()
        self._watch = drift.Watch(self._clock)

    def touched(self, scope: Scope, alive: Mapping[str, int], since: float) -> Touched:  # noqa: ARG002 - no records
        """Return who is inside the instances that are `alive` and came from outside; see the port."""
        until = self._clock.now()
        return Touched(self._watch.look(alive), until)

    def peak_memory(self, name: str) -> Bytes:
        """Return the most memory that an instance ever had; see the port."""
        return self._compute.peak_memory(name)

    def entry(self, name: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command line that runs `command` inside; see the port."""
        pid = self._compute.pid(name)
        if not pid:
            raise NotFound(f"no instance {name} lives", hint="anew status shows those that do")
        return entry(pid, command)


def entry(pid: int, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command line that runs `command` in the namespaces of a process, as its user."""
    nsenter = shutil.which("nsenter")
    if nsenter is None:
        raise Unsupported("nsenter is missing", where="PATH", hint="install util-linux")
    user, group = _ids(pid)
    spaces = _other_namespaces(pid)
    who = ("--preserve-credentials",) if "--user" in spaces else (f"--setgid={group}", f"--setuid={user}")
    return (nsenter, f"--target={pid}", *spaces, "--root", "--wd", *who, "--", *command)


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
