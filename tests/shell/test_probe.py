"""Health checks against a real server whose health the test turns on and off."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from anew.shell.asking import PATIENCE
from anew.shell.clock import SystemClock
from anew.shell.probe import CALM, EAGER, REST, STRIKES, TRUST, YOUNG, Probed, Prober


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.send_response(self.server.health())
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the class above it calls it
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
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
    made.watch({"one": ("127.0.0.1", server.server_port, "/healthz")})
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


def test_nobody_listening_is_said_in_words(prober: Prober) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as gone:
        free = gone.server_port
    prober.watch({"two": ("127.0.0.1", free, "/")})
    prober.settle()
    assert "refused" in prober.readings()["two"].says


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.0 200\n\n", ""),
        (b"HTTP/1.1 200 OK\r\nServer: x", ""),  # and then the connection ends
        (b"HTTP/1.1 204 No Content\r\n\r\n", "/ answers 204"),
        (b"SSH-2.0-OpenSSH\r\n", "/ answers what is no HTTP"),
        (b"", "the connection was closed without an answer"),
    ],
)
def test_whatever_is_answered_is_told_from_health(answer: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        made = Prober(SystemClock(), lambda: None)
        made.watch({"one": ("127.0.0.1", one.getsockname()[1], "/")})
        line, _ = one.accept()
        assert b"GET / HTTP/1.1\r\n" in line.recv(4096)
        for byte in answer:
            line.send(bytes([byte]))
        line.close()
        probed = until(made, lambda p: p.is_checked)
        made.close()
    assert (probed.says, probed.is_ready) == (says, not says)


def test_who_accepts_and_never_answers_is_given_up_and_keeps_nobody_else_waiting(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=300) as mute:
        made = Prober(SystemClock(), lambda: None)
        ports = {f"mute{n}": ("127.0.0.1", mute.getsockname()[1], "/") for n in range(20)}
        began = time.monotonic()
        made.watch({**ports, "one": ("127.0.0.1", server.server_port, "/")})
        until(made, lambda p: p.is_ready)
        assert time.monotonic() - began < PATIENCE
        made.settle()
        assert {made.readings()[name].says for name in ports} == {"timed out"}
        made.close()


def test_at_rest_those_ready_for_long_are_asked_rarely_and_in_turns(server: Server) -> None:
    asked: list[float] = []

    def health() -> int:
        asked.append(time.monotonic())
        return 200

    server.health = health
    clock = Ahead()
    made = Prober(clock, lambda: None)
    targets = {f"i{n}": ("127.0.0.1", server.server_port, "/") for n in range(30)}
    made.watch(targets, may_rest=True)
    made.settle()
    clock.ahead = REST / TRUST + 1  # as if they had been ready for so long
    time.sleep(CALM)  # the last of the eager checks
    asked.clear()
    time.sleep(3.0)
    at_rest = len(asked)
    assert at_rest < 30
    made.watch(targets, may_rest=False)
    asked.clear()
    time.sleep(2.0)
    assert len(asked) > 30  # a rollout began: each is asked again within a second
    made.close()


class Ahead(SystemClock):
    """A clock whose wall time can be put forward."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


def test_a_pause_is_eager_after_a_change_and_grows_with_trust_only_at_rest() -> None:
    clock = Ahead()
    made = Prober(clock, lambda: None)
    made.close()
    young, since = YOUNG / 2, clock.now()
    pauses = {}
    for age in (young, 2 * YOUNG, 10 * REST / TRUST):
        clock.ahead = age
        one = Probed("127.0.0.1", 1, "/", is_ready=True, since=since)
        made._may_rest = False
        busy = made._pause(one)
        made._may_rest = True
        pauses[age] = (busy, made._pause(one))
    assert pauses[young] == (EAGER, EAGER)
    assert pauses[2 * YOUNG][0] == CALM
    assert CALM <= pauses[2 * YOUNG][1] < 1.3 * CALM
    busy, rest = pauses[10 * REST / TRUST]
    assert busy == CALM
    assert 0.7 * REST <= rest <= REST


def test_a_prober_may_be_closed_at_any_moment(server: Server) -> None:
    for number in range(100):
        made = Prober(SystemClock(), lambda: None)
        made.watch({"one": ("127.0.0.1", server.server_port, "/healthz")})
        if number % 2:
            made.settle()
        made.close()
        made.close()
