"""The example: its releases behave as its table says, and its server loses nothing when it is told to end."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from anew.core.spec.parse import parse

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "hello"


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    port: int

    def ask(self, path: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers["X-Release"], answer.read().decode()


def laid(folder: Path, change: str) -> Path:
    app = folder / "app"
    shutil.copytree(EXAMPLE / "app", app, ignore=shutil.ignore_patterns("__pycache__"))
    if change != "r1":
        shutil.copytree(EXAMPLE / "changes" / change / "app", app, dirs_exist_ok=True)
    return app


@contextlib.contextmanager
def running(app: Path, greeting: str) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {"HOST": "127.0.0.1", "PORT": str(port), "GREETING": greeting, "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**os.environ, **own}
    command = [sys.executable, str(app / "server.py")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "listens" in process.stdout.readline()
        try:
            yield Running(process, port)
        finally:
            process.kill()


def test_the_spec_is_right() -> None:
    spec = parse((EXAMPLE / "anew.yaml").read_text("utf-8"))
    assert (spec.project, [service.name for service in spec.services]) == ("hello", ["web"])


@pytest.mark.parametrize(("change", "code"), [("r1", 0), ("r2", 0), ("r3", 0), ("r4", 0), ("r5", 1)])
def test_only_the_last_release_fails_its_own_test(tmp_path: Path, change: str, code: int) -> None:
    command = [sys.executable, "-B", "-m", "unittest", "discover", "-s", str(laid(tmp_path, change))]
    assert subprocess.run(command, capture_output=True, check=False).returncode == code


@pytest.mark.parametrize(
    ("change", "health", "statuses"), [("r1", 200, [200] * 10), ("r2", 200, [200] * 10), ("r3", 200, [200] * 4 + [500])]
)
def test_a_release_answers_as_its_table_says(tmp_path: Path, change: str, health: int, statuses: list[int]) -> None:
    with running(laid(tmp_path, change), "welcome") as one:
        assert one.ask("/healthz")[:2] == (health, change)
        assert [one.ask("/")[0] for _ in statuses] == statuses


def test_the_fourth_release_is_healthy_where_it_is_tested_but_not_in_local(tmp_path: Path) -> None:
    app = laid(tmp_path, "r4")
    with running(app, "hello") as tested:
        assert tested.ask("/healthz")[0] == 200
    with running(app, "welcome") as local:
        assert local.ask("/healthz")[0] == 503


def test_a_request_in_flight_is_answered_after_sigterm_and_idle_connections_do_not_delay_the_end(
    tmp_path: Path,
) -> None:
    with running(laid(tmp_path, "r1"), "hello") as one:
        idle = http.client.HTTPConnection("127.0.0.1", one.port, timeout=10)
        idle.request("GET", "/")
        idle.getresponse().read()
        answers: list[tuple[int, str, str]] = []
        asking = threading.Thread(target=lambda: answers.append(one.ask("/slow")))
        asking.start()
        time.sleep(0.5)  # the request takes two seconds; it has to be under way
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(10) == 0
        asking.join()
        idle.close()
    assert answers == [(200, "r1", "hello, this is r1\n")]
