"""A Prometheus that says what a release does to the business: it decides stages, and takes back what was promoted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from anew.testing.rig import Rig, free_port, rig

SPEC = """
project: rig
os:
  base: {{host: true}}
services:
  worker:
    os: base
    command: [sleep, "{salt}"]
    size: 2
    ready_after: 200ms
    rollout:
      stages: [50%]
      each: 500ms
      at_most: {at_most}
      on_undecided: rollback
      warm: 60s
      judge:
        acceptable: 5%
        criteria:
          orders: {{prometheus: "http://127.0.0.1:{metrics}", good: good $group, bad: bad $group}}
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""


@dataclass
class Metrics:
    """Counts that grow by themselves: 200 per second of each group, of which some are bad."""

    bad: dict[str, float] = field(default_factory=dict)  # by group: the part
    counts: dict[str, list[float]] = field(default_factory=dict)  # by group: good, bad
    at: float = field(default_factory=time.monotonic)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, query: str) -> str:
        which, group = query.split()
        with self.guard:
            now = time.monotonic()
            self.counts.setdefault(group, [0.0, 0.0])
            for name, both in self.counts.items():
                both[0] += 200 * (now - self.at) * (1 - self.bad.get(name, 0.0))
                both[1] += 200 * (now - self.at) * self.bad.get(name, 0.0)
            self.at = now
            value = self.counts[group][which == "bad"]
        result = [{"metric": {}, "value": [time.time(), f"{value:.0f}"]}]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


@dataclass
class Place:
    rig: Rig
    metrics: Metrics
    port: int

    def write(self, salt: int, *, at_most: str = "30s", metrics: int = 0) -> None:
        self.rig.root.mkdir(parents=True, exist_ok=True)
        said = SPEC.format(salt=salt, at_most=at_most, metrics=metrics or self.port, port=self.rig.port)
        (self.rig.root / "anew.yaml").write_text(said)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    metrics = Metrics()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = metrics.answer(parse_qs(urlsplit(self.path).query)["query"][0]).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server, rig() as one:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = Place(one, metrics, server.server_address[1])
        found.write(1001)
        one.expect("up")
        yield found
        server.shutdown()


def test_a_release_that_harms_the_business_is_taken_back_in_its_stage(place: Place) -> None:
    place.metrics.bad["worker-g2"] = 0.3
    place.write(1002)
    done = place.rig.anew("up", "--json")
    assert done.returncode == 6, done.stdout + done.stderr
    assert "were bad by orders" in json.loads(done.stdout)["error"]["what"]
    place.rig.wait(place.rig.is_idle, limit=20, what="the failed group is disposed of")


def test_where_nobody_answers_there_is_no_evidence_and_that_is_told(place: Place) -> None:
    place.write(1003, at_most="3s", metrics=free_port())
    done = place.rig.anew("up", "--json")
    assert done.returncode == 6, done.stdout + done.stderr
    what = json.loads(done.stdout)["error"]["what"]
    assert "worker-g3/orders can't be counted" in what
    assert "Connection refused" in what
    place.rig.wait(place.rig.is_idle, limit=20, what="the failed group is disposed of")


def test_a_good_release_passes_and_is_taken_back_when_it_turns_bad_while_the_old_one_is_warm(place: Place) -> None:
    place.write(1004)
    place.rig.expect("up")
    assert place.rig.status()["serving"] == "g4"
    place.metrics.bad["worker-g4"] = 0.9
    place.rig.wait(lambda: place.rig.status()["serving"] == "g1", limit=30, what="it goes back")
    assert "were bad by orders" in place.rig.expect("history", "-n", "50")
