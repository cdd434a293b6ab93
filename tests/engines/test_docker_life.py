"""What the conformance suite can't ask: what is special about containers, and about an engine that others use, too."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker_world import World, make_image, world

from anew.core.digest import digest, short
from anew.engines.docker import labels
from anew.engines.docker.fittings import RUN, is_in_memory
from anew.engines.docker.images import DockerImages
from anew.engines.docker.network import name_of
from anew.engines.embedded.archive import Archive
from anew.engines.embedded.revealed import FOLDER
from anew.errors import Conflict, EngineError, NotFound, Unsupported
from anew.model import Image, Order, Pin
from anew.testing.conformance_bench import POLITE, SERVER, SLEEPER, Bench
from anew.testing.conformance_secrets import LONG, SHORT, VALUES

READER = f"open('{FOLDER}/short').read(); {SLEEPER}"
WEB = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Answer).serve_forever()
"""
CALLER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as one:
    print(one.recv(100).decode(), flush=True)
"""


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world("docker") as made:
        yield made


@pytest.fixture(scope="module")
def image(here: World) -> Image:
    return make_image(here.store)


@pytest.fixture
def bench(here: World, image: Image) -> Iterator[Bench]:
    made = here.bench(image)
    yield made
    here.clear(made)


def ask(here: World, act: Callable[[Any], Any]) -> Any:
    with here.client.asking("looking") as api:
        return act(api)


def inspected(here: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(here, lambda api: api.inspect_container(name))
    return found


# ------------------------------------------------------------------ what others made


def test_a_container_of_somebody_else_under_our_name_is_never_touched(here: World, image: Image, bench: Bench) -> None:
    order, admitted = bench.order("a", SLEEPER), here.engine().images.admitted(image)
    body = {"Image": admitted.id, "Cmd": list(order.command), "HostConfig": {"NetworkMode": "none"}}
    made = ask(here, lambda api: api.create_container_from_config(body, order.name))
    try:
        ask(here, lambda api: api.start(made["Id"]))
        before = inspected(here, made["Id"])["State"]
        engine = here.engine()
        for act in (
            lambda: engine.launch(order),
            lambda: engine.stop(order.name, 0.0),
            lambda: engine.remove(order.name),
            lambda: engine.drift(order.name),
        ):
            with pytest.raises(Conflict) as caught:
                act()
            assert "anew did not make" in caught.value.what
        assert engine.instances(bench.scope) == ()
        assert inspected(here, made["Id"])["State"] == before
    finally:
        ask(here, lambda api: api.remove_container(made["Id"], force=True))


def test_a_network_of_somebody_else_under_our_name_is_a_conflict(here: World, bench: Bench) -> None:
    name = name_of(bench.scope)
    ask(here, lambda api: api.create_network(name, check_duplicate=True))
    try:
        for act in (lambda: here.engine().inside(bench.scope), lambda: here.engine().launch(bench.order("a", SLEEPER))):
            with pytest.raises(Conflict) as caught:
                act()
            assert name in caught.value.what
    finally:
        ask(here, lambda api: api.remove_network(name))


def test_a_network_of_another_state_is_a_conflict(here: World, bench: Bench) -> None:
    gateway = here.engine().inside(bench.scope)
    assert here.engine().inside(bench.scope) == gateway
    with pytest.raises(Conflict):
        here.engine("another state").inside(bench.scope)
    with pytest.raises(Conflict):
        here.engine("another state").leave(bench.scope)


# ------------------------------------------------------------------ identity


def test_what_runs_is_the_very_image_of_the_store(here: World, image: Image, bench: Bench) -> None:
    bench.client().launch(bench.order("a", SLEEPER))
    said = inspected(here, f"{bench.mark}-a")
    assert said["Image"] in {image.identity.config, image.digest}
    assert said["Config"]["Labels"][labels.IMAGE] == image.digest


def test_an_image_is_admitted_once_and_only_its_own_name_is_removed(here: World, image: Image) -> None:
    images, other = here.engine("a second state").images, here.engine("another state").images
    try:
        assert not images.has(image.digest)
        for _ in range(2):
            images.admit(image)
        other.admit(image)
        assert images.has(image.digest)
        images.remove(image.digest)
        images.remove(image.digest)
        assert (images.has(image.digest), other.has(image.digest)) == (False, True)
    finally:
        other.remove(image.digest)


def test_an_image_in_use_is_not_removed(here: World, image: Image, bench: Bench) -> None:
    bench.client().launch(bench.order("a", SLEEPER))
    with suppress(Conflict):  # there is none while another state has the same image: then only our name of it goes
        here.engine().images.remove(image.digest)
    (there,) = ask(here, lambda api: [api.inspect_image(inspected(here, f"{bench.mark}-a")["Image"])])
    assert there["Id"] in {image.identity.config, image.digest}
    bench.client().launch(bench.order("b", SLEEPER))
    assert [one.is_alive for one in here.engine().instances(bench.scope)] == [True, True]


def test_a_tag_that_was_moved_is_an_error_and_not_another_program(here: World, image: Image) -> None:
    images = here.engine("a third state").images
    images.admit(image)
    repository, _, tag = images.tag(image.digest).partition(":")
    container = ask(
        here, lambda api: api.create_container_from_config({"Image": image.identity.config, "Cmd": ["x"]}, None)
    )
    try:
        ask(here, lambda api: api.commit(container["Id"], repository, tag))
        with pytest.raises(EngineError) as caught:
            here.engine("a third state").images.admit(image)
        assert image.identity.config == caught.value.facts["expected"]
    finally:
        ask(here, lambda api: api.remove_container(container["Id"]))
        images.remove(image.digest)


def test_what_can_not_be_admitted_is_refused(here: World, image: Image, tmp_path: Path) -> None:
    images = here.engine("a fourth state").images
    with pytest.raises(Unsupported):
        images.admit(replace(image, is_host=True))
    with pytest.raises(NotFound):
        images.admit(replace(image, layers=(*image.layers, digest("absent"))))
    damaged = tmp_path / "blob"
    damaged.write_bytes(b"other bytes")
    wrong = DockerImages(here.client, Wrong(damaged), "a fifth state")
    with pytest.raises(EngineError):
        wrong.admit(image)
    assert not wrong.has(image.digest)


class Wrong:
    """A store that does not keep what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def verify(self, digest: str) -> Path:
        return self.path


