"""Services of every kind, together: who reaches whom, what runs when, and what is kept."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anew.testing.rig import Rig, free_port, rig

SPEC = """
project: rig
os:
  base: {{host: true}}
services:
  web:
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, /srv/app/web.py]
    http: {{}}
    needs: [api, echo]
    secrets: [token]
    rollout: &quick {{stages: [50%], each: {each}, at_most: {each}, ready: 10s, warm: {warm}, drain: 5s}}
  api:
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, /srv/app/api.py]
    http: {{}}
    flags: {{SALT: "{salt}"}}
    before: [{{run: [sh, -c, "{before}"]}}]
    volumes: {{notes: {{path: /srv/notes, shared: true}}}}
    rollout: *quick
  echo:
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, /srv/app/echo.py]
    tcp: {{}}
    expose: {{port: {tcp}}}
    flags: {{SALT: "{salt}"}}
    rollout: *quick
  worker:
    os: base
    command: [sh, -c, "{work}"]
    flags: {{SALT: "{salt}"}}
    size: 2
    ready_after: 200ms
    rollout: *quick
  keeper-of-one:
    os: base
    copy: {{app/: /srv/app/}}
    command: [sh, /srv/app/one.sh]
    singleton: true
    volumes: {{own: /srv/own}}
    flags: {{SALT: "{salt}"}}
    ready_after: 200ms
    rollout: *quick
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""
SERVE = """
import http.server, os, pathlib, signal, sys, threading, urllib.request, socket
SALT = os.environ.get("SALT", "")
class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = answer().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(0.05)
"""
API = (
    SERVE
    + """
LOG = pathlib.Path("/srv/notes/log")
def answer():
    return SALT + " " + (LOG.read_text().strip() if LOG.exists() else "nothing")
serve()
"""
)
WEB = (
    SERVE
    + """
def echoed():
    with socket.create_connection((os.environ["ECHO_HOST"], int(os.environ["ECHO_PORT"])), 5) as one:
        one.sendall(b"x")
        return one.recv(100).decode()
def answer():
    if not pathlib.Path("/run/secrets/token").read_text() == "sesame":
        return "no token"
    with urllib.request.urlopen(os.environ["API_URL"], timeout=5) as got:
        return got.read().decode() + " " + echoed()
serve()
"""
)
ECHO = """
import os, socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(100):
            self.request.sendall(os.environ["SALT"].encode() + b":" + data)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(("127.0.0.1", int(os.environ["PORT"])), Echo).serve_forever()
"""
ONE = """
date +%s.%N >> /srv/own/began
trap 'date +%s.%N >> /srv/own/ended; exit' TERM
while :; do sleep 0.05; done
"""
WORK = "exec sleep 600"


class Place:
    """A rig with all kinds of services."""

    def __init__(self, project: Rig) -> None:
        self.rig = project
        self.tcp = free_port()
        app = project.root / "app"
        app.mkdir(parents=True)
        for name, text in (("web", WEB), ("api", API), ("echo", ECHO)):
            (app / f"{name}.py").write_text(text)
        (app / "one.sh").write_text(ONE)

    def write(self, salt: str, *, work: str = WORK, before: str = "", **changes: str) -> None:
        before = before or f"echo {salt} >> /srv/notes/log"
        shape = {"salt": salt, "work": work, "before": before, "warm": "1s", "each": "500ms"} | changes
        (self.rig.root / "anew.yaml").write_text(SPEC.format(port=self.rig.port, tcp=self.tcp, **shape))

    def answer(self) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.rig.port}/", headers={"Host": "web.rig.localhost"})
        with urllib.request.urlopen(request, timeout=10) as got:
            return str(got.read().decode())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.tcp), 5)

    def groups(self) -> dict[str, tuple[int, int]]:
        services = self.rig.status()["services"]
        return {g["name"]: (g["weight"], g["ready"]) for s in services for g in s["groups"]}

    def volume(self, service: str, name: str) -> Path:
        return self.rig.home / "volumes" / "rig.local" / service / name


@pytest.fixture
def place() -> Iterator[Place]:
    with rig() as project:
        made = Place(project)
        made.write("one")
        assert project.anew("secret", "set", "token", text="sesame\n").returncode == 0
        project.expect("up")
        yield made


def said(connection: socket.socket) -> str:
    connection.sendall(b"y")
    return connection.recv(100).decode()


def test_a_caller_its_callees_a_secret_and_a_volume_move_together(place: Place) -> None:
    assert place.answer() == "one one one:x"
    with place.connect() as held:
        assert said(held) == "one:y"
        place.write("two")
        place.rig.expect("up")
        assert said(held) == "one:y"  # a connection stays where it is, until its group ends
        assert place.answer() == "two one\ntwo two:x"
        with place.connect() as fresh:
            assert said(fresh) == "two:y"
    place.rig.wait(place.rig.is_idle, limit=20, what="the warm window is over")
    assert place.groups() == {
        "api-g2": (1000, 1),
        "echo-g2": (1000, 1),
        "keeper-of-one-g2": (1000, 1),
        "web-g1": (1000, 1),
        "worker-g2": (1000, 2),
    }
    log = place.volume("keeper-of-one", "own")
    began, ended = (list(map(float, (log / name).read_text().split())) for name in ("began", "ended"))
    assert len(began) == 2
    assert ended[0] <= began[1]  # never two at once
    place.rig.expect("dispose")
    assert [line for line in place.rig.processes().values() if "serve" not in line] == []
    assert (place.volume("api", "notes") / "log").read_text() == "one\ntwo\n"


