"""A project whose instances somebody touches, and whose programs do all that a program may do to itself.

Three services of two instances each; what answers says in a header which instance it is, by a token of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from anew.errors import AnewError, EngineError
from anew.testing.rig import HEADS, SERVER, Rig

SERVICES = ("one", "two", "three")
SIZE = 2
CLIENTS = ("/usr/bin/docker", "/usr/local/bin/docker")
TOKEN = "token "  # how the line begins in which an instance says which one it is
START = """
import secrets, subprocess
TOKEN = secrets.token_hex(6)
print("token", TOKEN, flush=True)
if os.environ.get("BUSY") == "yes":
    subprocess.Popen([sys.executable, "/srv/app/busy.py"])
"""
BUSY = '''
"""Writes wherever it may, turns files over, breeds, talks, and opens sockets, without a pause to speak of."""
import os, random, signal, socket, subprocess, time, urllib.request

PLACES = ("/tmp", "/var/lib/mine", "/srv/data", "/dev/shm")
MOST = 1 << 18

def writes(folder, number):
    place = f"{folder}/{os.getpid()}/{number % 7}"
    os.makedirs(place, exist_ok=True)
    path = f"{place}/file"
    with open(path, "ab") as file:
        file.write(os.urandom(4096))
    os.chmod(path, random.choice((0o600, 0o644, 0o755)))
    if os.path.getsize(path) > MOST:
        for older in (2, 1):
            if os.path.exists(f"{path}.{older}"):
                os.replace(f"{path}.{older}", f"{path}.{older + 1}")
        os.replace(path, f"{path}.1")
    link = f"{place}/link"
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink("/usr/bin", link)

def breeds():
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            time.sleep(random.choice((0.0, 0.01, 1.0, 9.0)))
            os.execv("/bin/sh", ["sh", "-c", "exec -a other sleep 0.1 2>/dev/null || sleep 0.1"])
        os._exit(0)
    os.wait()
    subprocess.run(["/bin/sh", "-c", "echo a child; (sleep 3 &)"], check=True)

def talks():
    with urllib.request.urlopen(f"http://127.0.0.1:{os.environ['PORT']}/healthz", timeout=5) as answer:
        answer.read()
    with socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
    name = f"/tmp/socket-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(name)
        one.listen()
    os.unlink(name)

signal.signal(signal.SIGHUP, signal.SIG_IGN)
number = 0
while True:
    number += 1
    for folder in PLACES:
        try:
            writes(folder, number)
        except OSError as error:
            print(folder, error, flush=True)
    breeds()
    try:
        talks()
    except OSError as error:
        print(error, flush=True)
    print(number, "x" * 200, flush=True)
    time.sleep(0.5)
'''
SPEC = """
project: {project}
os:
  base: {head}
services:
{services}
environments:
  local: {{engine: {engine}, listen: "127.0.0.1:{port}", quarantine: 30m}}
"""
SERVICE = """  {name}:
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, /srv/app/server.py]
    http: {{health: /healthz}}
    size: {size}
    flags: {{BUSY: {busy}}}
    writable: [/var/lib/mine]
    volumes: {{data: {{path: /srv/data, shared: true}}}}
    memory: 256M
    cpu: 1
    pids: 200
    rollout: {{stages: [{stages}], each: {each}, at_most: 60s, ready: 60s, warm: 1s, drain: 10s}}"""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is written of the project."""

    release: str = "r1"
    is_busy: bool = False
    stages: str = "50%"
    each: str = "300ms"
    services: tuple[str, ...] = SERVICES


def write(project: Rig, shape: Shape) -> None:
    """Write the project's files."""
    app = project.root / "app"
    app.mkdir(parents=True, exist_ok=True)
    server = SERVER.format(release=shape.release, bad=0, health=200)
    server = server.replace('"X-Release", RELEASE', '"X-Release", TOKEN')
    quiet = "    is_ending = False\n    def handle_error(self, *_):\n        pass\n"
    server = server.replace("    is_ending = False\n", quiet, 1)
    (app / "server.py").write_text(server.replace("COUNT = 0\n", f"COUNT = 0\n{START}", 1))
    (app / "busy.py").write_text(BUSY)
    busy = "'yes'" if shape.is_busy else "'no'"
    services = "\n".join(
        SERVICE.format(name=name, size=SIZE, busy=busy, stages=shape.stages, each=shape.each) for name in shape.services
    )
    head = HEADS[project.engine]
    text = SPEC.format(project=project.project, head=head, services=services, engine=project.engine, port=project.port)
    (project.root / "anew.yaml").write_text(text)