# ------------------------------------------------------------------ secrets


def test_a_secret_is_nowhere_but_in_its_file_and_gone_with_its_instance(here: World, bench: Bench) -> None:
    begun = time.time() - 1
    order = bench.order("a", READER, secrets=tuple(Pin(name, 1, "hmac-sha256:0") for name in (SHORT, LONG)))
    bench.client().launch(order)
    said = inspected(here, order.name)
    source = next(one["Source"] for one in said["Mounts"] if one["Destination"] == FOLDER)
    assert Path(source, SHORT).read_bytes() == VALUES[SHORT]
    assert is_in_memory(Path(source))
    assert order.name not in source
    engine = here.engine()
    url = "{0.base_url}/v{0.api_version}/events"
    span = {"since": f"{begun:.6f}", "until": f"{time.time():.6f}"}
    told = [
        json.dumps(said),
        ask(here, lambda api: api.get(url.format(api), params=span, timeout=10).text),
        json.dumps(ask(here, lambda api: api.containers(all=True))),
        "\n".join(engine.logs(order.name, 100)),
    ]
    value = VALUES[SHORT].decode()
    assert len(told[1]) > 100
    assert [value in one or VALUES[LONG][:40].decode() in one for one in told] == [False] * 4
    engine.stop(order.name, 0.0)
    assert not Path(source).exists()
    engine.remove(order.name)
    assert value not in (here.home / "instances" / ".ended" / order.name / "record.json").read_text()


def test_secrets_of_launchers_that_were_killed_are_swept(here: World, bench: Bench) -> None:
    folder = RUN / short(digest(here.owner))
    left = folder / "left-by-somebody"
    bench.client().launch(bench.order("a", SLEEPER, secrets=(Pin(SHORT, 1, ""),)))
    left.mkdir()
    (left / "launcher").write_text("1:1")
    (left / "secrets").mkdir()
    (left / "secrets" / SHORT).write_bytes(VALUES[SHORT])
    bench.client().launch(bench.order("b", SLEEPER))
    assert not left.exists()
    for name in ("a", "b"):
        bench.end(name)
    assert list(folder.iterdir()) == []


# ------------------------------------------------------------------ lives


def test_one_that_somebody_restarted_has_ended_and_is_taken_away(here: World, bench: Bench) -> None:
    order = bench.order("a", POLITE)
    bench.client().launch(order)
    assert bench.waits_for_line("a", "running")
    ask(here, lambda api: api.update_container(order.name, restart_policy={"Name": "always"}))
    ask(here, lambda api: api.restart(order.name, timeout=0))
    seen = bench.find("a")
    assert seen is not None
    assert (seen.is_alive, seen.is_listening, seen.pid, seen.ended) == (False, False, 0, "restarted by somebody")
    bench.client().remove(order.name)
    assert bench.find("a") is None
    assert bench.processes(bench.mark) == ()


def test_one_that_somebody_removed_is_simply_gone(here: World, bench: Bench) -> None:
    order = bench.order("a", SLEEPER)
    client = bench.client()
    client.launch(order)
    assert len(client.instances(bench.scope)) == 1
    ask(here, lambda api: api.remove_container(order.name, force=True))
    assert client.instances(bench.scope) == ()
    client.stop(order.name, 1.0)
    client.remove(order.name)


