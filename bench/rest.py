"""An environment of many instances at rest: what its keeper and `anew status` cost, and how soon a death is noticed."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from commands import bare, children, command_span, compiled
from figures import page
from figures.apart import rig_apart
from figures.figure import Count, Figure, Goal, Section
from figures.ledger import entries

from anew.errors import EngineError, Unsupported
from anew.testing.rig import HEADS, Rig

SERVICES = 8  # one service has at most 100 instances
WINDOW = 10.0  # seconds
SETTLES = 45.0  # seconds until the keeper trusts what it keeps
PATIENCE = 30.0  # seconds
STARTS_WITHIN = 600.0  # seconds
EACH = 16 * 2**20  # bytes of memory that an instance may need, sandbox and all
TICK = os.sysconf("SC_CLK_TCK")
# A server in so few lines, from the C half of `socket` alone, because there are hundreds of it.
SERVER = r"""
import _socket, os
one = _socket.socket()
one.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
one.bind((os.environ["HOST"], int(os.environ["PORT"])))
one.listen(64)
while True:
    handle, _ = one._accept()
    try:
        os.read(handle, 4096)
        os.write(handle, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    except OSError:
        pass
    os.close(handle)
"""
SPEC = """
project: {project}
os:
  base: {head}
services:
{services}
environments:
  local: {{engine: {engine}, listen: "127.0.0.1:{port}"}}
"""
SERVICE = """  s{number}:
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, -I, -S, /srv/app/server.py]
    http: {{health: /}}
    size: {size}
    rollout: {{stages: [], ready: 300s, warm: 0s}}"""
METHOD = """One project of eight services, each instance a small HTTP server in a sandbox of its own (`python3 -I -S`
and no module but `_socket`: about 6 MB each), with a health path. `anew serve` keeps it, and nothing changes. *CPU*
is user and system time of the keeper's process, all threads, in windows of 10 s, once it has been left alone for
45 s; *RSS* counts what it shares with others too, *PSS* a part of that. The CPU of a command is that of the process
and of all it started. *Killed* is from SIGKILL of an application to the commit in the ledger that its instance died,
and healing begins in the same breath; *hung* is from SIGSTOP until the keeper no longer counts it as ready."""


def measure(arguments: argparse.Namespace) -> Section:
    """Bring many instances up, leave them alone, and look."""
    require_memory(arguments.instances * EACH)
    with rig_apart(warm="0s") as project:
        project.environment = compiled(project)
        write(project, arguments.instances)
        began = time.monotonic()
        project.expect("up", limit=STARTS_WITHIN)
        whole = time.monotonic() - began
        project.wait(project.is_idle, limit=PATIENCE, what="the keeper ends")
        with kept(project) as pid:
            project.wait(lambda: len(ready(project)) == arguments.instances, limit=PATIENCE, what="all are ready")
            time.sleep(SETTLES)
            rested = [cpu(pid, WINDOW) for _ in range(max(1, round(arguments.seconds / WINDOW)))]
            memory = memory_of(pid)
            looks = [look(project) for _ in range(arguments.times)]
            idle = [bare() for _ in range(arguments.times)]
            deaths = [death(project, name, port) for name, port in one_of_each(project)]
            hung = [hang(project, name, port) for name, port in one_of_each(project)[:2]]
    used = sum(rested) / len(rested)
    counts = (
        Count("instances", str(arguments.instances)),
        Count("seconds of `anew up`, images and tests and all", f"{whole:.0f}"),
        Count("seconds at rest", f"{WINDOW * len(rested):.0f}"),
        Count("keeper at rest, of one CPU, all of that time", f"{used:.2f} %", "≤ 1 %", used <= 1),
        Count("keeper at rest: RSS", f"{memory['Rss']:.0f} MB", "≤ 100 MB", memory["Rss"] <= 100),
        Count("keeper at rest: PSS", f"{memory['Pss']:.0f} MB"),
    )
    figures = (
        Figure("keeper at rest, of one CPU, windows", "%", tuple(rested), Goal(median=1)),
        Figure("`anew status`", "ms", tuple(one for one, _ in looks), Goal(median=300), "bare Python", tuple(idle)),
        Figure("`anew status`, CPU", "ms", tuple(other for _, other in looks)),
        Figure("killed, until noticed", "ms", tuple(deaths), Goal(median=100)),
        Figure("hung, until noticed", "s", tuple(hung), Goal(worst=15)),
    )
    return Section("rest", "At rest", METHOD, figures, counts)


def require_memory(needed: int) -> None:
    """Raise Unsupported if the machine has not so many bytes free."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = 1024 * int(found[1]) if found else 0
    if free < needed:
        raise Unsupported(f"{needed >> 20} MiB of memory are needed, {free >> 20} are free", hint="--instances 50")


