"""PUBLIC: what the conformance suite of `Compute` needs of an engine, and the programs that it runs there."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anew.model import Image, Instance, Order, Scope, Seconds
from anew.ports import Compute, Volumes
from anew.testing.conformance_claims import expect

PATIENCE: Seconds = 30.0  # for what takes a moment, on a machine that others use, too
MOMENTS = tuple(ms / 1000 for ms in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 23, 26, 30, 40))

SERVER = """
import os, socket, time
one = socket.socket()
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind((os.environ.get("LISTEN", "127.0.0.1"), int(os.environ["PORT"])))
one.listen()
print("listening", flush=True)
while True:
    time.sleep(60)
"""
# A signal may come while the first line is being printed, and `print` does not stand that.
POLITE = """
import os, signal, sys, time
def end(*_):
    os.write(1, b"asked to end\\n")
    time.sleep(0.2)
    os.write(1, b"ended in peace\\n")
    sys.exit(5)
signal.signal(signal.SIGTERM, end)
os.write(1, b"running\\n")
while True:
    time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("running", flush=True)
while True:
    time.sleep(60)
"""
PARENT = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
print("left a child behind", flush=True)
sys.exit(3)
"""
SLEEPER = "import time; time.sleep(600)"
INSIDE = """
import json, os, pathlib, socket, sys
def text(path):
    try:
        return pathlib.Path(path).read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
def links(pid):
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[name] = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            pass
    return found
def writes(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError:
        return False
    return True
pids = [name for name in os.listdir("/proc") if name.isdigit()]
print(json.dumps({
    "environment": dict(os.environ),
    "first": text("/proc/1/environ"),
    "descriptors": {pid: links(pid) for pid in pids},
    "commands": {pid: text(f"/proc/{pid}/cmdline") for pid in pids},
    "status": dict(line.split(":", 1) for line in text("/proc/self/status").splitlines()),
    "mounts": text("/proc/self/mountinfo"),
    "hostname": socket.gethostname(),
    "cgroup": text("/proc/self/cgroup"),
    "uid": os.getuid(),
    "written": [path for path in sys.argv[1:] if writes(path)],
    "root": sorted(os.listdir("/")),
}), flush=True)
"""


def of_this_machine(token: str) -> tuple[int, ...]:
    """Return the pids of this machine's processes whose command line contains `token`; dead ones have none."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names, not paths
        if name.isdigit():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if token.encode() in line:
                found.append(int(name))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Bench:
    """One engine to be checked; everything is made anew for each check."""

    client: Callable[[], Compute]  # a new client of the same world each time
    stranger: Callable[[], Compute]  # a client of the same world that belongs to another state
    image: Image  # has `python`
    port: Callable[[], int]  # a free one, another each time
    elsewhere: Callable[[Order], subprocess.Popen[bytes]]
    """Starts a process of its own that says "ready", launches the order when it is sent a line, says "launched",
    and waits for the end of its input."""
    python: str = "/usr/bin/python3"
    processes: Callable[[str], tuple[int, ...]] = of_this_machine  # those whose command line contains a token
    mark: str = "conform"  # in all names and commands of this check
    secrets: Mapping[str, bytes] | None = None
    """What the engine is told when it asks for a secret, of any version, by name; NotFound for all others. None: the
    engine offers no secrets."""
    volumes: Callable[[], Volumes] | None = None  # a new client of the volumes of the same world; None: not offered
    listen: str = "127.0.0.1"  # where a program listens to be reached from outside of its instance
    shares_ports: bool = True  # False: instances have addresses of their own, and may all listen on one port
    moments: tuple[Seconds, ...] = MOMENTS  # after the order was given, when a launcher is killed
    limits: frozenset[str] = frozenset({"memory", "cpu", "pids"})  # those of `Limits` that the engine can hold here

    @property
    def scope(self) -> Scope:
        """Where the instances of this check live."""
        return Scope(self.mark, "check")

    @property
    def other(self) -> Scope:
        """Another environment of the same project."""
        return Scope(self.mark, "other")

    def order(
        self,
        name: str,
        program: str,
        *arguments: str,
        port: int = 0,
        scope: Scope | None = None,
        **more: Any,
    ) -> Order:
        """Return an order that runs a Python program; `more` are further fields of the order."""
        environment: Mapping[str, str] = {"LISTEN": self.listen, "PORT": str(port)} if port else {}
        fields: dict[str, Any] = {
            "name": f"{self.mark}-{name}",
            "group": "web-g1",
            "scope": scope or self.scope,
            "image": self.image,
            "command": (self.python, "-c", f"{program}\n# {self.mark}", *arguments),
            "environment": tuple(environment.items()),
            "port": port,
        }
        return Order(**(fields | more))

    def find(self, name: str, scope: Scope | None = None) -> Instance | None:
        """Return what a new client sees of one instance."""
        wanted = f"{self.mark}-{name}"
        return next((one for one in self.client().instances(scope or self.scope) if one.name == wanted), None)

    def waits_for(self, name: str, is_so: Callable[[Instance], bool], scope: Scope | None = None) -> Instance | None:
        """Wait until a new client sees that; return what it saw, None if it has not within `PATIENCE`."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = self.find(name, scope)
            if found is not None and is_so(found):
                return found
            time.sleep(0.01)
        return None

    def waits_for_line(self, name: str, line: str) -> bool:
        """Wait until an instance has written the line; False if it has not within `PATIENCE`."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if line in self.client().logs(f"{self.mark}-{name}", 100):
                return True
            time.sleep(0.01)
        return False

    def output(self, name: str, program: str, *arguments: str, **more: Any) -> Any:
        """Launch a program that prints one line of JSON and ends well; return what it printed, and remove it."""
        client, whole = self.client(), f"{self.mark}-{name}"
        client.launch(self.order(name, program, *arguments, **more))
        seen = self.waits_for(name, lambda one: not one.is_alive, more.get("scope"))
        lines = client.logs(whole, 50)
        expect(f"it ran: {lines}", actual=seen.ended if seen else None, expected="exit code 0")
        client.remove(whole)
        return json.loads(lines[-1])

    def end(self, name: str) -> None:
        """Stop and remove an instance."""
        client = self.client()
        client.stop(f"{self.mark}-{name}", 0.0)
        client.remove(f"{self.mark}-{name}")

    def clear(self) -> None:
        """End and forget all that a check has left."""
        for scope in (self.scope, self.other):
            client = self.client()
            for one in client.instances(scope):
                client.stop(one.name, 0.0)
                client.remove(one.name)
            if self.volumes is not None:
                for service, name, _ in self.volumes().volumes(scope):
                    self.volumes().remove_volume(scope, service, name)
