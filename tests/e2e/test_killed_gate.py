"""Who is killed in the image gate leaves instances; who comes next ends them, and none of those who live."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from anew.testing.rig import Rig

SPEC = """
project: {project}
os:
  base: {{host: true}}
services:
  web:
    os: base
    command: [sh, -c, 'exec python3 -m http.server --bind 127.0.0.1 "$PORT"']
    http: {{health: /}}
    flags: &flags {{RELEASE: {release}}}
    tests: &tests [{{run: [python3, -c, "{code}"], eventually: 60s}}]
  queue:  # it has no port
    os: base
    command: [sleep, "1000"]
    ready_after: 100ms
    flags: *flags
    tests: *tests
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""
WAITING = "import socket; raise SystemExit(socket.create_connection(('127.0.0.1', {port})).recv(1) != b'!')"
LIMIT = 60.0


def write(project: Rig, release: str, code: str) -> None:
    project.root.mkdir(exist_ok=True)
    text = SPEC.format(project=project.project, release=release, code=code, port=project.port)
    (project.root / "anew.yaml").write_text(text)


@contextmanager
def in_the_gate(project: Rig, release: str) -> Iterator[tuple[subprocess.Popen[bytes], list[socket.socket]]]:
    """Start `anew test`; yield it when its tests have begun, with the connections on which they wait for a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        listening.settimeout(LIMIT)
        write(project, release, WAITING.format(port=listening.getsockname()[1]))
        command = [sys.executable, "-m", "anew", "-C", str(project.root), "test"]
        running = subprocess.Popen(command, env={**os.environ, "ANEW_HOME": str(project.home)})
        stack.callback(running.wait, LIMIT)
        stack.callback(running.kill)
        yield running, [stack.enter_context(listening.accept()[0]) for _ in range(2)]


def instances(project: Rig) -> set[str]:
    """Return the throwaway instances that were not removed."""
    return {one.name for one in (project.home / "instances").glob(f"{project.project}-gate-*")}


def borrowers(project: Rig) -> set[int]:
    """Return the processes to which ports are lent."""
    with sqlite3.connect(project.home / "state.db") as state:
        found = {pid for (pid,) in state.execute("select pid from lent_ports")}
    state.close()
    return found


def test_gc_ends_what_the_killed_left_in_the_gate_and_not_what_the_living_use(project: Rig) -> None:
    with in_the_gate(project, "r1") as (killed, _):
        left = instances(project)
        assert len(left) == 2
        with in_the_gate(project, "r2") as (living, connections):
            killed.send_signal(signal.SIGKILL)
            killed.wait(LIMIT)
            used = instances(project) - left
            assert (len(used), borrowers(project)) == (2, {killed.pid, living.pid})
            assert all(f"throwaway instance {one}" in project.expect("gc", "--dry-run") for one in left)
            assert instances(project) == left | used
            said = project.expect("gc")
            assert all(f"throwaway instance {one}" in said for one in left)
            assert (instances(project), borrowers(project)) == (used, {living.pid})
            for one in connections:
                one.sendall(b"!")
            assert living.wait(LIMIT) == 0
    assert (instances(project), borrowers(project)) == (set(), set())
    assert list((project.home / "trials").glob("*.*")) == [project.home / "trials" / ".lock"]
    assert project.expect("gc").count("throwaway") == 0


@pytest.mark.parametrize("command", ["test", "up"])
def test_the_next_who_tests_ends_what_the_killed_left(project: Rig, command: str) -> None:
    with in_the_gate(project, "r1") as (killed, _):
        left = instances(project)
        killed.send_signal(signal.SIGKILL)
        killed.wait(LIMIT)
    assert (instances(project), len(left)) == (left, 2)
    write(project, "r2", "print()")
    said = project.expect(command)
    assert all(one in said for one in left)
    assert (instances(project), borrowers(project)) == (set(), set())
