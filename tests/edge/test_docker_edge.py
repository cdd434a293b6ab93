"""The HAProxy edge in a container does what every edge must do, and what a container asks for besides."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anew.edge import process
from anew.edge.limits import WORKER_UID
from anew.engines.docker.client import Client
from anew.engines.docker.edge import NEEDED
from anew.errors import Conflict, EngineError
from anew.model import Declaration, EdgeGroup, Listener, Target
from anew.testing.conformance_edge import CHECKS, Bench
from anew.testing.conformance_edge_bench import free_port, until

import docker_bench  # isort: skip
from edge_bench import haproxy_bench  # isort: skip

ALL = {"web": {"web-g1": 1000}}
ANSWERS = """
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
frontend all
  bind :8000
  http-request return status 200 content-type text/plain string "from the bridge"
"""


@pytest.fixture(scope="session")
def folder(engine: None) -> Iterator[Path]:
    one = Path(tempfile.mkdtemp(prefix="anew-edge-"))
    yield one
    shutil.rmtree(one)


@pytest.fixture(scope="session")
def shared(folder: Path) -> Iterator[Bench]:
    bench = haproxy_bench(folder, docker_bench.contained)
    yield bench
    bench.end()


@pytest.fixture
def bench(shared: Bench, folder: Path) -> Iterator[Bench]:
    yield shared
    shared.renew()
    assert docker_bench.containers(folder, "a") == {}


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.__name__.removeprefix("check_"))
def test_the_edge_in_a_container_conforms(check: Callable[[Bench], None], bench: Bench) -> None:
    check(bench)


def serving(bench: Bench) -> Declaration:
    declaration = bench.declaration(bench.group("g1", "one"))
    bench.client().declare(declaration)
    bench.client().shift(ALL)
    return declaration


def test_a_container_has_what_it_needs_and_no_more(bench: Bench, folder: Path) -> None:
    serving(bench)
    ((name, told),) = docker_bench.containers(folder, "a").items()
    host = told["HostConfig"]
    assert name == f"tests-{folder.name.lower()[-6:]}-a-edge-1"
    assert docker_bench.place(folder, "a").labels.items() <= told["Config"]["Labels"].items()
    assert (host["NetworkMode"], host["PidMode"], host["ReadonlyRootfs"], host["Privileged"]) == (
        "host",
        "host",
        True,
        False,
    )
    assert host["RestartPolicy"]["Name"] in {"", "no"}
    master, worker = process.ours(folder / "a" / "edge" / "haproxy.cfg")
    assert told["State"]["Pid"] == master
    bits = {"KILL": 5, "SETGID": 6, "SETUID": 7, "NET_BIND_SERVICE": 10}  # as the kernel counts them
    assert int(status_of(master)["CapBnd"], 16) == sum(1 << bits[one] for one in NEEDED)
    status = status_of(worker)
    assert status["Uid"].split() == [str(WORKER_UID)] * 4
    assert (int(status["CapEff"], 16), status["NoNewPrivs"]) == (0, "1")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.parametrize("end", ["killed", "removed"])
def test_an_edge_whose_container_ended_behind_our_back_is_started_again(bench: Bench, folder: Path, end: str) -> None:
    declaration = serving(bench)
    ((_, told),) = docker_bench.containers(folder, "a").items()
    with Client().asking("ending it") as api:
        if end == "killed":
            api.kill(told["Id"])
        else:
            api.remove_container(told["Id"], force=True)
    until(lambda: not bench.reading().is_up, "it is down")
    bench.client().declare(declaration)
    assert bench.get().text == "one\n"
    assert bench.reading().weights == ALL
    until(lambda: len(docker_bench.containers(folder, "a")) == 1, "the dead one is gone")


def test_a_container_that_was_never_started_is_removed(bench: Bench, folder: Path) -> None:
    client, place = Client(), docker_bench.place(folder, "a")
    image = docker_bench.program(folder, "a")._images.admitted(docker_bench.image()).id
    body = {"Image": image, "Cmd": ["true"], "Labels": place.labels}
    with client.asking("making it") as api:
        api.create_container_from_config(body, place.name("1"))
    serving(bench)
    assert [one["State"]["Running"] for one in docker_bench.containers(folder, "a").values()] == [True]


def test_a_foreign_container_with_our_name_is_a_conflict_and_stays(bench: Bench, folder: Path) -> None:
    client, place = Client(), docker_bench.place(folder, "a")
    image = docker_bench.program(folder, "a")._images.admitted(docker_bench.image()).id
    with client.asking("making it") as api:
        made = api.create_container_from_config({"Image": image, "Cmd": ["true"]}, place.name("1"))
    try:
        with pytest.raises(Conflict, match="not of this edge"):
            serving(bench)
        assert not bench.reading().is_up
        with client.asking("looking") as api:
            assert api.inspect_container(made["Id"])["State"]["Status"] == "created"
    finally:
        with client.asking("removing it") as api:
            api.remove_container(made["Id"])
    serving(bench)
    assert bench.get().text == "one\n"


def test_what_haproxy_says_when_it_does_not_start_is_in_the_error(bench: Bench, folder: Path) -> None:
    declaration = serving(bench)
    bench.client().stop()
    program = docker_bench.program(folder, "a")
    broken = folder / "a" / "edge" / "broken.cfg"
    broken.write_text("nonsense\n")
    outcome = program.run(("-c", "-f", str(broken)), 10)
    assert outcome.code == 1
    assert "unknown keyword 'nonsense'" in outcome.output
    with pytest.raises(EngineError, match="does not start") as caught:
        process.start(program, process.Launch("7", broken, folder / "a" / "s" / "m7.0"), lambda: False)
    assert "unknown keyword 'nonsense'" in caught.value.facts["output"]
    assert caught.value.facts["command"].startswith("docker run --rm")
    assert docker_bench.containers(folder, "a") == {}
    bench.client().declare(declaration)


@pytest.fixture
def bridge(engine: None, folder: Path) -> Iterator[tuple[str, str]]:
    """A bridge network's gateway, and the address of a container on it that answers HTTP on port 8000."""
    config = folder / "answers.cfg"
    config.write_text(ANSWERS)
    name = f"{folder.name}-bridge"
    image = docker_bench.program(folder, "a")._images.admitted(docker_bench.image()).id
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": ["/usr/sbin/haproxy", "-db", "-f", str(config)],
        "HostConfig": {
            "NetworkMode": name,
            "Mounts": [{"Type": "bind", "Source": str(config), "Target": str(config), "ReadOnly": True}],
        },
    }
    with contextlib.ExitStack() as stack, Client().asking("making a bridge") as api:
        network = api.create_network(name, driver="bridge")["Id"]
        stack.callback(api.remove_network, network)
        made = api.create_container_from_config(body, f"{name}-instance")["Id"]
        stack.callback(api.remove_container, made, force=True)
        api.start(made)
        told = api.inspect_container(made)["NetworkSettings"]["Networks"][name]
        yield told["Gateway"], told["IPAddress"]


