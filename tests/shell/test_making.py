"""The workshop and its image gate, on a real project, a real state and real instances."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anew import views
from anew.__main__ import _parts
from anew.errors import GateClosed
from anew.model import Release, Scope
from anew.shell.clock import SystemClock
from anew.shell.journal import Journal
from anew.shell.making import Workshop
from anew.shell.throwaways import GATE, Throwaways

API = """
import http.server, os
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(STATUSES.get(self.path, 404))
        self.end_headers()
    def log_message(self, *args): pass
STATUSES = {statuses!r}
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers).serve_forever()
"""
WEB = """
import http.server, os, urllib.request
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200
        if self.path != "/healthz":
            try:
                urllib.request.urlopen(os.environ["API_URL"] + {path!r}, timeout=5)
            except Exception as e:
                status = 502
        self.send_response(status)
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers).serve_forever()
"""
SPEC = """
project: shop
os:
  base: {host: true}
services:
  web:
    os: base
    copy: {web.py: /srv/}
    command: [python3, /srv/web.py]
    http: {health: /healthz}
    needs: [api]
    tests: [{http: {get: /}, eventually: 1s}]
    rollout: {ready: 5s, grace: 1s}
  api:
    os: base
    copy: {api.py: /srv/}
    command: [python3, /srv/api.py]
    http: {health: /healthz}
    secrets: [password]
    rollout: {ready: 5s, grace: 1s}
environments:
  local: {}
"""
BOTH = {"/healthz": 200, "/v1": 200, "/v2": 200}
ONLY_V2 = {"/healthz": 200, "/v2": 200}


class Bench:
    """A project with its state and its workshop."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        (self.root / "anew.yaml").write_text(SPEC)
        home = folder / "home"
        home.mkdir()
        self.journal = Journal(home / "state.db", SystemClock())
        self.parts = _parts(home, self.root, self.journal)
        throwaways = Throwaways(home / "trials", self.journal.owner)
        self.workshop = Workshop(self.root, self.journal, self.parts, throwaways)
        self.lines: list[str] = []

    def write(self, *, asks: str = "/v1", offers: dict[str, int] | None = None) -> None:
        (self.root / "web.py").write_text(WEB.format(path=asks))
        (self.root / "api.py").write_text(API.format(statuses=offers or BOTH))

    def release(self, *, asks: str = "/v1", offers: dict[str, int] | None = None) -> Release:
        self.write(asks=asks, offers=offers)
        return self.workshop.release(self.workshop.spec(), self.lines.append)

    def test(self, *services: str) -> dict[str, views.Tested]:
        spec = self.workshop.spec()
        parts = [part for part, _ in self.workshop.build(spec, services, self.lines.append)]
        tested = self.workshop.test(spec, parts, self.lines.append)
        return {one.service: one for one in tested}

    def assert_clear(self) -> None:
        scope = Scope("shop", GATE, self.journal.owner)
        assert self.parts.compute(scope).instances(scope) == ()


@pytest.fixture
def bench() -> Iterator[Bench]:
    if os.geteuid():
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory(prefix="anew-making-") as folder:
        Path(folder).chmod(0o755)  # instances run as another uid, and have to get there
        yield Bench(Path(folder))


def test_one_service_is_tested_with_what_it_needs_though_only_it_was_asked_for(bench: Bench) -> None:
    bench.write()
    tested = bench.test("web")
    assert list(tested) == ["web"]
    assert tested["web"].results == (("ready, health /healthz", ""), ("http GET /", ""))
    bench.assert_clear()


def test_a_callee_that_changed_tests_its_callers_again(bench: Bench) -> None:
    def reused() -> dict[str, bool]:
        return {name: one.is_reused for name, one in bench.test().items()}

    bench.write()
    assert reused() == {"web": False, "api": False}
    assert reused() == {"web": True, "api": True}
    assert [line for line in bench.lines if "on this very image, with api, stands" in line] != []
    bench.write(offers=BOTH | {"/v3": 200})
    assert reused() == {"web": False, "api": False}
    bench.write(asks="/v2", offers=BOTH | {"/v3": 200})
    assert reused() == {"web": False, "api": True}
    bench.assert_clear()


def test_a_broken_callee_closes_the_gate_of_its_caller_by_its_name(bench: Bench) -> None:
    (bench.root / "web.py").write_text(WEB.format(path="/v1"))
    (bench.root / "api.py").write_text("raise SystemExit('no luck')")
    tested = bench.test("web")
    assert tested["web"].results == (("needs api", "the instance ended: exit code 1\n  | no luck"),)
    with pytest.raises(GateClosed) as closed:
        bench.workshop.release(bench.workshop.spec(), bench.lines.append)
    assert closed.value.facts["web: needs api"].startswith("the instance ended")
    assert bench.journal.releases.all("shop") == ()
    bench.assert_clear()


def test_a_verdict_that_is_bad_is_not_reused(bench: Bench) -> None:
    bench.write(asks="/nothing")
    for _ in range(2):
        web = bench.test("web")["web"]
        assert (web.is_passed, web.is_reused) == (False, False)


def test_ports_are_given_back(bench: Bench) -> None:
    bench.write()
    bench.test()
    with bench.journal._database.reading():
        assert bench.journal._database.rows("lent_ports") == []


def test_an_old_caller_that_the_new_callee_serves_passes_and_is_not_tested_twice(bench: Bench) -> None:
    old, new = bench.release(), bench.release(asks="/v2", offers=BOTH | {"/v3": 200})
    bench.lines.clear()
    (tested,) = bench.workshop.test_skew("shop", old, new, bench.lines.append)
    assert (tested.service, tested.is_passed, tested.is_reused) == ("web", True, False)
    assert "the old web with the new api: http GET /: passed" in bench.lines
    bench.lines.clear()
    (tested,) = bench.workshop.test_skew("shop", old, new, bench.lines.append)
    assert tested.is_reused
    (line,) = bench.lines
    assert line.startswith("the old web with the new api: the verdict of ")
    bench.assert_clear()


def test_an_old_caller_that_the_new_callee_does_not_serve_closes_the_gate(bench: Bench) -> None:
    old, new = bench.release(), bench.release(asks="/v2", offers=ONLY_V2)
    with pytest.raises(GateClosed) as closed:
        bench.workshop.test_skew("shop", old, new, bench.lines.append)
    error = closed.value
    assert error.what == ("the old web (r1) fails with the new api: http GET /: GET /: status 502, wanted 200")
    assert (error.where, list(error.facts)) == (
        "anew.yaml services.api",
        ["the old web with the new api: http GET /"],
    )
    bench.assert_clear()


def test_nothing_is_tried_where_only_one_of_two_changed(bench: Bench) -> None:
    old, new = bench.release(), bench.release(offers=BOTH | {"/v3": 200})
    assert bench.workshop.test_skew("shop", old, new, bench.lines.append) == ()
    assert bench.workshop.test_skew("shop", old, old, bench.lines.append) == ()
