from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anew.edge.find import Haproxy, find
from anew.engines.docker.client import Client
from anew.errors import EngineError, Unsupported
from anew.testing.conformance_edge_bench import Bench

import docker_bench  # isort: skip
from edge_bench import haproxy_bench  # isort: skip


@pytest.fixture(scope="session")
def haproxy() -> Haproxy:
    """The HAProxy of this machine; without one, the test is skipped, or fails where everything is required."""
    try:
        return find()
    except Unsupported as error:
        if os.environ.get("ANEW_REQUIRE_ALL") == "1":
            raise
        pytest.skip(error.what)


@pytest.fixture(scope="session")
def engine() -> None:
    """The container engine of this machine, with the edge's image; without one, the test is skipped."""
    if os.geteuid() != 0:
        pytest.skip("the engine docker needs root")
    try:
        Client().info()
    except (Unsupported, EngineError) as error:
        pytest.skip(f"no container engine answers: {error.what}")
    docker_bench.image()


@pytest.fixture(scope="session")
def shared_bench(haproxy: Haproxy) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="anew-edge-"))  # pytest's own folders have paths too long for sockets
    bench = haproxy_bench(folder)
    yield bench
    bench.end()
    shutil.rmtree(folder)


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    yield shared_bench
    shared_bench.renew()
