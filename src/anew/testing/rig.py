"""PUBLIC: a project of its own, with a state of its own, driven through the command line as a person would.

For tests and proofs of the whole program: nothing in it knows the inside of anew, but for the id of the state, by which
what it has in a container engine is found.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anew.errors import AnewError, Conflict, EngineError
from anew.model import Seconds
from anew.testing.containers import SOCKET, ContainerEngine

SERVER = """
import http.server, os, signal, socketserver, sys, threading, time, select, socket
RELEASE = {release!r}
COUNT = 0
class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    def do_GET(self):
        global COUNT
        status = 200
        if self.path == "/healthz":
            status = {health}
        else:
            COUNT += 1
            status = 500 if COUNT * 37 % 100 < {bad} else 200
        if self.path == "/slow":
            time.sleep(2)
        body = RELEASE.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Release", RELEASE)
        if self.server.is_ending:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = False
    is_ending = False
    open_ones = set()
    def process_request(self, request, address):
        self.open_ones.add(request)
        super().process_request(request, address)
    def shutdown_request(self, request):
        self.open_ones.discard(request)
        super().shutdown_request(request)
server = Server((os.environ["HOST"], int(os.environ["PORT"])), Answers)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.is_ending = True
while select.select([server.socket], [], [], 0)[0]:
    server.handle_request()
for one in list(server.open_ones):
    try:
        one.shutdown(socket.SHUT_RD)
    except OSError:
        pass
server.server_close()
"""

SPEC = """
project: {project}
os:
  base: {head}
services:
  web:
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, /srv/app/server.py]
    http: {{health: /healthz}}
    size: {size}
    rollout: {{stages: [{stages}], each: {each}, at_most: {at_most}, ready: {ready}, warm: {warm}, drain: 10s}}
environments:
  local: {{engine: {engine}, listen: "127.0.0.1:{port}"{settings}}}
"""

HEADS = {"embedded": "{host: true}", "docker": "{debian: bookworm, packages: [python3]}"}
SHARED = ("images", "edge-image")  # of a state folder: what takes long to make, and is the same for all


@dataclass(slots=True)
class Rig:
    """One project with its own state, in one temporary folder."""

    folder: Path
    port: int
    project: str = "rig"
    size: int = 2
    stages: str = "50%"
    each: str = "300ms"
    at_most: str = "1s"
    ready: str = "10s"
    warm: str = "1s"
    environment: Mapping[str, str] = field(default_factory=dict)
    engine: str = "embedded"
    docker_host: str = ""  # as in $DOCKER_HOST; "": the engine of this machine
    settings: str = ""  # more of the environment's, as in the spec: "keep: 3, taint: report"

    @property
    def home(self) -> Path:
        """The folder of its state."""
        return self.folder / "home"

    @property
    def root(self) -> Path:
        """The folder of the project."""
        return self.folder / "project"

    def write(self, release: str, *, bad: int = 0, health: int | str = 200, **changes: str) -> None:
        """Write the project's files: `release` is what its answers name, `bad` per cent of which are 500.

        `health` is the status of its health path: a number, or a Python expression that gives one.
        """
        (self.root / "app").mkdir(parents=True, exist_ok=True)
        (self.root / "app" / "server.py").write_text(SERVER.format(release=release, bad=bad, health=health))
        shape = {
            "project": self.project,
            "size": self.size,
            "stages": self.stages,
            "each": self.each,
            "at_most": self.at_most,
            "ready": self.ready,
            "warm": self.warm,
            "port": self.port,
            "engine": self.engine,
            "head": HEADS[self.engine],
            "settings": f", {self.settings}" if self.settings else "",
        }
        (self.root / "anew.yaml").write_text(SPEC.format(**(shape | changes)))

    def anew(
        self, *arguments: str, faults: str = "", limit: Seconds = 120.0, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, with `text` as its standard input, and return how it ended."""
        environment = self._environment() | ({"ANEW_FAULT": faults} if faults else {})
        return subprocess.run(
            self._command(arguments),
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            input=text,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one command that goes on, such as `serve`; what it says is added to the log of keepers."""
        with self._keeper_log.open("ab") as log:
            return subprocess.Popen(self._command(arguments), env=self._environment(), stdout=log, stderr=log)

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "anew", "-C", str(self.root), *arguments]

    def _environment(self) -> dict[str, str]:
        named = {"DOCKER_HOST": self.docker_host} if self.docker_host else {}
        return {**os.environ, "ANEW_HOME": str(self.home), **named, **self.environment}

    def expect(self, *arguments: str, code: int = 0, limit: Seconds = 120.0) -> str:
        """Run one command; return what it printed.

        Raises  EngineError with all of its output if it ends with another exit code.
        """
        done = self.anew(*arguments, limit=limit)
        if done.returncode != code:
            raise EngineError(
                f"anew {' '.join(arguments)} ended with exit code {done.returncode}, not {code}",
                facts={"stdout": done.stdout, "stderr": done.stderr},
            )
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Return the status of the environment as data."""
        return dict(json.loads(self.expect("status", "--json")))

    @property
    def containers(self) -> ContainerEngine:
        """The container engine that its commands ask."""
        return ContainerEngine(Path(self.docker_host.removeprefix("unix://")) if self.docker_host else SOCKET)

    def owner(self) -> str:
        """Return the id of this state, which all has that it made in a container engine; "" if there is none yet."""
        path = self.home / "state.db"
        if not path.exists():
            return ""
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as state:
            row = state.execute("select owner from state").fetchone()
        return str(row[0]) if row else ""

    def keeper_log(self) -> str:
        """Return what the keepers said."""
        return self._keeper_log.read_text() if self._keeper_log.exists() else ""

    @property
    def _keeper_log(self) -> Path:
        return self.home / "keepers" / f"{self.project}.local.log"

    def processes(self) -> dict[int, str]:
        """Return every process on this machine that belongs to this state, by its command line or environment."""
        out = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue  # it ended while we looked
            if str(self.folder) in line and state != "Z":
                out[int(entry.name)] = line
        return out

    def wait(self, condition: Callable[[], bool], *, limit: Seconds, what: str, pause: Seconds = 0.05) -> None:
        """Wait until `condition` holds, which is looked at after each `pause`.

        Raises  EngineError that names `what` when `limit` is over.
        """
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise EngineError(f"{what}: not within {limit:g} s", facts={"keeper": self.keeper_log()[-3000:]})
            time.sleep(pause)

    def is_idle(self) -> bool:
        """Say whether no keeper runs."""
        return not self.status()["keeper"]

    def end(self) -> None:
        """End everything that belongs to this state, by its process ids, whatever shape it is in.

        Of a container engine, what this state owns there is removed, too: containers, networks and images.
        """
        self._end_processes()
        owner = self.owner() if self.engine == "docker" else ""
        if owner:
            self.containers.clear(owner)

    def _end_processes(self) -> None:
        for _ in range(50):
            left = self.processes()
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)