def test_what_a_killed_launcher_made_is_no_instance_and_is_gone_on_with(here: World, bench: Bench) -> None:
    """As if it had been killed after it made the container, and before it started it."""
    engine = here.engine()
    first, second = bench.order("a", SLEEPER), bench.order("b", SLEEPER)
    for order in (first, second):
        _kill(_made_elsewhere(here, order, "instance"))
    assert engine.instances(bench.scope) == ()
    with pytest.raises(NotFound):
        engine.logs(first.name, 5)
    engine.launch(first)
    assert [one.name for one in engine.instances(bench.scope)] == [first.name]
    engine.launch(bench.order("c", SLEEPER))  # which sweeps
    assert ask(here, lambda api: api.containers(all=True, filters={"name": second.name})) == []


def test_a_throwaway_of_a_killed_caller_is_ended_by_the_next_call(here: World, bench: Bench) -> None:
    order = bench.order("r", SLEEPER)
    process = _made_elsewhere(here, order, "throwaway")
    ask(here, lambda api: api.start(order.name))
    bench.client().run(bench.order("x", "pass"), 30.0)
    assert bench.processes(bench.mark) != ()  # its caller is still there
    _kill(process)
    bench.client().run(bench.order("x", "pass"), 30.0)
    assert bench.processes(bench.mark) == ()


def _made_elsewhere(here: World, order: Order, kind: str) -> subprocess.Popen[bytes]:
    """Return the process that has made a container, and not started it; it waits to be killed."""
    process = here.elsewhere(order, kind)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == [b"ready\n", b"launched\n"]
    return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_what_is_kept_of_an_instance_is_what_a_collection_looks_for(here: World, bench: Bench) -> None:
    client = bench.client()
    order = bench.order("a", "print('hello')", environment=(("GREETING", "hi"),), port=8000, service="web")
    client.launch(order)
    assert bench.waits_for("a", lambda one: not one.is_alive)
    client.remove(order.name)
    archive = Archive(here.home / "instances", here.owner)
    (found,) = [one for one in archive.remains() if one.name == order.name]
    assert (found.group, found.scope.project) == ("web-g1", bench.mark)
    assert client.logs(order.name, 5) == ("hello",)
    archive.discard([order.name], is_dry=False)
    with pytest.raises(NotFound):
        client.logs(order.name, 5)


# ------------------------------------------------------------------ the network


def test_it_is_reached_at_its_address_and_reaches_this_machine_at_the_gateway(here: World, bench: Bench) -> None:
    bench.client().launch(bench.order("web", WEB, port=8000))
    seen = bench.waits_for("web", lambda one: one.is_listening)
    assert seen is not None
    with urllib.request.urlopen(f"http://{seen.host}:{seen.port}/", timeout=5) as answer:
        assert answer.read() == b"hello"
    gateway = here.engine().inside(bench.scope)
    with socket.create_server((gateway, 0)) as server:
        bench.client().launch(bench.order("caller", CALLER, gateway, str(server.getsockname()[1])))
        server.settimeout(10)
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"from the edge")
    assert bench.waits_for_line("caller", "from the edge")


def test_a_network_that_somebody_removed_is_made_anew_and_who_was_to_be_told_otherwise_is_not_launched(
    here: World, bench: Bench
) -> None:
    engine, name, other = here.engine(), name_of(bench.scope), f"{bench.mark}-other"
    known = engine.inside(bench.scope)
    (told,) = ask(here, lambda api: api.networks(names=[name]))
    ask(here, lambda api: api.remove_network(name))
    taken = {"Config": [{"Subnet": told["IPAM"]["Config"][0]["Subnet"]}]}
    ask(here, lambda api: api.create_network(other, ipam=taken))  # so that it can't have the same address again
    try:
        with pytest.raises(EngineError) as caught:
            engine.launch(bench.order("a", SLEEPER))
        assert known in caught.value.what
        assert engine.inside(bench.scope) != known
        engine.launch(bench.order("b", SLEEPER))
        assert [one.name for one in engine.instances(bench.scope)] == [f"{bench.mark}-b"]
    finally:
        ask(here, lambda api: api.remove_network(other))


def test_one_that_listens_for_itself_alone_is_not_ready(here: World, bench: Bench) -> None:
    order = bench.order("a", SERVER, port=8000, environment=(("LISTEN", "127.0.0.1"), ("PORT", "8000")))
    bench.client().launch(order)
    assert bench.waits_for_line("a", "listening")
    seen = bench.find("a")
    assert seen is not None
    assert (seen.is_alive, seen.is_listening) == (True, False)


def test_a_folder_of_the_image_can_be_writable(bench: Bench) -> None:
    made = bench.output(
        "a", "import os; open('/etc/x', 'w').close(); print(len(os.listdir('/etc')))", writable=("/etc",)
    )
    assert made >= 1


def test_no_port_is_published_and_no_power_is_left(here: World, bench: Bench) -> None:
    bench.client().launch(bench.order("a", SERVER, port=8000))
    said = inspected(here, f"{bench.mark}-a")
    assert (said["NetworkSettings"]["Ports"] or {}, said["HostConfig"]["PortBindings"] or {}) == ({}, {})
    assert int(said["Config"]["User"].partition(":")[0]) >= 700_000
    assert Path(f"/proc/{said['State']['Pid']}").stat().st_uid >= 700_000
