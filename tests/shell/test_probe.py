"""Health checks against a real server whose health the test turns on and off."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from anew.shell.clock import SystemClock
from anew.shell.probe import STRIKES, Probed, Prober, check


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.send_response(self.server.health())
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the class above it calls it
        pass


class Server(http.server.ThreadingHTTPServer):
    health: Callable[[], int] = staticmethod(lambda: 200)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answers) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def prober(server: Server) -> Iterator[Prober]:
    made = Prober(SystemClock(), lambda: None)
    made.watch({"one": (server.server_port, "/healthz")})
    yield made
    made.close()


def until(prober: Prober, is_so: Callable[[Probed], bool]) -> Probed:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        one = prober.readings()["one"]
        if is_so(one):
            return one
        time.sleep(0.005)
    raise AssertionError(prober.readings())


def test_health_that_turns_bad_is_noticed_after_three_strikes(prober: Prober, server: Server) -> None:
    assert until(prober, lambda p: p.is_ready).falls == 0
    server.health = lambda: 503
    fallen = until(prober, lambda p: not p.is_ready)
    assert (fallen.falls, fallen.strikes >= STRIKES, fallen.says) == (1, True, "/healthz answers 503")


def test_health_that_flaps_faster_than_a_calm_check_is_seen_to_fall_again_and_again(
    prober: Prober, server: Server
) -> None:
    server.health = lambda: 200 if int(time.monotonic() * 4) % 2 else 503
    began = time.monotonic()
    until(prober, lambda p: p.falls >= 3)
    assert time.monotonic() - began < 10


def test_nobody_listening_is_said_in_words(server: Server) -> None:
    assert check(server.server_port, "/") == ""
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as gone:
        free = gone.server_port
    assert "refused" in check(free, "/")
