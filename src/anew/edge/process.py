"""HAProxy as processes: a configuration checked, a master started detached, all found again, all ended."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from anew.errors import EngineError
from anew.model import Seconds

if TYPE_CHECKING:
    from anew.edge.find import Haproxy

STARTS_WITHIN: Seconds = 15.0
ENDS_WITHIN: Seconds = 10.0
KILLED_AFTER: Seconds = 3.0
GONE_AFTER: Seconds = 0.5  # a program that is just being executed has no command line for a moment
CHECKED_WITHIN: Seconds = 30.0
LOOKS_EVERY: Seconds = 0.005
LONGEST_LOG = 1_000_000
LAST_LINES = 3000  # characters of HAProxy's own words in an error


def check(program: Haproxy, config: Path) -> None:
    """Let HAProxy check a configuration.

    Raises  EngineError with its own lines if it refuses.
    """
    import subprocess  # noqa: PLC0415 - who only looks at an edge starts nothing

    arguments = ("-c", "-f", str(config))
    try:
        done = subprocess.run(
            [program.path, *arguments],
            cwd=config.parent,
            env=program.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECKED_WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise EngineError(
            f"HAProxy can't check a configuration: {cause}", facts={"command": program.pasteable(*arguments)}
        ) from cause
    if done.returncode:
        output = (done.stderr + done.stdout).strip()[-LAST_LINES:]
        raise EngineError(
            "HAProxy refuses the configuration; what ran goes on as it was",
            where=str(config),
            hint="run the command to see what HAProxy says",
            facts={"command": program.pasteable(*arguments), "output": output},
        )


def start(program: Haproxy, config: Path, master: Path, is_serving: Callable[[], bool]) -> None:
    """Start the master in a session of its own; return once `is_serving`.

    Nothing of this process is passed on, and it is no child of it: it survives, and leaves no zombie behind.

    Raises  EngineError with the last lines of its log if it does not serve in time; then nothing of it is left.
    """
    import subprocess  # noqa: PLC0415 - see `check`

    log = config.with_name("haproxy.log")
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    arguments = ("-W", "-f", str(config), "-S", f"unix@{master},mode,600,level,admin")
    command = ["setsid", "--fork", str(program.path), *arguments]
    with log.open("ab") as out:
        begin = out.tell()
        try:
            subprocess.run(
                command,
                cwd=config.parent,
                env=program.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=STARTS_WITHIN,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as cause:
            raise EngineError(f"HAProxy can't be started: {cause}", facts={"command": shlex.join(command)}) from cause
    until = time.monotonic() + STARTS_WITHIN
    last_seen = time.monotonic()
    while not is_serving():
        now = time.monotonic()
        last_seen = now if ours(config) else last_seen
        if now > until or now - last_seen > GONE_AFTER:
            end(config)
            output = log.read_bytes()[begin:].decode(errors="replace")[-LAST_LINES:]
            raise EngineError(
                "HAProxy does not start",
                where=str(log),
                hint="run the command to see what HAProxy says",
                facts={"command": program.pasteable(*arguments), "output": output},
            )
        time.sleep(LOOKS_EVERY)


def ours(config: Path) -> tuple[int, ...]:
    """Return the ids of all processes that run this configuration, the master's and the workers'.

    They are known by their command line; it is looked up anew each time, so that an id which was used again for
    another program is never taken for one of ours.
    """
    mark = os.fsencode(config)
    return tuple(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _runs(entry, mark))


def _runs(entry: Path, mark: bytes) -> bool:
    try:
        line = (entry / "cmdline").read_bytes()
        if mark not in line:
            return False  # as it is with nearly all processes
        words = line.split(b"\0")
        state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False  # it ended while we looked
    return b"-W" in words and state not in {b"Z", b"X"} and (b"-f", mark) in set(itertools.pairwise(words))


def identity(pid: int) -> str:
    """Return id and start time, which tell a process from every other one since boot; "" if it has ended."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{pid}.{started}"


def end(config: Path) -> None:
    """End all processes of this configuration, at first politely; success if there are none.

    Raises  EngineError if one does not end.
    """
    begin = time.monotonic()
    asked: set[int] = set()
    while left := ours(config):
        spent = time.monotonic() - begin
        if spent > ENDS_WITHIN:
            raise EngineError(f"HAProxy does not end: processes {', '.join(map(str, left))}", where=str(config))
        for pid in left:
            if spent > KILLED_AFTER:
                _signal(config, pid, signal.SIGKILL)
            elif pid not in asked:
                _signal(config, pid, signal.SIGTERM)
                asked.add(pid)
        time.sleep(LOOKS_EVERY)


def _signal(config: Path, pid: int, number: signal.Signals) -> None:
    """Send a signal to `pid` if it still is a process of ours; the handle makes sure that it stays the same one."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _runs(Path("/proc") / str(pid), os.fsencode(config)):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return  # it ended by itself, which is what was wanted
    finally:
        os.close(handle)
