"""The edge's request log at 10,000 requests a second and more: is it whole, and is a loss noticed?"""

from __future__ import annotations

import argparse
import math
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from figures import page
from figures.figure import Count, Section

from anew.edge.find import find
from anew.edge.runtime import HaproxyEdge
from anew.edge.telemetry import Telemetry
from anew.engines.embedded.clock import WallClock
from anew.errors import EngineError, Unsupported
from anew.model import Declaration, EdgeGroup, Route, Target
from anew.testing.rig import free_port

RATE = 10_000  # requests per second, at least
GROUP = "web-g1"
HOST = "web.example"
PATIENCE = 20.0  # seconds
OVERFLOWS = 250_000  # lines, more than the ring holds
BACKEND = """
global
  nbthread 1
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend answers
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string ok
"""
METHOD = """`wrk` sends as fast as it can, over 32 connections, through the edge to a server that answers
at once (another HAProxy); the reader of the request log runs in this process. *Lost* is what the edge's
exact counters say it has answered and no line came for. In the second run the reader comes late: the edge
answers with nobody listening, more than its ring in memory holds, and then the reader connects. The lines
that the ring had to drop must show as lost, to the last one."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run."""

    asked: int  # requests by wrk's own count
    rate: float
    answered: int  # by the edge's counters
    heard: int  # lines
    lost: int  # as `losses` says
    cpu: float  # seconds of this process


def measure(arguments: argparse.Namespace) -> Section:
    """Run with a reader, and with one that comes too late."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Unsupported("wrk is not on this machine", hint="apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="anew-bench-") as folder, backend(Path(folder)) as port:
        declaration = declared(port)
        edge = HaproxyEdge(Path(folder) / "edge", Path(folder) / "s", is_logged=True)
        edge.declare(declaration)
        try:
            edge.shift({"web": {GROUP: 1000}})
            url = f"http://127.0.0.1:{declaration.port}/"
            command = [wrk, "-t1", "-c32", "-H", f"Host: {HOST}", url]
            whole = load(edge, [*command, f"-d{arguments.seconds}"], is_late=False)
            late = load(edge, [*command, f"-d{math.ceil(OVERFLOWS / whole.rate)}"], is_late=True)
        finally:
            edge.stop()
    return section(whole, late)


def load(edge: HaproxyEdge, command: list[str], *, is_late: bool) -> Run:
    """Send load and read the log, at once or only afterwards."""
    telemetry = Telemetry(edge.telemetry, WallClock())
    before = edge.reading().counts
    since = time.time()
    if not is_late:
        telemetry.start(before)
    cpu = time.process_time()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    found = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if found is None:
        raise EngineError("wrk failed", facts={"command": shlex.join(command), "output": done.stdout + done.stderr})
    if is_late:
        telemetry.start(before)
    after = edge.reading().counts
    heard = settled(telemetry, since)
    cpu = time.process_time() - cpu
    lost = telemetry.losses(after)[GROUP]
    telemetry.stop()
    answered = after[GROUP].requests - before[GROUP].requests
    return Run(int(found[1]), int(found[1]) / float(found[2]), answered, heard, lost, cpu)


def settled(telemetry: Telemetry, since: float) -> int:
    """Return how many requests were heard of, once no more come: two whole seconds without a new one."""
    last, still = -1, 0
    end = time.monotonic() + PATIENCE
    while still < 2 and time.monotonic() < end:
        time.sleep(1.0)
        now = sum(one.requests for one in telemetry.samples(GROUP, since - 1))
        last, still = now, still + 1 if now == last else 0
    return last


@contextmanager
def backend(folder: Path) -> Iterator[int]:
    """Run a server that answers at once; yield its port."""
    haproxy, port = find(), free_port()
    config = folder / "backend.cfg"
    config.write_text(BACKEND.format(port=port))
    with subprocess.Popen([str(haproxy.path), "-db", "-f", str(config)], env=haproxy.environment) as one:
        try:
            yield port
        finally:
            one.terminate()


def declared(port: int) -> Declaration:
    """Return a declaration of one service with one instance on `port`."""
    group = EdgeGroup(GROUP, "web", "/", (Target("web-g1-0", port),), "g1.web.internal")
    return Declaration("127.0.0.1", free_port(), free_port(), (Route(HOST, "web"),), (group,))


def section(whole: Run, late: Run) -> Section:
    """Return both runs as a section."""
    exact = late.answered - late.heard
    counts = (
        Count("requests per second", f"{whole.rate:,.0f}", f"≥ {RATE:,}", whole.rate >= RATE),
        Count("requests answered, by the edge's counters", f"{whole.answered:,}"),
        Count("lines heard", f"{whole.heard:,}", "all", whole.heard == whole.answered),
        Count("lost, as noticed", f"{whole.lost:,}", "0", whole.lost == 0),
        Count("reader's CPU per line", f"{1e6 * whole.cpu / max(1, whole.heard):.1f} µs"),
        Count("late reader: requests answered", f"{late.answered:,}"),
        Count("late reader: lines heard", f"{late.heard:,}", "fewer", late.heard < late.answered),
        Count("late reader: lost, as noticed", f"{late.lost:,}", f"{exact:,}", late.lost == exact and exact > 0),
    )
    return Section("telemetry", "The edge's request log", METHOD, counts=counts)


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, seconds=8)))
