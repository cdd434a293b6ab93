"""HAProxy as processes: a configuration checked, a master started, all found again, retired, ended."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anew.edge.program import STARTS_WITHIN, Program
from anew.errors import EngineError
from anew.model import Seconds

ENDS_WITHIN: Seconds = 10.0
KILLED_AFTER: Seconds = 3.0
GONE_AFTER: Seconds = 0.5  # a program that is just being executed has no command line for a moment
CHECKED_WITHIN: Seconds = 30.0
LOOKS_EVERY: Seconds = 0.005
LONGEST_LOG = 1_000_000
LAST_LINES = 3000  # characters of HAProxy's own words in an error
_UNIX = b"unix@"
_OPTIONS = ",mode,600,level,admin"


@dataclass(frozen=True, slots=True)
class Launch:
    """What a master is told when it starts."""

    name: str
    config: Path
    master: Path  # where its socket will be
    exposed: Path | None = None  # where the listeners of a worker that serves are handed out; None: it binds them

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of HAProxy."""
        inherited = ("-x", str(self.exposed)) if self.exposed else ()
        return ("-W", "-f", str(self.config), "-S", f"unix@{self.master}{_OPTIONS}", *inherited)


def check(program: Program, config: Path) -> None:
    """Let HAProxy check a configuration.

    Raises  EngineError with its own lines if it refuses.
    """
    arguments = ("-c", "-f", str(config))
    outcome = program.run(arguments, CHECKED_WITHIN)
    if outcome.code:
        raise EngineError(
            "HAProxy refuses the configuration; what ran goes on as it was",
            where=str(config),
            hint="run the command to see what HAProxy says",
            facts={"command": program.pasteable(arguments), "output": outcome.output.strip()[-LAST_LINES:]},
        )


def log_of(config: Path) -> Path:
    """Return the file into which the programs of a configuration write what they have to say."""
    return config.with_name("haproxy.log")


def trim(config: Path) -> None:
    """Empty the log if it has grown too long: all who write to it write at its end."""
    log = log_of(config)
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        os.truncate(log, 0)


def start(program: Program, launch: Launch, is_serving: Callable[[], bool]) -> None:
    """Start a master that survives this process; return once `is_serving`.

    Raises  EngineError with the last lines of its log if it does not serve in time; then nothing of it is left, and
            what else runs this configuration goes on.
    """
    log = log_of(launch.config)
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    begin = log.stat().st_size if log.exists() else 0
    program.launch(launch.name, launch.arguments, log)
    until = time.monotonic() + STARTS_WITHIN
    last_seen = time.monotonic()
    while not is_serving():
        now = time.monotonic()
        last_seen = now if ours(launch.config, launch.master) else last_seen
        if now > until or now - last_seen > GONE_AFTER:
            end(launch.config, launch.master)
            program.clear()
            output = log.read_bytes()[begin:].decode(errors="replace")[-LAST_LINES:]
            raise EngineError(
                "HAProxy does not start",
                where=str(log),
                hint="run the command to see what HAProxy says",
                facts={"command": program.pasteable(launch.arguments), "output": output},
            )
        time.sleep(LOOKS_EVERY)


def ours(config: Path, master: Path | None = None) -> tuple[int, ...]:
    """Return the ids of all processes that run this configuration, masters and workers; or of one master's alone.

    They are known by their command line; it is looked up anew each time, so that an id which was used again for
    another program is never taken for one of ours.
    """
    wanted = _Wanted.of(config, master)
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return tuple(int(entry.name) for entry in entries if wanted.told(entry))


def masters(config: Path) -> tuple[Path, ...]:
    """Return the sockets of all masters that run this configuration, those too that do not answer yet; sorted."""
    wanted = _Wanted.of(config)
    lines = (wanted.told(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    found = {after for words in lines for before, after in itertools.pairwise(words) if before == b"-S"}
    return tuple(sorted(Path(os.fsdecode(one.removeprefix(_UNIX).partition(b",")[0])) for one in found))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line of a process must have in it."""

    config: bytes
    master: bytes  # how the argument begins; b"" for any

    @staticmethod
    def of(config: Path, master: Path | None = None) -> _Wanted:
        return _Wanted(os.fsencode(config), _UNIX + os.fsencode(master) + b"," if master else b"")

    def told(self, entry: Path) -> list[bytes]:
        """Return the words of a process that is one of these; none if it is not, or has ended."""
        try:
            line = (entry / "cmdline").read_bytes()
            if self.config not in line or self.master not in line:
                return []  # as it is with nearly all processes
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            return []  # it ended while we looked
        words = line.split(b"\0")
        is_alive = b"-W" in words and state not in {b"Z", b"X"}
        return words if is_alive and (b"-f", self.config) in set(itertools.pairwise(words)) else []


def identity(pid: int) -> str:
    """Return id and start time, which tell a process from every other one since boot; "" if it has ended."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{pid}.{started}"


def end(config: Path, master: Path | None = None) -> None:
    """End all processes of this configuration, or of one master, at first politely; success if there are none.

    Raises  EngineError if one does not end.
    """
    begin = time.monotonic()
    asked: set[int] = set()
    while left := ours(config, master):
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


def retire(config: Path, pid: int) -> None:
    """Let a master and its workers finish what they have begun, take nothing new, and end then; success if it ended."""
    _signal(config, pid, signal.SIGUSR1)


def _signal(config: Path, pid: int, number: signal.Signals) -> None:
    """Send a signal to `pid` if it still is a process of ours; the handle makes sure that it stays the same one."""
    try:
        handle = os.pidfd_open(pid)
    except OSError as cause:
        if cause.errno in {errno.ESRCH, errno.EINVAL}:  # of one that is just being taken apart Linux 6.1 says EINVAL
            return
        raise
    try:
        if _Wanted.of(config).told(Path("/proc") / str(pid)):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return  # it ended by itself, which is what was wanted
    finally:
        os.close(handle)
