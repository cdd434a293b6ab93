"""The load generator counts every request, and says honestly what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from anew.errors import EngineError
from anew.testing.http_client import Broken, Connection
from anew.testing.load import Figures, Generator, Load
from anew.testing.load_process import LoadProcess

OK = b"HTTP/1.1 200 OK\r\nX-Release: r1\r\nContent-Length: 2\r\n\r\nok"
Behaviour = Callable[[socket.socket, int], None]  # is given a connection and its ordinal


def read_request(connection: socket.socket) -> bool:
    """Return whether a whole request came before the end."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = connection.recv(4096)
        if not more:
            return False
        data += more
    return True


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[int]:
    """Listen on a free port; each connection gets a thread that behaves as told and then closes it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    threads: list[threading.Thread] = []

    def one(connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            behaviour(connection, number)

    def accept() -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(connection, number)))
                threads[-1].start()
                number += 1

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join(10)


def answer_always(connection: socket.socket, _: int) -> None:
    while read_request(connection):
        connection.sendall(OK)


def generate(port: int, **changes: float) -> Figures:
    load = {"keep_alive": 1, "fresh": 0, "slow": 0, "rate": 50.0, "seconds": 1.0, "patience": 1.0, **changes}
    return asyncio.run(Generator(Load(port, **load)).run(lambda _: None))  # type: ignore[arg-type]


def test_every_request_is_counted_once_and_by_its_answerer() -> None:
    with serving(answer_always) as port:
        begun = time.time()
        figures = generate(port, keep_alive=2, fresh=2, slow=1, most=40, rate=200.0)
    assert (figures.sent, figures.answered, figures.dropped, figures.in_flight) == (40, 40, 0, 0)
    assert figures.by_status == {"200": 40}
    assert figures.by_release["r1"].answered == 40
    assert begun <= figures.by_release["r1"].first_sent <= figures.by_release["r1"].last_sent <= time.time()
    assert set(figures.by_kind) == {"keep-alive", "fresh", "slow"}


def test_a_refused_connection_is_a_dropped_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    figures = generate(port, most=3)
    assert (figures.sent, figures.answered, figures.dropped) == (3, 0, 3)
    assert "Connect call failed" in figures.drops[0].why


def test_half_an_answer_is_a_dropped_request_even_on_a_connection_that_served_before() -> None:
    def half(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(OK)
        read_request(connection)
        connection.sendall(OK[:-1])

    with serving(half) as port:
        figures = generate(port, most=2)
    assert (figures.sent, figures.answered, figures.dropped, figures.retried) == (2, 1, 1, 0)


def test_an_answer_that_does_not_end_in_time_is_a_dropped_request() -> None:
    released = threading.Event()

    def hang(connection: socket.socket, _: int) -> None:
        read_request(connection)
        released.wait(10)

    with serving(hang) as port:
        figures = generate(port, most=1, patience=0.2)
        released.set()
    assert (figures.dropped, figures.drops[0].why) == (1, "no complete answer in 0.2 s")


def test_a_connection_closed_while_idle_costs_nothing_but_is_counted() -> None:
    def once(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(OK)

    with serving(once) as port:
        figures = generate(port, most=5, rate=20.0)
    assert (figures.answered, figures.dropped, figures.retried, figures.reopened) == (5, 0, 0, 4)


def close_on_second_request(connection: socket.socket, _: int) -> None:
    if read_request(connection):
        connection.sendall(OK)
        read_request(connection)


def test_a_request_lost_to_the_closing_of_a_used_connection_is_sent_once_more_and_counted() -> None:
    with serving(close_on_second_request) as port:
        figures = generate(port, most=4)
    assert (figures.sent, figures.answered, figures.dropped, figures.retried) == (4, 4, 0, 3)


def test_a_new_connection_that_closes_without_an_answer_is_never_tried_again() -> None:
    def close(connection: socket.socket, _: int) -> None:
        read_request(connection)

    with serving(close) as port:
        figures = generate(port, most=3)
    assert (figures.dropped, figures.retried) == (3, 0)


def test_a_server_that_says_close_gets_a_new_connection() -> None:
    def close(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(OK.replace(b"X-Release", b"Connection: close\r\nX-Release"))

    with serving(close) as port:
        figures = generate(port, most=3)
    assert (figures.answered, figures.reopened, figures.connections) == (3, 0, 3)


def test_errors_are_counted_for_the_one_who_answered() -> None:
    def fail(connection: socket.socket, _: int) -> None:
        while read_request(connection):
            connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    with serving(fail) as port:
        figures = generate(port, most=3)
    assert figures.by_release["edge"].errors == 3


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
    ],
)
def test_every_way_to_end_a_body_is_understood(answer: bytes, body: bytes) -> None:
    async def ask(port: int) -> bytes:
        connection = await Connection.open("127.0.0.1", port)
        try:
            return (await connection.ask("/")).body
        finally:
            connection.close()

    def say(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(answer)

    with serving(say) as port:
        assert asyncio.run(ask(port)) == body


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"\r\n\r\n"])
def test_what_is_not_http_breaks_the_exchange(answer: bytes) -> None:
    async def ask(port: int) -> None:
        await (await Connection.open("127.0.0.1", port)).ask("/")

    def say(connection: socket.socket, _: int) -> None:
        read_request(connection)
        connection.sendall(answer)

    with serving(say) as port, pytest.raises(Broken):
        asyncio.run(ask(port))


def test_load_of_its_own_process_is_fast_and_cheap_and_ends_when_asked() -> None:
    with serving(answer_always) as port, LoadProcess(Load(port, rate=500.0, slow=0, seconds=30.0)) as load:
        until = time.monotonic() + 20
        while load.figures().seconds < 2 and time.monotonic() < until:
            time.sleep(0.05)
        figures = load.stop()
        assert load.stop() == figures
    assert figures.dropped == 0
    assert figures.is_final
    assert figures.cpu < 0.4 * figures.seconds + 1.0  # what it costs to start belongs to it too


def test_load_of_its_own_process_ends_with_the_one_who_started_it() -> None:
    with serving(answer_always) as port:
        command = [sys.executable, "-m", "anew.testing.load", "--tied", f"--port={port}", "--seconds=60", "--slow=0"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert json.loads(process.stdout.readline())["is_final"] is False
            process.stdin.close()
            last = process.stdout.read().splitlines()[-1]
            assert process.wait(20) == 0
    assert json.loads(last)["is_final"] is True


def test_a_generator_that_can_not_run_says_its_command() -> None:
    with LoadProcess(Load(1, rate=0.0)) as load, pytest.raises(EngineError) as caught:
        load.stop()
    assert "anew.testing.load" in caught.value.facts["command"]
    assert "ZeroDivisionError" in caught.value.facts["output"]
