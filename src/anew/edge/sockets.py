"""Talk to HAProxy's master socket, and through it to every worker."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anew.edge import buckets
from anew.edge.buckets import Buckets
from anew.edge.process import identity
from anew.edge.render import SWITCH, SWITCH_KEY, map_name
from anew.errors import EngineError
from anew.model import Bytes, Seconds

ANSWER_WITHIN: Seconds = 5.0
CHUNK: Bytes = 8000  # of one command: it must fit into a worker's buffer
_GONE = ("Can't find the target", "Can't connect to the target", "couldn't connect to the target")


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process; an old one only finishes what it has begun."""

    pid: int
    is_old: bool
    identity: str  # see `process.identity`


@dataclass(frozen=True, slots=True)
class Row:
    """What a worker counts of one backend (`server` is "") or of one of its server slots."""

    group: str
    server: str
    in_flight: int
    requests: int
    failures: int
    is_open: bool  # not taken out by anew; health checks may still hold it down
    weight: int
    address: str


class Master:
    """The master process of one edge. Every method raises OSError if it does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, command: str) -> str:
        """Send one command, or several with ";" between, and return all that is answered."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(ANSWER_WITHIN)
            one.connect(str(self._path))
            one.sendall(command.encode() + b"\n")
            one.shutdown(socket.SHUT_WR)
            parts = []
            while part := one.recv(1 << 17):
                parts.append(part)
        return b"".join(parts).decode(errors="replace")

    def workers(self) -> tuple[Worker, ...]:
        """Return all workers, the current one first; the current one may be missing for a moment, or be dead."""
        out, is_old = [], False
        for line in self.ask("show proc").splitlines():
            words = line.split()
            if line.startswith("#"):
                is_old = "old workers" in line
            elif words[1:2] == ["worker"] and words[0].isdecimal():
                out.append(Worker(int(words[0]), is_old, identity(int(words[0]))))
        return tuple(out)

    def current(self) -> Worker | None:
        """Return the worker that takes new connections."""
        return next((worker for worker in self.workers() if not worker.is_old), None)

    def tell(self, worker: Worker, *commands: str) -> str:
        """Send commands to one worker and return its answers; "" if it is an old one that has ended meanwhile."""
        answer = self.ask(";".join(f"@!{worker.pid} {command}" for command in commands))
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
        for line in self.tell(worker, "show info").splitlines():
            key, _, value = line.partition(": ")
            if key.lower() == "description":
                return value.strip()
        return ""

    def rows(self, worker: Worker) -> tuple[Row, ...]:
        """Return what a worker counts, a row per backend and per server slot."""
        header, *lines = self.tell(worker, "show stat -1 6 -1").removeprefix("# ").splitlines() or [""]
        at = {name: number for number, name in enumerate(header.split(","))}
        return tuple(_row(at, line.split(",")) for line in lines if line)

    def buckets(self, worker: Worker, service: str) -> Buckets | None:
        """Return the buckets of a service; None if the worker does not know the service."""
        answer = self.tell(worker, f"show map {map_name(service)}")
        if answer.startswith(("Unknown map", "Missing")):
            return None
        return buckets.parsed(line.split()[1:] for line in answer.splitlines())

    def replace_buckets(self, worker: Worker, wanted: Mapping[str, Buckets]) -> None:
        """Replace the buckets of services: all are sent first, then all are committed in one go.

        Raises  EngineError if the worker refuses.
        """
        commits = []
        for service, ones in wanted.items():
            name = map_name(service)
            answer = self.tell(worker, f"prepare map {name}")
            version = answer.partition("created:")[2].strip()
            if not version:
                raise EngineError(f"the edge does not take new weights of {service}: {answer.strip()}")
            for chunk in _chunks(buckets.lines(ones)):
                answer = self.tell(worker, f"add map @{version} {name} <<\n{chunk}\n")
                if answer.strip():
                    raise EngineError(f"the edge does not take new weights of {service}: {answer.strip()}")
            commits.append(f"commit map @{version} {name}")
        if commits:
            answer = self.tell(worker, *commits)
            if answer.strip():
                raise EngineError(f"the edge does not take new weights: {answer.strip()}")

    def switch_over(self, worker: Worker) -> bool:
        """Let an old worker pass every new request to the newest one; return whether it does so now (or has ended)."""
        if self._is_switched(worker):
            return True
        self.tell(worker, f"set map {SWITCH} {SWITCH_KEY} yes")
        return self._is_switched(worker)

    def _is_switched(self, worker: Worker) -> bool:
        answer = self.tell(worker, f"show map {SWITCH}")
        return not answer.strip() or answer.split()[1:] == [SWITCH_KEY, "yes"]


def _row(at: Mapping[str, int], cells: Sequence[str]) -> Row:
    def count(name: str) -> int:
        return int(cells[at[name]] or 0)

    server = cells[at["svname"]]
    return Row(
        group=cells[at["pxname"]],
        server="" if server == "BACKEND" else server,
        in_flight=count("scur"),
        requests=count("req_tot"),
        failures=count("hrsp_5xx") + count("srv_abrt"),
        is_open=not cells[at["status"]].startswith("MAINT"),
        weight=count("uweight"),
        address=cells[at["addr"]],
    )


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
