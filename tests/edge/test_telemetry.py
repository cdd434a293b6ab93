from __future__ import annotations

import contextlib
import time

import pytest

from anew.edge.runtime import HaproxyEdge
from anew.edge.telemetry import BOUNDS_MS, Telemetry
from anew.errors import Conflict
from anew.model import Sample
from anew.testing.conformance_edge_bench import Bench, until

WEIGHTS = {"web": {"web-g1": 900, "web-g2": 100}}


class Now:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def edge(bench: Bench) -> HaproxyEdge:
    client = bench.client()
    assert isinstance(client, HaproxyEdge)
    return client


def total(samples: tuple[Sample, ...]) -> tuple[int, int]:
    return sum(one.requests for one in samples), sum(one.failures for one in samples)


def test_every_request_is_heard_over_a_reload(bench: Bench) -> None:
    groups = bench.group("g1", "one"), bench.group("g2", "two")
    client = edge(bench)
    client.declare(bench.declaration(*groups))
    client.shift(WEIGHTS)
    telemetry, since = Telemetry(client.telemetry, Now()), time.time() - 1
    telemetry.start(client.reading().counts)
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(telemetry.stop)
        with bench.load() as load:
            load.wait(1000)
            client.declare(bench.declaration(*groups, bench.group("g3", "three")))
            load.wait(1000)
        bench.get("/fail")
        bench.get("/hold?s=0.2")
        bench.get(host="g2.web.internal", is_preview=True)
        until(lambda: not any(telemetry.losses(client.reading().counts).values()), "every line is there")
        until(
            lambda: total(telemetry.samples("web-g1", since))[1] + total(telemetry.samples("web-g2", since))[1] == 1,
            "1",
        )
        heard = [total(telemetry.samples(name, since)) for name in ("web-g1", "web-g2")]
        assert load.total() + 2 == sum(requests for requests, _ in heard)
        assert len(telemetry.samples("web-g1", since)) == len(telemetry.samples("nobody", since))
        slow = [telemetry.latencies(name, since) for name in ("web-g1", "web-g2")]
        assert load.total() + 2 == sum(map(sum, slow))
        assert sum(one[BOUNDS_MS.index(500)] for one in slow) >= 1


def test_what_nobody_heard_is_said(bench: Bench) -> None:
    client = edge(bench)
    client.declare(bench.declaration(bench.group("g1", "one")))
    client.shift({"web": {"web-g1": 1000}})
    telemetry = Telemetry(client.telemetry, Now())
    telemetry.start(client.reading().counts)
    telemetry.stop()
    for _ in range(3):
        assert 200 == bench.get().status
    assert {"web-g1": 3} == telemetry.losses(client.reading().counts)


def test_one_reader_at_a_time() -> None:
    with Telemetry("anew-test-one-reader", Now()), pytest.raises(Conflict):
        Telemetry("anew-test-one-reader", Now()).start()
    with Telemetry("anew-test-one-reader", Now()):
        pass
