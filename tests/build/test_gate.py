"""The image gate, on real instances of the embedded engine."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_root, quiet

from anew import model
from anew.build.gate import check
from anew.build.gate_ready import http_failure
from anew.build.gate_rehearsal import ENVIRONMENT, Place
from anew.engines.embedded.compute import Embedded
from anew.model import Actor, Copy, Http, Image, Part, Policy, Scope, Service, Trial

SERVER = """
import os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
began = time.monotonic()
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        late = self.path == "/late" and time.monotonic() - began < 1
        status = {"/healthz": 200, "/": 200, "/late": 200}.get(self.path, 404)
        self.send_response(503 if late else status)
        self.end_headers()
        self.wfile.write(f"hello {os.environ.get('GREETING')} {self.headers['Host']}".encode())
    def log_message(self, *args): pass
print("serving", flush=True)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
PYTHON = "/usr/bin/python3"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class World:
    """An engine, an image with the server, and what is said."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder)
        (self.project.root / "server.py").write_text(SERVER)
        self.service = Service(
            "web",
            "base",
            (PYTHON, "/srv/server.py"),
            copy=(Copy("server.py", "/srv/"),),
            http=Http("/healthz"),
            flags=(("GREETING", "you"),),
            policy=Policy(ready=5.0, grace=1.0),
        )
        self.image: Image = self.project.builder.build(self.project.spec, self.service, quiet)[0]
        self.engine = Embedded(self.project.home, self.project.store.tree, "tests")
        self.scope = Scope("shop", "local", "tests")
        self.lines: list[str] = []

    def check(self, *tests: model.Test, service: Service | None = None) -> dict[str, str]:
        tested = Part(replace(service or self.service, tests=tests), self.image)
        place = Place(self.scope, "0123abcd", free_port)
        results = check(self.engine, Trial((Actor(tested),)), place, self.lines.append)
        assert self.engine.instances(replace(self.scope, environment=ENVIRONMENT)) == ()
        return dict(results)


@pytest.fixture
def world() -> Iterator[World]:
    need_root()
    with tempfile.TemporaryDirectory(prefix="anew-gate-") as folder:
        Path(folder).chmod(0o755)  # instances run as another uid, and have to get there
        yield World(Path(folder))


def test_what_is_right_passes(world: World) -> None:
    tests = (
        model.Test(get="/", contains="hello you"),
        model.Test(get="/nothing", status=404),
        model.Test(run=(PYTHON, "-c", "print(1)")),
        model.Test(get="/preview", at="preview"),
    )
    assert world.check(*tests) == {
        "ready, health /healthz": "",
        "http GET /": "",
        "http GET /nothing": "",
        f"run {PYTHON} -c print(1)": "",
    }
    assert "web: http GET /: passed" in world.lines


def test_what_becomes_right_in_time_passes(world: World) -> None:
    assert world.check(model.Test(get="/late"))["http GET /late"] == ""


def test_what_stays_wrong_fails_when_its_bound_is_over(world: World) -> None:
    began = time.monotonic()
    results = world.check(
        model.Test(get="/", contains="goodbye", eventually=0.4),
        model.Test(get="/x", eventually=0.4),
        model.Test(run=(PYTHON, "-c", "print('why'); raise SystemExit(3)"), eventually=0.4),
        model.Test(run=(PYTHON, "-c", "import time; time.sleep(60)"), eventually=0.4),
    )
    assert time.monotonic() - began < 6
    reasons = list(results.values())
    assert reasons[0] == ""
    assert reasons[1].startswith("GET /: the answer does not contain 'goodbye'; it begins with 'hello you")
    assert "| serving" in reasons[1]
    assert reasons[2].startswith("GET /x: status 404, wanted 200")
    assert reasons[3].startswith("exit code 3\n  | why")
    assert reasons[4].startswith("did not end within 0.4 s")


def test_an_instance_that_dies_fails_at_once(world: World) -> None:
    dying = replace(
        world.service, command=(PYTHON, "-c", "print('no luck'); raise SystemExit(7)"), policy=Policy(ready=30)
    )
    began = time.monotonic()
    assert world.check(service=dying) == {
        "ready, health /healthz": "the instance ended: exit code 7\n  | no luck",
    }
    assert time.monotonic() - began < 5


def test_a_command_that_the_image_does_not_have_fails_at_once(world: World) -> None:
    began = time.monotonic()
    (reason,) = world.check(service=replace(world.service, command=("/no/such",), policy=Policy(ready=30))).values()
    assert "command not found: /no/such" in reason
    assert time.monotonic() - began < 5
    missing = world.check(model.Test(run=("/no/such",), eventually=30))["run /no/such"]
    assert missing.startswith("command not found in the image: /no/such")
    assert time.monotonic() - began < 10


def test_a_service_that_never_listens_or_is_never_healthy_fails(world: World) -> None:
    policy = Policy(ready=0.5, grace=1)
    deaf = replace(world.service, command=(PYTHON, "-c", "import time; time.sleep(60)"), policy=policy)
    (reason,) = world.check(service=deaf).values()
    assert reason.startswith("not ready within 0.5 s: it does not listen on $PORT")
    (reason,) = world.check(service=replace(world.service, http=Http("/sick"), policy=policy)).values()
    assert reason.startswith("not ready within 0.5 s: GET /sick: status 404, wanted 200\n  | serving")


def test_an_instance_that_dies_under_its_tests_fails(world: World) -> None:
    code = SERVER.replace("serve_forever()", "handle_request(); raise SystemExit('crashed')").replace(
        "HTTPServer((", "x = HTTPServer(("
    )
    (world.project.root / "server.py").write_text(code.replace("x = ", ""))
    world.image = world.project.builder.build(world.project.spec, world.service, quiet)[0]
    results = world.check(model.Test(get="/", eventually=20))
    assert "the instance ended: exit code 1" in "".join(results.values())
    assert "| crashed" in "".join(results.values())


def test_a_worker_must_stay_alive(world: World) -> None:
    worker = replace(world.service, http=None, command=(PYTHON, "-c", "import time; time.sleep(60)"))
    assert world.check(model.Test(run=(PYTHON, "-c", "")), service=worker) == {"starts": "", f"run {PYTHON} -c ": ""}
    (reason,) = world.check(service=replace(worker, command=(PYTHON, "-c", "raise SystemExit(2)"))).values()
    assert reason == "the instance ended: exit code 2"


def test_a_port_that_is_taken_meanwhile_is_chosen_again(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        trial = Trial((Actor(Part(world.service, world.image)),))
        place = Place(world.scope, "0123abcd", lambda: next(ports))
        assert check(world.engine, trial, place, quiet) == (("ready, health /healthz", ""),)


@contextmanager
def dripping(front: bytes, drop: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Serve one connection: a beginning, then a drop now and then while it is taken; yield port and request."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as one, suppress(OSError):
                heard.append(one.recv(1 << 16))
                one.sendall(front)
                while drop:
                    one.sendall(drop)
                    time.sleep(0.2)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join()


@pytest.mark.parametrize("front", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_an_answer_that_never_ends_is_none(front: bytes) -> None:
    began = time.monotonic()
    with dripping(front, b"x") as (port, _):
        failure = http_failure(model.Test(get="/"), "127.0.0.1", port, "x")
    assert failure == "GET /: no answer (TimeoutError: not complete after 5 s)"
    assert 4 < time.monotonic() - began < 8


def test_a_path_is_asked_for_as_addresses_are_written() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"") as (port, heard):
        assert http_failure(model.Test(get="/café?a=%20&b=[1]"), "127.0.0.1", port, "x") == ""
    assert heard[0].startswith(b"GET /caf%C3%A9?a=%20&b=[1] HTTP/1.1\r\n")


def test_an_http_test_is_told_in_one_sentence(world: World) -> None:
    assert world.image.is_host
    port = free_port()
    assert http_failure(model.Test(get="/"), "127.0.0.1", port, "x").startswith(
        "GET /: no answer (ConnectionRefusedError"
    )
