from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anew.edge.find import Haproxy
from anew.edge.runtime import HaproxyEdge
from anew.edge.telemetry import BOUNDS_MS, Telemetry
from anew.errors import Conflict
from anew.model import Sample
from anew.testing.conformance_edge_bench import Bench, until

from edge_bench import haproxy_bench  # isort: skip

WEIGHTS = {"web": {"web-g1": 900, "web-g2": 100}}


class Now:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def logged(folder: Path, scope: str) -> HaproxyEdge:
    """Return a client of an edge that logs its requests."""
    return HaproxyEdge(folder / scope / "edge", folder / scope / "s", is_logged=True)


@pytest.fixture
def bench(haproxy: Haproxy) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="anew-edge-"))
    one = haproxy_bench(folder, logged)
    yield one
    one.end()
    shutil.rmtree(folder)


def edge(bench: Bench) -> HaproxyEdge:
    client = bench.client()
    assert isinstance(client, HaproxyEdge)
    return client


def total(samples: tuple[Sample, ...]) -> tuple[int, int]:
    return sum(one.requests for one in samples), sum(one.failures for one in samples)


def declared(bench: Bench) -> tuple[HaproxyEdge, Telemetry]:
    """Two groups behind an edge, and a telemetry that it has found."""
    client = edge(bench)
    client.declare(bench.declaration(bench.group("g1", "one"), bench.group("g2", "two")))
    client.shift(WEIGHTS)
    telemetry = Telemetry(client.telemetry, Now())
    telemetry.start(client.reading().counts)
    until(lambda: telemetry.listened_to() == 1, "the worker has found us")
    return client, telemetry


def heard(telemetry: Telemetry, since: float) -> tuple[int, int]:
    both = [total(telemetry.samples(name, since)) for name in ("web-g1", "web-g2")]
    return sum(requests for requests, _ in both), sum(failures for _, failures in both)


def test_every_request_is_heard(bench: Bench) -> None:
    since = time.time() - 1
    client, telemetry = declared(bench)
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(telemetry.stop)
        with bench.load() as load:
            load.wait(2000)
        bench.get("/fail")
        bench.get("/hold?s=0.3")
        bench.get(host="g2.web.internal", is_preview=True)
        until(lambda: heard(telemetry, since) == (load.total() + 2, 1), "every line is there")
        assert set(telemetry.losses(client.reading().counts).values()) == {0}
        assert len(telemetry.samples("web-g1", since)) == len(telemetry.samples("nobody", since))
        slow = [telemetry.latencies(name, since) for name in ("web-g1", "web-g2")]
        assert load.total() + 2 == sum(map(sum, slow))
        assert sum(one[BOUNDS_MS.index(500)] for one in slow) >= 1


def test_every_connection_is_heard_once_it_has_ended(bench: Bench) -> None:
    since = time.time() - 1
    client, listener = edge(bench), bench.listener("public", "cache")
    group = bench.tcp_group("g1", "echo1", "gone")
    client.declare(replace(bench.declaration(group), listeners=(listener,)))
    client.shift({"cache": {"cache-g1": 1000}})
    telemetry = Telemetry(client.telemetry, Now())
    with telemetry:
        until(lambda: telemetry.listened_to() == 1, "the worker has found us")
        standing = bench.wire(listener)
        for _ in range(10):
            bench.wire(listener).close()
        until(lambda: total(telemetry.samples("cache-g1", since)) == (10, 0), "ten have ended")
        assert telemetry.losses(client.reading().counts) == {"cache-g1": 0}
        standing.close()
        bench.instance("echo1").kill()
        bench.instance("gone").kill()
        bench.wire(listener).close()
        until(lambda: total(telemetry.samples("cache-g1", since)) == (12, 1), "and one that nobody took")


def test_what_a_reload_costs_is_said(bench: Bench) -> None:
    since = time.time() - 1
    client, telemetry = declared(bench)
    known = client.reading().declaration
    assert known is not None
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(telemetry.stop)
        with bench.load() as load:
            load.wait(1000)
            client.declare(bench.declaration(*known.groups, bench.group("g3", "three")))
            load.wait(1000)
        until(lambda: telemetry.listened_to() == 1, "the new worker has found us")

        def lost() -> int:
            return sum(telemetry.losses(client.reading().counts).values())

        until(lambda: heard(telemetry, since)[0] + lost() == load.total(), "heard and lost make all")
        assert lost() <= 3 * load.callers


def test_what_nobody_heard_is_said(bench: Bench) -> None:
    client = edge(bench)
    client.declare(bench.declaration(bench.group("g1", "one")))
    client.shift({"web": {"web-g1": 1000}})
    telemetry = Telemetry(client.telemetry, Now())
    telemetry.start(client.reading().counts)
    telemetry.stop()
    for _ in range(3):
        assert bench.get().status == 200
    assert telemetry.losses(client.reading().counts) == {"web-g1": 3}


def test_one_reader_at_a_time() -> None:
    with Telemetry("anew-test-one-reader", Now()), pytest.raises(Conflict):
        Telemetry("anew-test-one-reader", Now()).start()
    with Telemetry("anew-test-one-reader", Now()):
        pass