def test_an_instance_on_a_bridge_is_served_and_calls_the_edge_at_the_gateway(
    bench: Bench, bridge: tuple[str, str]
) -> None:
    gateway, address = bridge
    target = Target("far", 8000, host=address)
    group = EdgeGroup("web-g1", "web", "/health", (target,), "g1.web.internal")
    listener = Listener("shop-g1>web", "web", free_port(), host=gateway)
    declaration = replace(bench.declaration(group), listeners=(listener,))
    bench.client().declare(declaration)
    bench.client().shift(ALL)
    until(lambda: bench.get().text == "from the bridge", "the instance answers")
    with contextlib.closing(http.client.HTTPConnection(gateway, listener.port, timeout=5)) as caller:
        caller.request("GET", "/")
        assert caller.getresponse().read() == b"from the bridge"
    wire = bench.caller()
    with bench.load() as load:
        load.wait(200)
        bench.client().declare(replace(declaration, groups=(replace(group, targets=(replace(target, name="x"),)),)))
        load.wait(200)
    assert load.bad() == []
    wire.close()
    reading = bench.reading()
    assert reading.in_flight == {"x": 0}
    assert reading.declaration is not None
    assert reading.declaration.groups[0].targets[0].host == address


def test_checking_a_configuration_takes_no_container(bench: Bench, folder: Path) -> None:
    serving(bench)
    program = docker_bench.program(folder, "a")
    begin = time.monotonic()
    outcome = program.run(("-c", "-f", str(folder / "a" / "edge" / "haproxy.cfg")), 30)
    assert (outcome.code, time.monotonic() - begin < 5) == (0, True)
    assert len(docker_bench.containers(folder, "a")) == 1


def test_an_edge_with_a_stopped_master_comes_back(bench: Bench, folder: Path) -> None:
    declaration = serving(bench)
    master = process.ours(folder / "a" / "edge" / "haproxy.cfg")[0]
    os.kill(master, signal.SIGSTOP)
    try:
        bench.client().declare(declaration)
    except EngineError:  # it fell while it was asked: whoever called calls again
        bench.client().declare(declaration)
    assert bench.get().text == "one\n"
