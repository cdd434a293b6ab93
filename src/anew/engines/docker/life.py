"""Whether a container's instance lives, and how it ended: what the engine says of it, in our words. Pure.

==================================  ==================================================================================
the engine says                     then
==================================  ==================================================================================
created, and never was started      it is an intention whose launcher was killed: no instance
running, and never ended before     it lives
paused                              it lives, and accepts nothing
running, and has ended before       somebody restarted it: as an instance it has ended, though its processes run
anything else                       it has ended
==================================  ==================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from anew.engines.embedded.life import NOT_ALLOWED, NOT_FOUND, UNKNOWN, sentence
from anew.model import Bytes

NEVER = "0001-01-01"  # how a time begins that never was
RESTARTED = "restarted by somebody"
FOR_MEMORY = "killed for memory"
ABSENT, FORBIDDEN, KILLED = 127, 126, 137
INTENTIONS = frozenset({"created", "configured", "initialized"})
MIB: Bytes = 1 << 20
_NOT_EXECUTED = re.compile(r"(?:tini|catatonit|docker-init|podman-init).*exec.*: (?P<why>[^:\n]+)\n?\Z")


@dataclass(frozen=True, slots=True)
class Life:
    """What the engine knows of one container."""

    id: str
    labels: Mapping[str, str]
    is_alive: bool
    is_present: bool = False  # processes of it are there
    is_intention: bool = False
    is_paused: bool = False
    is_revived: bool = False  # somebody told the engine to restart it
    pid: int = 0  # of its first process; 0 when there is none
    code: int = 0
    started: float = 0.0
    ended: str = ""


def of(said: Mapping[str, Any]) -> Life:
    """Return the life of the container that the engine described."""
    state = said["State"]
    status = str(state.get("Status", ""))
    is_running = bool(state.get("Running")) or bool(state.get("Paused"))
    was_over = not str(state.get("FinishedAt", NEVER)).startswith(NEVER)
    is_alive = is_running and not was_over
    is_intention = not is_running and status in INTENTIONS
    code = int(state.get("ExitCode") or 0)
    ended = RESTARTED if is_running else how(code, said)
    return Life(
        id=str(said["Id"]),
        labels=said.get("Config", {}).get("Labels") or {},
        is_alive=is_alive,
        is_present=is_running,
        is_intention=is_intention,
        is_paused=bool(state.get("Paused")),
        is_revived=str((said.get("HostConfig", {}).get("RestartPolicy") or {}).get("Name") or "no") != "no",
        pid=int(state.get("Pid") or 0) if is_running else 0,
        code=code,
        started=moment(str(state.get("StartedAt", ""))),
        ended="" if is_alive or is_intention else ended,
    )


def how(code: int, said: Mapping[str, Any]) -> str:
    """Say how a container ended: the words of the embedded engine."""
    state = said["State"]
    if state.get("OOMKilled") and code == KILLED:
        return for_memory(said)
    if str(state.get("Status")) == "dead" and not code:
        return UNKNOWN
    return sentence(code)


def for_memory(said: Mapping[str, Any]) -> str:
    """Say that a container was killed for memory, and what it was allowed."""
    limit = memory_of(said)
    return FOR_MEMORY + (f" (limit {_size(limit)})" if limit else "")


def memory_of(said: Mapping[str, Any]) -> Bytes:
    """Return how much memory a container may use; 0: as much as there is."""
    return int(said.get("HostConfig", {}).get("Memory") or 0)


def not_executed(code: int, program: str, log: str) -> str:
    r"""Return why a program never ran, from its exit code and the end of its log; "" if it ran.

    >>> not_executed(127, "nosuch", "[FATAL tini (7)] exec nosuch failed: No such file or directory\n")
    'command not found: nosuch'
    >>> not_executed(127, "sh", "sh: 1: nosuch: not found\n")
    ''
    """
    if code not in {ABSENT, FORBIDDEN}:
        return ""
    match = _NOT_EXECUTED.search(log)
    if match is None:
        return ""
    if match["why"] == "No such file or directory":
        return f"{NOT_FOUND}: {program}"
    return f"{NOT_ALLOWED}: {program} ({match['why'].lower()})"


def moment(text: str) -> float:
    """Return the UTC seconds of a time as engines write it, with nanoseconds; 0.0 for one that never was.

    >>> moment("2026-11-21T10:54:29.518619373Z"), moment("0001-01-01T00:00:00Z")
    (1795258469.518619, 0.0)
    """
    if not text or text.startswith(NEVER):
        return 0.0
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


def _size(limit: Bytes) -> str:
    """Return bytes as people write them.

    >>> _size(64 << 20), _size(1500)
    ('64 MiB', '1500 B')
    """
    return f"{limit // MIB} MiB" if limit % MIB == 0 else f"{limit} B"