@contextmanager
def kept(project: Rig) -> Iterator[int]:
    """Run a keeper that stays; yield its process id."""
    project.wait(project.is_idle, limit=120, what="the keeper before it ends")
    environment = {**os.environ, "ANEW_HOME": str(project.home), **project.environment}
    command = [sys.executable, "-m", "anew", "-C", str(project.root), "serve"]
    with (project.folder / "serve.log").open("a") as log:
        keeper = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            project.wait(lambda: project.status()["keeper"] == keeper.pid, limit=60, what="the keeper has its lock")
            yield keeper.pid
        finally:
            keeper.terminate()
            keeper.wait(60)


def events(project: Rig) -> list[dict[str, Any]]:
    """Return the ledger."""
    return list(json.loads(project.expect("history", "--json", "-n", "5000")))


def instances(project: Rig) -> tuple[str, ...]:
    """Return the instances that were allotted and not disposed of, oldest first."""
    told = events(project)
    gone = {e["facts"]["instance"] for e in told if e["text"].startswith("dispose of") and "instance" in e["facts"]}
    allotted = [e["facts"]["instance"] for e in told if e["text"].startswith("allot instance")]
    return tuple(name for name in allotted if name not in gone)


def tainted(project: Rig) -> dict[str, tuple[float, str]]:
    """Return when each instance that was touched was found to be, and the evidence, from the ledger."""
    return {
        e["facts"]["instance"]: (datetime.fromisoformat(e["at"]).timestamp(), str(e["facts"]["evidence"]))
        for e in events(project)
        if "evidence" in e["facts"]
    }


def unwatched(project: Rig) -> tuple[str, ...]:
    """Return what the ledger says of times in which nobody could watch."""
    return tuple(e["text"] for e in events(project) if e["text"].startswith("unwatched"))


def token(project: Rig, name: str) -> str:
    """Return the token by which an instance's answers are known."""
    lines = project.expect("logs", name, "-n", "100000").splitlines()
    found = [line.partition(TOKEN)[2].strip() for line in lines if TOKEN in line]
    if not found:
        raise AnewError(f"{name} does not say which one it is", facts={"log": "\n".join(lines[-20:])})
    return found[0]


def rounds(project: Rig, name: str) -> int:
    """Return how many rounds of writing an instance says it has made."""
    lines = project.expect("logs", name, "-n", "20").splitlines()
    numbers = [int(word) for line in lines if " xxx" in line for word in line.split() if word.isdecimal()]
    return max(numbers, default=0)


def docker(*arguments: str, limit: float) -> str:
    """Run a command of the container engine's client; return what it printed.

    Raises  EngineError with what it said if it fails.
    """
    done = subprocess.run([client(), *arguments], capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        line = " ".join(["docker", *arguments])
        raise EngineError(f"{line}: {done.stderr.strip()}", facts={"command": line})
    return done.stdout


def client() -> str:
    """Return the client of the container engine that the system has."""
    return next((one for one in CLIENTS if Path(one).exists()), "docker")


def ended(project: Rig) -> dict[str, tuple[float, str]]:
    """Return when each instance died that has died, and how, from the ledger."""
    return {
        e["facts"]["instance"]: (datetime.fromisoformat(e["at"]).timestamp(), str(e["facts"]["outcome"]))
        for e in events(project)
        if e["facts"].get("died") == "yes"
    }


def has_left(project: Rig, name: str) -> bool:
    """Say whether an instance was told to get no more requests."""
    return any(e["text"] == f"drain {name}" for e in events(project))


def said(project: Rig) -> str:
    """Return what the keepers said."""
    path = project.folder / "serve.log"
    return project.keeper_log() + (path.read_text() if path.exists() else "")