def write(project: Rig, instances: int) -> None:
    """Write the project."""
    (project.root / "app").mkdir(parents=True, exist_ok=True)
    (project.root / "app" / "server.py").write_text(SERVER)
    sizes = [instances // SERVICES + (number < instances % SERVICES) for number in range(SERVICES)]
    services = "\n".join(SERVICE.format(number=number, size=size) for number, size in enumerate(sizes) if size)
    shape = {"project": project.project, "port": project.port, "engine": project.engine, "head": HEADS[project.engine]}
    (project.root / "anew.yaml").write_text(SPEC.format(services=services, **shape))


@contextmanager
def kept(project: Rig) -> Iterator[int]:
    """Run the keeper of the project as a service would; yield its process id."""
    command = [sys.executable, "-m", "anew", "-C", str(project.root), "serve"]
    environment = {**os.environ, "ANEW_HOME": str(project.home), **project.environment}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet) as one:
        try:
            yield one.pid
        finally:
            one.terminate()


def ready(project: Rig) -> frozenset[str]:
    """Return the instances that the keeper says are ready."""
    path = project.home / "keepers" / f"{project.project}.local.says.json"
    return frozenset(json.loads(path.read_text())["ready"])


def cpu(pid: int, seconds: float) -> float:
    """Return how much of one CPU a process uses for some seconds from now on, in per cent."""
    before, began = ticks(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (ticks(pid) - before) / TICK / (time.monotonic() - began)


def ticks(pid: int) -> int:
    """Return what a process has used until now, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def memory_of(pid: int) -> Mapping[str, float]:
    """Return the memory of a process in MB, by the kernel's name for it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}


def look(project: Rig) -> tuple[float, float]:
    """Return the milliseconds of one `anew status`: by the clock, and of CPU."""
    before = children()
    span = command_span(project, ("status",))
    return span, children() - before


def one_of_each(project: Rig) -> list[tuple[str, int]]:
    """Return name and port of one instance of each service, so that no death slows the healing of another."""
    query = "select name, port from allotments where is_ended = 0 group by service order by service"
    with closing(sqlite3.connect(f"file:{project.home / 'state.db'}?mode=ro", uri=True)) as database:
        return list(database.execute(query))


def application(port: int) -> int:
    """Return the process that serves on a port, by its environment. Raises EngineError if there is none."""
    wanted = f"PORT={port}".encode()
    for entry in Path("/proc").glob("[1-9]*"):
        try:
            has_port = wanted in (entry / "environ").read_bytes().split(b"\0")
            if has_port and (entry / "cmdline").read_bytes().startswith(b"python3\0"):
                return int(entry.name)
        except OSError:
            continue  # it ended while we looked, or is somebody else's
    raise EngineError(f"nothing serves on port {port}")


def death(project: Rig, name: str, port: int) -> float:
    """Kill an application; return the milliseconds until its death is committed."""
    victim = application(port)
    time.sleep(2.0)  # at rest again
    killed = time.time()
    os.kill(victim, signal.SIGKILL)
    found: list[Any] = []

    def is_noticed() -> bool:
        found[:] = [one for one in entries(project, killed - 1) if one.text.startswith(f"dispose of {name} (died")]
        return bool(found)

    project.wait(is_noticed, limit=PATIENCE, what="the death is noticed")
    time.sleep(3.0)  # its successor comes
    return 1000 * float(found[0].at - killed)


def hang(project: Rig, name: str, port: int) -> float:
    """Stop an application, which then accepts and never answers; return the seconds until it is not ready."""
    victim = application(port)
    began = time.monotonic()
    os.kill(victim, signal.SIGSTOP)
    try:
        project.wait(lambda: name not in ready(project), limit=PATIENCE, what="the hung instance is noticed")
        return time.monotonic() - began
    finally:
        os.kill(victim, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, instances=200, seconds=60.0, times=15)))
