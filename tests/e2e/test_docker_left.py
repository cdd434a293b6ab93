"""What killed commands leave in a container engine is ended, and what can't be ended is said."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anew.engines.docker.client import Client
from anew.errors import AnewError
from anew.testing.containers import name_of
from anew.testing.rig import Rig, rig


@pytest.fixture(scope="module")
def project() -> Iterator[Rig]:
    try:
        Client().require_reach()
    except AnewError as cause:
        pytest.skip(f"no container engine: {cause.what}")
    with rig(engine="docker", size=1, ready="60s") as one:
        one.write("one")
        one.expect("up", limit=300.0)
        one.wait(one.is_idle, limit=60.0, what="the keeper has nothing left to do")
        yield one


def throwaways(project: Rig) -> list[str]:
    found = project.containers.containers(project.owner())
    return [one["Labels"]["anew.name"] for one in found if one["Labels"]["anew.kind"] == "throwaway"]


def running(project: Rig) -> tuple[subprocess.Popen[bytes], str]:
    """Begin an `anew run` that takes long; return it and the name of its throwaway instance."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may have been told to outlive their terminal
    caller = project.begin("run", "web", "--", "sleep", "600")
    signal.signal(signal.SIGHUP, before)
    project.wait(lambda: len(throwaways(project)) == 1, limit=30.0, what="it runs")
    (name,) = throwaways(project)
    return caller, name


def test_what_a_killed_run_leaves_is_told_and_ended(project: Rig) -> None:
    caller, left = running(project)
    assert f"throwaway instance {project.project}" not in project.expect("gc", "--dry-run")
    caller.kill()
    caller.wait(30.0)
    assert f"throwaway instance {left}" in project.expect("gc", "--dry-run")
    assert throwaways(project) == [left]
    project.expect("run", "web", "--", "true")  # as each launch does, and a keeper once a minute
    assert throwaways(project) == []
    assert "throwaway instance" not in project.expect("gc", "--dry-run")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_or_whose_terminal_went_leaves_nothing(project: Rig, number: int) -> None:
    caller, _ = running(project)
    os.kill(caller.pid, number)
    assert caller.wait(30.0) == -number
    assert throwaways(project) == []


def test_dispose_without_its_engine_changes_nothing_and_says_what_to_do(project: Rig, tmp_path: Path) -> None:
    before = [name_of(one) for one in project.containers.containers(project.owner())]
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(dead))
    note = project.home / "container-engine"
    real = note.read_text()
    for path, host, code in ((dead, dead, 7), (tmp_path / "none.sock", "", 5), (real.strip(), dead, 5)):
        note.write_text(f"{path}\n")
        project.environment = {"DOCKER_HOST": f"unix://{host}" if host else ""}
        done = project.anew("dispose")
        assert done.returncode == code
        said = " ".join(done.stderr.split())
        assert f"nothing in {project.project}/local was ended, and nothing is changed" in said
        assert "`anew dispose -e local` again" in said
        assert "gc" in said or project.expect("gc", "--dry-run").count("images in the container engine") == 1
    project.environment = {}
    note.write_text(real)
    assert [name_of(one) for one in project.containers.containers(project.owner())] == before
    assert project.status()["serving"] == "g1"
    project.expect("dispose")
    assert project.containers.containers(project.owner()) == []
    assert project.containers.networks(project.owner()) == []
    assert not note.exists()
    project.expect("dispose")