def test_a_release_whose_worker_dies_goes_back_whole(place: Place) -> None:
    place.write("two", work="sleep 0.7; exit 3", each="10s")
    done = place.rig.anew("up", "--json")
    assert done.returncode == 6, done.stdout + done.stderr
    assert "worker-g2 died" in json.loads(done.stdout)["error"]["what"]
    place.rig.wait(place.rig.is_idle, limit=20, what="the failed groups are disposed of")
    assert place.answer().startswith("one ")
    assert set(place.groups()) == {"api-g1", "echo-g1", "keeper-of-one-g1", "web-g1", "worker-g1"}


def test_what_must_run_before_stops_the_rollout_if_it_fails(place: Place) -> None:
    place.write("two", before="echo never >> /srv/notes/log; echo no schema; exit 4")
    done = place.rig.anew("up", "--json")
    assert done.returncode == 6, done.stdout + done.stderr
    what = json.loads(done.stdout)["error"]["what"]
    assert "before api-g2 failed" in what
    assert "exit code 4" in what
    assert place.answer() == "one one\nnever one:x"


def test_a_rollout_is_superseded_in_mid_stage(place: Place) -> None:
    place.write("two", before="true", each="60s")
    place.rig.expect("up", "--detach")
    place.rig.wait(
        lambda: str((place.rig.status()["rollout"] or {}).get("phase")).startswith("stage"), limit=30, what="a stage"
    )
    place.write("three")
    refused = place.rig.anew("up", "--json")
    assert refused.returncode == 4
    assert "--supersede" in json.loads(refused.stdout)["error"]["hint"]
    place.rig.expect("up", "--supersede")
    assert place.rig.status()["serving"] == "g3"
    assert place.answer().startswith("three ")
    assert "superseded by g3" in place.rig.expect("history", "-n", "200")
    # What was overtaken did not fail: it may come up without more ado.
    place.rig.wait(place.rig.is_idle, limit=20, what="the warm window is over")
    place.rig.expect("up", "r2", "--detach")
    place.rig.expect("abort")


def test_a_revoked_secret_closes_the_way_back(place: Place) -> None:
    held = place.rig.anew("secret", "revoke", "token", "--json")
    assert held.returncode == 4
    assert place.rig.anew("secret", "set", "token", text="sesame").returncode == 0
    listed = json.loads(place.rig.expect("secret", "list", "--json"))
    assert [(one["name"], one["version"]) for one in listed] == [("token", 1)]  # the same value is no new version
    assert place.rig.anew("secret", "set", "token", text="sesame!").returncode == 0
    (place.rig.root / "app" / "web.py").write_text(WEB.replace('"sesame"', '"sesame!"'))
    place.write("two", warm="60s")
    place.rig.expect("up")
    lost = json.loads(place.rig.expect("secret", "revoke", "token", "--version", "1", "--json"))
    assert lost["lost"] == ["g1"]
    refused = place.rig.anew("rollback", "g1", "--json")
    assert refused.returncode == 6
    assert "token v1" in json.loads(refused.stdout)["error"]["what"]
    assert place.answer().startswith("two ")


def test_a_command_runs_in_an_instance_like_those_that_serve(place: Place) -> None:
    code = "import os, urllib.request as u; print(u.urlopen(os.environ['API_URL']).read().decode())"
    assert place.rig.expect("run", "web", "--", "python3", "-c", code) == "one one\n"
    assert place.rig.anew("run", "web", "--", "sh", "-c", "exit 7").returncode == 7
    assert place.rig.anew("run", "nobody", "--", "true").returncode == 3


def test_what_is_killed_of_any_kind_comes_back(place: Place) -> None:
    place.rig.wait(place.rig.is_idle, limit=20, what="the keeper ends")
    before = place.groups()
    with serving(place.rig):
        for word in ("sleep 600", "echo.py"):
            os.kill(first_of_a_sandbox(place.rig, word), 9)
        place.rig.wait(
            lambda: place.rig.expect("history", "-n", "50").count("(died") == 2, limit=15, what="two deaths are noticed"
        )
        whole = {name: (1000, 2 if "worker" in name else 1) for name in before}
        place.rig.wait(lambda: place.groups() == whole, limit=15, what="all are back")
        assert place.answer() == "one one one:x"


def first_of_a_sandbox(project: Rig, word: str) -> int:
    """Return the first process inside of an instance that runs `word`: with it, all of the instance dies."""
    found = {pid for pid, line in project.processes().items() if "bwrap" in line and word in line}
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in found}
    return min(pid for pid in found if parents[pid] in found)


@contextmanager
def serving(project: Rig) -> Iterator[None]:
    """Keep the environment as long as the block runs."""
    environment = {**os.environ, "ANEW_HOME": str(project.home)}
    command = [sys.executable, "-m", "anew", "-C", str(project.root), "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as keeper:
        try:
            project.wait(lambda: not project.is_idle(), limit=10, what="a keeper")
            yield
        finally:
            keeper.terminate()