def free_port() -> int:
    """Return a TCP port of the loopback that is free now, outside of the range that outgoing connections use."""
    for _ in range(1000):
        port = random.randrange(11_000, 20_000)  # noqa: S311 - no secret
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EngineError("no free port was found between 11000 and 20000")


@contextmanager
def rig(**shape: Any) -> Iterator[Rig]:
    """Make a rig in a temporary folder; everything of it is gone at the end.

    On docker it has a project name of its own, since names are the whole engine's, and it shares heads with others:
    `anew gc` in one would collect what the others use.
    """
    folder = Path(tempfile.mkdtemp(prefix="anew-rig-"))
    folder.chmod(0o755)
    if shape.get("engine") == "docker":
        shape.setdefault("project", f"rig-{os.urandom(3).hex()}")
    one = Rig(folder, shape.pop("port", 0) or free_port(), **shape)
    try:
        if one.engine == "docker":
            share_heads(one)
        yield one
    finally:
        one.end()
        shutil.rmtree(folder, ignore_errors=True)


def share_heads(one: Rig) -> None:
    """Give a rig the heads of Debian packages that all rigs of this user on this machine share; made if need be.

    Blocks  for a minute where they are made.
    """
    seed = seed_of_heads()
    with (seed.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seed.write("heads")
        seed.expect("build", limit=600.0)
    one.home.mkdir(mode=0o755)
    one.root.mkdir()
    for name in SHARED:
        (one.home / name).symlink_to(seed.home / name)
    shutil.copy(seed.root / "anew.lock", one.root)


def seed_of_heads() -> Rig:
    """Return the rig whose state has the heads that all others share. Raises Conflict if somebody else made it."""
    folder = Path(tempfile.gettempdir()) / f"anew-rig-heads-{os.geteuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Conflict(f"{folder} is somebody else's", where=str(folder), hint="remove it")
    seed = Rig(folder, free_port(), project="heads", engine="docker")
    for name in SHARED:
        (seed.home / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    return seed


def show(error: AnewError) -> str:
    """Return all that an error knows, for a proof that failed."""
    return "\n".join([error.what, *(f"--- {k}\n{v}" for k, v in error.facts.items())])
