"""Making control groups that limit instances, and entering them.

Rules

1. A group is made only where a limit is asked: to move a process costs what the kernel takes to tell all processors,
   about 10 ms on a machine where nobody else does so.
2. A process enters by itself, before it becomes the sandbox: whatever it starts is inside from its first instruction,
   and whoever launched it never is. If that process is killed on its way, nothing runs outside.
3. A group is named after the instance and the owner of its state, and stands in the record before it is made. It stays
   until the instance is removed: only so it is known why an instance ended at which nobody looked.
4. The two processes of bubblewrap are inside. They are not counted against the limit of processes.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from anew.core.digest import digest, short
from anew.engines.embedded import proc
from anew.engines.embedded.cgroup_places import Place, places
from anew.engines.embedded.cgroups import remove
from anew.errors import EngineError
from anew.model import Limits

SHELL = "/bin/sh"
REFUSED = "anew: the control group can't be entered"
OF_BUBBLEWRAP = 2  # its processes in every instance
PERIOD = 100_000  # microseconds, over which the use of processors is measured
THROWAWAY = ".run-"
_OPTIONAL = frozenset({"memory.memsw.limit_in_bytes", "memory.swap.max"})  # of kernels that count what is swapped out


@dataclass(frozen=True, slots=True)
class Entry:
    """How a process enters its group: by a file that it is handed as standard input, and by paths."""

    paths: tuple[str, ...] = ()
    file: int = -1

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command line that enters, and becomes `command`."""
        writes = [f"echo 0 >{shlex.quote(path)}" for path in self.paths]
        writes += ["echo 0 >&0"] if self.file >= 0 else []
        script = f'{" && ".join(writes)} || {{ echo "{REFUSED}"; exit 1; }}; exec "$@" </dev/null'
        return [SHELL, "-c", script, "sh", *command] if writes else list(command)


NO_ENTRY = Entry()


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The control group of one instance, made or not: a folder in each tree that has what one of its limits needs."""

    name: str = ""
    limits: Limits = field(default_factory=Limits)
    parents: Mapping[str, Place] = field(default_factory=dict)  # by what is limited

    @property
    def folders(self) -> tuple[str, ...]:
        """Where it is; () if no limit is asked that can be had."""
        return tuple(dict.fromkeys(str(one.folder / self.name) for one in self.parents.values()))

    @contextmanager
    def made(self, uid: int | None) -> Iterator[Entry]:
        """Make the group, and yield how a process with that uid of the host enters it (None: with our own).

        What was left under its name by a launcher that was killed is replaced. An error inside removes the group.
        Raises  EngineError if it can't be made, or has processes.
        """
        if not self.parents:
            yield NO_ENTRY
            return
        remove(self.folders)
        entry = NO_ENTRY
        try:
            try:
                entry = self._make(uid)
            except OSError as cause:
                raise _error(self.name, cause) from cause
            yield entry
        except BaseException:
            remove(self.folders)
            raise
        finally:
            if entry.file >= 0:
                os.close(entry.file)

    def _make(self, uid: int | None) -> Entry:
        paths: list[str] = []
        unified = ""
        for parent in self.parents.values():
            folder = parent.folder / self.name
            folder.mkdir(mode=0o755, exist_ok=True)
            procs = str(folder / "cgroup.procs")
            if parent.is_v2:
                unified = procs
            elif procs not in paths:
                paths.append(procs)
        for resource, parent in self.parents.items():
            for name, value in _settings(resource, self.limits, is_v2=parent.is_v2):
                path = parent.folder / self.name / name
                if name not in _OPTIONAL or path.exists():
                    path.write_text(value)
        for one in paths if uid is not None else ():
            os.chown(one, uid or 0, -1)  # in version 1 it may thereby move nothing but what is its own
        # In version 2 it counts who opened the file.
        return Entry(tuple(paths), os.open(unified, os.O_WRONLY | os.O_CLOEXEC) if unified else -1)


def planned(name: str, owner: str, limits: Limits) -> Cgroup:
    """Return the control group for an instance, which is not made yet; an empty one if no limit is to be had."""
    asked = {"memory": limits.memory, "cpu": limits.cpu, "pids": limits.pids}
    if not any(asked.values()):
        return Cgroup()
    found = {one: place for one, place in places().items() if asked[one] and isinstance(place, Place)}
    return Cgroup(f"{name}.{short(digest(owner))}", limits, found)


@contextmanager
def throwaway(name: str, owner: str, limits: Limits) -> Iterator[Cgroup]:
    """Yield the control group for an instance that this process sees to its end; it is gone afterwards.

    What other processes left that were killed meanwhile is removed, too.
    """
    found = planned(f"{name}{THROWAWAY}{_process(os.getpid())}-{uuid4().hex[:8]}", owner, limits)
    for folder in found.folders:
        _sweep(Path(folder).parent, f".{short(digest(owner))}")
    try:
        yield found
    finally:
        remove(found.folders)


def _sweep(parent: Path, ending: str) -> None:
    for name in os.listdir(parent):  # noqa: PTH208 - names, not paths
        _, mark, rest = name.partition(THROWAWAY)
        if mark and name.endswith(ending):
            pid = rest.partition("-")[0]
            if pid.isdigit() and not rest.startswith(f"{_process(int(pid))}-"):
                with suppress(OSError):  # it is just ending, or somebody else was faster
                    (parent / name).rmdir()


def _process(pid: int) -> str:
    """Return what tells a process from all others of this boot, its pid and its start; "gone" if it is."""
    found = proc.fields(pid)
    return f"{pid}-{found[19]}" if found else "gone"


def _settings(resource: str, limits: Limits, *, is_v2: bool) -> Iterator[tuple[str, str]]:
    """Yield the files that limit, and what to write into them, in that order."""
    match resource, is_v2:
        case "memory", True:
            yield from (("memory.max", str(limits.memory)), ("memory.swap.max", "0"))
        case "memory", False:
            yield from ((name, str(limits.memory)) for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"))
        case "cpu", True:
            yield "cpu.max", f"{round(limits.cpu * PERIOD)} {PERIOD}"
        case "cpu", False:
            yield from (("cpu.cfs_period_us", str(PERIOD)), ("cpu.cfs_quota_us", str(round(limits.cpu * PERIOD))))
        case _:
            yield "pids.max", str(limits.pids + OF_BUBBLEWRAP)


def _error(name: str, cause: OSError) -> EngineError:
    return EngineError(
        f"the control group {name} can't be made: {cause.strerror}",
        where=str(cause.filename or ""),
        hint="try: anew doctor",
        facts={"command": f"ls -ld {cause.filename}"},
    )
