"""PUBLIC: what the conformance suite of `Edge` needs of an edge, and the clients and instances that it uses there."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import quote

from anew.errors import EngineError
from anew.model import Declaration, EdgeGroup, EdgeReading, Listener, Route, Seconds, Target, Weights
from anew.ports import Edge

PATIENCE: Seconds = 60.0  # on a machine that others use, too
LONGEST: Seconds = 75.0  # for an answer: the edge gives up after 60
HOST = "127.0.0.1"
_PORTS = iter(range(20_000 + time.time_ns() // 1000 % 8_000, 32_000))  # each is tried once


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, body as text, header names in lower case."""

    status: int
    text: str
    headers: dict[str, str]


class Caller:
    """A client with one connection that it keeps alive; `reconnected` counts how often the other side closed it."""

    def __init__(self, port: int, host: str) -> None:
        self._host = host
        self._connection = http.client.HTTPConnection(HOST, port, timeout=LONGEST)
        self.reconnected = 0

    def get(self, path: str = "/", **headers: str) -> Answer:
        """Send one GET; `X_User="a"` adds a header. Raises OSError or HTTPException if no whole answer comes."""
        if self._connection.sock is None:
            self.reconnected += 1
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers={"Host": self._host} | more)
        answer = self._connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, answer.read().decode("latin-1"), headers)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Wire:
    """A connection to a TCP listener; `name` is who took it, "" if nobody did."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), PATIENCE)
        self._reader = self._socket.makefile("rb")
        try:
            self.name = self._reader.readline().decode().strip()
        except ConnectionError:
            self.name = ""

    def echo(self, text: str) -> str:
        """Send a line and return the one that comes back; "" if the connection has ended."""
        try:
            self._socket.sendall(f"{text}\n".encode())
            return self._reader.readline().decode().strip()
        except ConnectionError:
            return ""

    def close(self) -> None:
        """End the connection."""
        self._reader.close()
        self._socket.close()


class Load:
    """Several callers that ask without pause, from threads, and write down every answer and every failure."""

    def __init__(self, port: int, host: str, callers: int = 8) -> None:
        self._place = port, host
        self.callers = callers
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(callers)]
        self.answers: Counter[tuple[int, str]] = Counter()  # (status, text)
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for one in self._threads:
            one.join(PATIENCE)

    def _run(self) -> None:
        caller = Caller(*self._place)
        with contextlib.closing(caller):
            while not self._is_over.is_set():
                try:
                    answer = caller.get()
                except (OSError, http.client.HTTPException) as error:
                    with self._lock:
                        self.failures.append(f"{type(error).__name__}: {error}")
                    caller.close()
                else:
                    with self._lock:
                        self.answers[answer.status, answer.text.strip()] += 1

    def total(self) -> int:
        """Return how many answers came so far."""
        with self._lock:
            return sum(self.answers.values())

    def bad(self) -> list[str]:
        """Return what went wrong, each kind once with how often: failures, and answers other than 200."""
        with self._lock:
            bad = Counter(self.failures)
            bad.update({f"{status} {text}": n for (status, text), n in self.answers.items() if status != 200})
            return [f"{what} ({often} times)" for what, often in bad.most_common()]

    def wait(self, more: int) -> None:
        """Return once `more` answers have come. Raises EngineError if they do not."""
        wanted = self.total() + more
        until(lambda: self.total() >= wanted, f"{more} more answers")


@dataclass(slots=True)
class Instance:
    """One server of `anew.testing.backend` or `conformance_edge_echo`, in a process of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def target(self) -> Target:
        """How an edge knows it."""
        return Target(self.name, self.port)

    def ask(self, path: str) -> str:
        """Ask it directly, around the edge."""
        with contextlib.closing(Caller(self.port, self.name)) as caller:
            return caller.get(path).text.strip()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


def _never(_: str) -> str:
    return ""


