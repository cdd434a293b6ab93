"""Talk to HAProxy's master sockets, and through them to every worker."""

from __future__ import annotations

import csv
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from anew.edge import buckets, judged
from anew.edge.buckets import Buckets
from anew.edge.process import identity
from anew.edge.runs import Runs
from anew.edge.section import SWITCH, SWITCH_KEY, map_name
from anew.errors import EngineError
from anew.model import Bytes, Seconds

ANSWER_WITHIN: Seconds = 5.0
LOOKS_EVERY: Seconds = 0.2
PAYLOADS_SINCE = (2, 8)  # older masters do not pass on a command of several lines
AT_ONCE = 100  # commands in one connection to those
CHUNK: Bytes = 8000  # of one command: it must fit into a worker's buffer
_GONE = ("Can't find the target", "Can't connect to the target", "couldn't connect to the target")


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process; an old one only finishes what it has begun."""

    pid: int
    is_old: bool
    identity: str  # see `process.identity`
    master: int  # the process of its master
    socket: Path  # of its master
    is_retired: bool  # its master has handed over to another one

    def has_ended(self) -> bool:
        """Say whether the process is gone, by now or when it was listed."""
        return not self.identity or identity(self.pid) != self.identity


@dataclass(frozen=True, slots=True)
class Row:
    """What a worker counts of one backend (`server` is "") or of one of its server slots."""

    group: str
    server: str
    in_flight: int
    requests: int  # connections, where it passes them on as they are
    failures: int  # instances that could not be reached, there
    is_open: bool  # not taken out by anew; health checks may still hold it down
    weight: int
    address: str
    judged: tuple[int, int, int] = (0, 0, 0)  # of a backend: trials, bad and slow ones; see `anew.edge.judged`


class Master:
    """The masters of one edge: the one that serves, to which the link `path` leads, and those that have handed over.

    Every method raises OSError if the one that serves does not answer.
    """

    def __init__(self, path: Path) -> None:
        self._runs = Runs(path.parent)
        self._parsed: dict[tuple[str, str], tuple[str, Buckets]] = {}  # worker and map → what it said, and what that is

    def ask(self, command: str, worker: Worker | None = None, socket_path: Path | None = None) -> str:
        """Send one command, or several with ";" between, and return all that is answered.

        If the `worker` that has to answer ends meanwhile, the master says nothing: that is a ConnectionError.
        """
        path = worker.socket if worker else socket_path or self._runs.link
        until = time.monotonic() + ANSWER_WITHIN
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(LOOKS_EVERY)
            one.connect(str(path))
            one.sendall(command.encode() + b"\n")
            one.shutdown(socket.SHUT_WR)
            parts: list[bytes] = []
            while not parts or parts[-1]:
                try:
                    parts.append(one.recv(1 << 17))
                except TimeoutError as cause:
                    if worker and worker.has_ended():
                        raise ConnectionError(f"worker {worker.pid} has ended") from cause
                    if time.monotonic() > until:
                        raise
        return b"".join(parts).decode(errors="replace")

    def workers(self) -> tuple[Worker, ...]:
        """Return all workers, the current one first; the current one may be missing for a moment, or be dead."""
        out = self._of(self._runs.current().path)
        for run in self._runs.others():
            # It has ended, after its workers, or does so just now; or it was stopped, and speaks for nobody else.
            with suppress(ConnectionError, FileNotFoundError, TimeoutError):
                out += [replace(one, is_old=True, is_retired=True) for one in self._of(run.path)]
        return tuple(out)

    def _of(self, path: Path) -> list[Worker]:
        out, is_old, master = [], False, 0
        for line in self.ask("show proc", socket_path=path).splitlines():
            words = line.split()
            if line.startswith("#"):
                is_old = "old workers" in line
            elif words[1:2] == ["master"] and words[0].isdecimal():
                master = int(words[0])
            elif words[1:2] == ["worker"] and words[0].isdecimal():
                out.append(Worker(int(words[0]), is_old, identity(int(words[0])), master, path, is_retired=False))
        return out

    def current(self, master: Path | None = None) -> Worker | None:
        """Return the worker that takes new connections; of the master with that socket, if one is named."""
        return next((one for one in self._of(master or self._runs.current().path) if not one.is_old), None)

    def forget_ended(self) -> bool:
        """Remove the sockets of masters that have ended; return whether there were any."""
        others = self._runs.others()
        for run in others:
            try:
                self.ask("show version", socket_path=run.path)
            except ConnectionRefusedError:
                run.path.unlink(missing_ok=True)
            except ConnectionError:
                continue  # it ends just now: who looks next removes it
        return len(self._runs.others()) < len(others)

    def tell(self, worker: Worker, *commands: str) -> str:
        """Send commands to one worker and return its answers; "" if it is an old one that has ended meanwhile."""
        try:
            answer = self.ask(";".join(f"@!{worker.pid} {command}" for command in commands), worker)
        except (ConnectionError, FileNotFoundError):
            if worker.is_old and worker.has_ended():
                return ""
            raise
        if answer.startswith(_GONE):
            if worker.is_old:
                return ""
            raise ConnectionError(answer.strip())
        return answer

    def reload(self) -> str:
        """Load the configuration again; return what HAProxy says against it, or "" (then it may still be starting)."""
        answer = self.ask("reload")
        return answer.strip() if answer.startswith("Success=0") else ""

    def description(self, worker: Worker) -> str:
        """Return the description in the configuration that a worker runs; see `render.description`."""
        return self._info(worker).get("description", "")

    def described(self, master: Path | None = None) -> str:
        """Return the description of what a master's newest worker runs; "" if none answers."""
        return self._told(master).get("description", "")

    def is_retired(self, master: Path) -> bool:
        """Say whether a master's newest worker only finishes what it has begun."""
        return self._told(master).get("stopping") == "1"

    def _told(self, master: Path | None) -> dict[str, str]:
        try:
            current = self.current(master)
            return self._info(current) if current else {}
        except OSError:
            return {}

    def _version(self, worker: Worker) -> tuple[int, ...]:
        words = self._info(worker).get("version", "").split(".")[:2]
        return tuple(int(word) for word in words if word.isdecimal())

    def _info(self, worker: Worker) -> dict[str, str]:
        pairs = (line.partition(":") for line in self.tell(worker, "show info").splitlines())
        return {key.lower(): value.strip() for key, _, value in pairs}

    def rows(self, worker: Worker) -> tuple[Row, ...]:
        """Return what a worker counts, a row per backend and per server slot."""
        # What a health check was answered is among the cells, in quotes where it has a comma.
        answer = self.tell(worker, "show stat -1 6 -1", f"show table {judged.TOTALS}")
        _require_whole(worker, answer, 2)
        stats, _, table = answer.removeprefix("# ").partition("# table: ")
        header, *lines = csv.reader(stats.splitlines() or [""])
        at = {name: number for number, name in enumerate(header)}
        totals = judged.totals(table)
        return tuple(_row(at, cells, totals) for cells in lines if len(cells) == len(header) > 1)

    def times(self, worker: Worker, groups: Sequence[str]) -> dict[str, dict[int, int]] | None:
        """Return how many answers are in each bucket of times, by group; None if an old worker has ended meanwhile."""
        if not groups:
            return {}
        answer = self.tell(worker, *(f"show table {group}" for group in groups))
        _require_whole(worker, answer, len(groups))
        return judged.times(answer) if answer else None

    def buckets(self, worker: Worker, service: str) -> Buckets | None:
        """Return the buckets of a service; None if the worker does not know the service."""
        where = (worker.identity, map_name(service))
        answer = self._map(worker, map_name(service))
        if answer is None:
            return None
        known = self._parsed.get(where)
        if known is None or known[0] != answer:
            known = answer, buckets.parsed(line.split()[1:] for line in answer.splitlines())
            gone = [one for one in self._parsed if one[0] != worker.identity]
            for one in gone:
                del self._parsed[one]
            self._parsed[where] = known
        return known[1]

    def entries(self, worker: Worker, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the entries of maps, by name; see `anew.edge.live`. One that the worker does not know has none."""
        out: dict[str, dict[str, str]] = {name: {} for name in names}
        left = list(names)
        for line in self.tell(worker, *(f"show map {name}" for name in names)).splitlines():
            if not line:  # after each map
                left = left[1:]
            elif left and len(words := line.split()) == 3:
                out[left[0]][words[1]] = words[2]
        if left:
            raise ConnectionError(f"worker {worker.pid} has ended")
        return out

    def _map(self, worker: Worker, name: str) -> str | None:
        answer = self.tell(worker, f"show map {name}")
        return None if answer.startswith(("Unknown map", "Missing")) else answer

    def replace(self, worker: Worker, wanted: Mapping[str, Sequence[str]]) -> None:
        """Replace the entries of maps, by the map's name: all are sent first, then all are committed in one go.

        Raises  EngineError if the worker refuses.
        """
        commits = []
        has_payload = self._version(worker) >= PAYLOADS_SINCE
        for name, lines in wanted.items():
            answer = self.tell(worker, f"prepare map {name}")
            version = answer.partition("created:")[2].strip()
            if not version:
                raise EngineError(f"the edge does not take a new {name}: {answer.strip()}")
            for command in _additions(f"add map @{version} {name}", lines, has_payload=has_payload):
                answer = self.tell(worker, *command)
                if answer.strip():
                    raise EngineError(f"the edge does not take a new {name}: {answer.strip()}")
            commits.append(f"commit map @{version} {name}")
        if commits:
            answer = self.tell(worker, *commits)
            if answer.strip():
                raise EngineError(f"the edge does not take new maps: {answer.strip()}")

    def switch_over(self, worker: Worker) -> bool:
        """Let an old worker pass every new request to the newest one; return whether it has handed all over.

        It has if it passes requests on and accepts no connection any more, or if it has ended. It stops accepting by
        itself, a moment after a newer one serves.
        """
        answer = self._handed_over(worker)
        if answer is None:
            self.tell(worker, f"set map {SWITCH} {SWITCH_KEY} yes")
            answer = self._handed_over(worker)
        return answer is True

    def _handed_over(self, worker: Worker) -> bool | None:
        """Return None if the worker is not switched, else whether it has stopped accepting too."""
        lines = self.tell(worker, f"show map {SWITCH}", "show info").splitlines()
        if lines and not any(line.split()[1:] == [SWITCH_KEY, "yes"] for line in lines):
            return None
        return not lines or "Stopping: 1" in lines


def _require_whole(worker: Worker, answer: str, commands: int) -> None:
    """Raise ConnectionError if a worker ended while it answered: each answer ends with an empty line."""
    if answer and answer.count("\n\n") < commands:
        raise ConnectionError(f"worker {worker.pid} has ended")


def _row(at: Mapping[str, int], cells: Sequence[str], totals: Mapping[str, tuple[int, int, int]]) -> Row:
    def count(name: str) -> int:
        return int(cells[at[name]] or 0)

    group, server = cells[at["pxname"]], cells[at["svname"]]
    trials, bad, slow = totals.get(group, (0, 0, 0)) if server == "BACKEND" else (0, 0, 0)
    broken = count("srv_abrt") if trials else 0  # after they were counted as trials: a table learns of it in no way
    return Row(
        group=group,
        server="" if server == "BACKEND" else server,
        in_flight=count("scur"),
        requests=count("stot"),
        failures=count("econ") if cells[at["mode"]] == "tcp" else count("hrsp_5xx") + count("srv_abrt"),
        is_open=not cells[at["status"]].startswith("MAINT"),
        weight=count("uweight"),
        address=cells[at["addr"]],
        judged=(trials, bad + broken, slow),
    )


def _additions(command: str, lines: Sequence[str], *, has_payload: bool) -> list[tuple[str, ...]]:
    """Return the commands that add lines to a map, each tuple for one connection."""
    if has_payload:
        return [(f"{command} <<\n{chunk}\n",) for chunk in _chunks(lines)]
    return [tuple(f"{command} {line}" for line in lines[at : at + AT_ONCE]) for at in range(0, len(lines), AT_ONCE)]


def _chunks(lines: Sequence[str]) -> list[str]:
    """Join lines to texts that each fit into one command."""
    out: list[str] = []
    part: list[str] = []
    size = 0
    for line in lines:
        if part and size + len(line) >= CHUNK:
            out.append("".join(part))
            part, size = [], 0
        part.append(f"{line}\n")
        size += len(line) + 1
    return [*out, "".join(part)] if part else out