@dataclass
class Bench:
    """One edge under examination; `edge` returns a fresh client of the edge of a scope."""

    edge: Callable[[str], Edge]
    kill: Callable[[str], None]  # ends all processes of a scope's edge as hard as possible
    abandon: Callable[
        [str, Declaration | Weights, Seconds], None
    ]  # `declare` or `shift` by one who is killed after so long
    loaded: Callable[[str], str] = _never  # what changes when a scope's edge reloads; always "" if it never does
    scopes: set[str] = field(default_factory=set)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)  # scope → public and preview port
    instances: dict[str, Instance] = field(default_factory=dict)
    callers: list[Caller | Wire] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)  # of listeners, by name

    def client(self, scope: str = "a") -> Edge:
        """Return a new client of an edge, as another process would have one."""
        self.scopes.add(scope)
        return self.edge(scope)

    def instance(self, name: str, program: str = "anew.testing.backend") -> Instance:
        """Return a server of that name, started if there is none."""
        if name not in self.instances:
            port = free_port()
            command = [sys.executable, "-m", program, str(port), name]
            self.instances[name] = Instance(name, port, subprocess.Popen(command, stdin=subprocess.DEVNULL))
            until(lambda: is_listening(port), f"{name} listens")
        return self.instances[name]

    def group(self, name: str, *instances: str) -> EdgeGroup:
        """Return the group `web-NAME` with these instances, which are started."""
        targets = tuple(self.instance(one).target for one in instances)
        return EdgeGroup(f"web-{name}", "web", "/health", targets, f"{name}.web.internal")

    def tcp_group(self, name: str, *instances: str) -> EdgeGroup:
        """Return the group `cache-NAME` of TCP servers, which are started."""
        targets = tuple(self.instance(one, "anew.testing.conformance_edge_echo").target for one in instances)
        return EdgeGroup(f"cache-{name}", "cache", "", targets, is_tcp=True)

    def listener(self, caller: str, service: str = "web", group: str = "") -> Listener:
        """Return the listener of a caller; the service `cache` is TCP. Its port stays the same until `renew`."""
        name = f"{caller}>{service}"
        if name not in self.ports:
            self.ports[name] = free_port()
        return Listener(name, service, self.ports[name], group=group, is_tcp=service == "cache")

    def declaration(self, *groups: EdgeGroup, scope: str = "a") -> Declaration:
        """Return a declaration of `groups` for a scope, with a route from web.example."""
        if scope not in self.places:
            self.places[scope] = free_port(), free_port()
        public, preview = self.places[scope]
        return Declaration(HOST, public, preview, (Route("web.example", "web"),), groups)

    def caller(self, host: str = "web.example", *, scope: str = "a", is_preview: bool = False) -> Caller:
        """Return a client of the public or of the preview listener."""
        self.callers.append(caller := Caller(self.places[scope][is_preview], host))
        return caller

    def through(self, listener: Listener) -> Caller:
        """Return a client of an HTTP listener, that says any host name."""
        self.callers.append(caller := Caller(listener.port, "anything.example"))
        return caller

    def wire(self, listener: Listener) -> Wire:
        """Return a new connection through a TCP listener."""
        self.callers.append(wire := Wire(listener.port))
        return wire

    def load(self, scope: str = "a") -> Load:
        """Return load on the public listener, to be used with `with`."""
        return Load(self.places[scope][0], "web.example")

    def get(self, path: str = "/", host: str = "web.example", *, is_preview: bool = False) -> Answer:
        """Ask once, on a connection of its own."""
        with contextlib.closing(self.caller(host, is_preview=is_preview)) as caller:
            return caller.get(path)

    def reading(self, scope: str = "a") -> EdgeReading:
        """Return what a new client reads."""
        return self.client(scope).reading()

    def renew(self) -> None:
        """Stop all edges; instances stay for the next check, but those that ended are forgotten."""
        for scope in self.scopes:
            self.edge(scope).stop()
        for caller in self.callers:
            caller.close()
        self.scopes.clear()
        self.callers.clear()
        self.places.clear()
        self.ports.clear()
        self.instances = {name: one for name, one in self.instances.items() if one.process.poll() is None}

    def end(self) -> None:
        """End everything."""
        self.renew()
        for one in self.instances.values():
            one.kill()


def drained(group: EdgeGroup, *names: str) -> EdgeGroup:
    """Return `group` with the named instances draining."""
    return replace(group, targets=tuple(replace(t, is_draining=t.name in names) for t in group.targets))


@contextlib.contextmanager
def held(caller: Caller) -> Iterator[list[Answer | Exception]]:
    """Hold a request in a thread until the block ends; what became of it is in the list afterwards.

    However long a slow machine takes for the block, the request is in flight in all of it.
    """
    out: list[Answer | Exception] = []

    def ask(path: str) -> None:
        try:
            out.append(caller.get(f"/hold?while={path}"))
        except (OSError, http.client.HTTPException) as error:
            out.append(error)

    with tempfile.TemporaryDirectory() as folder:
        sign = Path(folder) / "held"
        sign.touch()
        Path(folder).chmod(0o755)  # an instance looks for it, under whatever uid
        thread = threading.Thread(target=ask, args=(quote(str(sign)),), daemon=True)
        thread.start()
        try:
            yield out
        finally:
            sign.unlink()
            thread.join(PATIENCE)


def until(condition: Callable[[], bool], what: str, limit: Seconds = PATIENCE) -> None:
    """Return once `condition` holds. Raises EngineError that says `what` is missing after `limit`."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise EngineError(f"{what}: not within {limit:g} s")
        time.sleep(0.005)


def is_listening(port: int) -> bool:
    """Say whether a connection to this port on loopback is taken."""
    with socket.socket() as one:
        return one.connect_ex((HOST, port)) == 0


def free_port() -> int:
    """Return a port that nobody listens on now, outside of the range from which the kernel picks for clients."""
    for port in _PORTS:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EngineError("no port is free below 32000")
