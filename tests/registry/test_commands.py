"""`anew push` and `anew pull` as people use them: between two states, killed in the middle, refused with a reason."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, serving, without_logins

from anew.testing.rig import Rig, rig
from anew.testing.roots import write_root

SPEC = """
project: rig
{registry}
os:
  base: {head}
services:
  web:
    os: base
    command: [/bin/sleep, "3600"]
    rollout: {{stages: [50%], each: 100ms, at_most: 300ms, warm: 1s}}
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""
LARGE = 120_000_000  # bytes: long enough to be killed on the way


def write(project: Rig, registry: str = "", head: str = "{tar: head.tar}") -> None:
    project.root.mkdir(exist_ok=True)
    line = f"registry: {registry}" if registry else ""
    (project.root / "anew.yaml").write_text(SPEC.format(registry=line, port=project.port, head=head))


def make(project: Rig, registry: str, size: int = 1000) -> None:
    """Make a release on a head with a file of some size."""
    write(project, registry)
    (project.root / "large").write_bytes(random.Random(size).randbytes(size))
    write_root(project.root / "head.tar", more={"srv/large": project.root / "large"})
    project.expect("up")


def answered(project: Rig, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(project.expect(*arguments, "--json")))


def trust(project: Rig, other: Rig) -> None:
    """Let a project believe what the key of another one says."""
    line = answered(other, "verify", "--key")["line"]
    spec = project.root / "anew.yaml"
    spec.write_text(f'{spec.read_text()}trust: ["{line} who builds"]\n')


def refused(project: Rig, code: int, *arguments: str) -> str:
    done = project.anew(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "registry") as one:
        yield one


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Rig, Rig]]:
    with rig() as here, rig() as there:
        for one in (here, there):
            one.environment = without_logins(tmp_path)
        yield here, there


def test_a_release_pulled_elsewhere_is_the_same_and_runs(server: Server, pair: tuple[Rig, Rig]) -> None:
    here, there = pair
    make(here, f"localhost:{server.port}/team/shop")
    write(there, f"localhost:{server.port}/team/shop")
    pushed = answered(here, "push")
    assert (pushed["release"], pushed["moved"]) == ("r1", pushed["size"])
    pulled = answered(there, "pull", "r1")
    assert (pulled["release"], pulled["is_new"], pulled["digest"]) == ("r1", True, pushed["digest"])
    assert pulled["images"] == pushed["images"]
    assert "which is not trusted" in refused(there, 6, "up", "r1")
    trust(there, here)
    there.expect("up", "r1")
    there.expect("verify")
    assert there.status()["serving"] == "g1"
    again = answered(there, "pull", pushed["digest"])
    assert (again["release"], again["is_new"], again["moved"]) == ("r1", False, 0)
    back = answered(there, "push", "r1", "--to", f"localhost:{server.port}/other")
    assert (back["digest"], back["index"]) == (pushed["digest"], pushed["index"])
    assert "is here as r1" not in there.expect("pull", f"localhost:{server.port}/other@{pushed['index']}")


def test_a_head_from_a_registry_is_locked_built_and_run(server: Server, pair: tuple[Rig, Rig]) -> None:
    here, there = pair
    make(here, f"localhost:{server.port}/shop")
    here.expect("push")
    write(there, head=f"{{image: 'localhost:{server.port}/shop:web-r1'}}")
    there.expect("up")
    assert there.status()["serving"] == "g1"
    (head,) = json.loads(there.expect("outdated", "--json"))
    assert (head["moves"], head["image"]) == ([], answered(here, "push")["images"]["web"])
    server.kill()
    (found,) = json.loads(there.expect("rebuild", "--offline", "--json"))
    assert found["verdict"] == "identical"


def is_killed(project: Rig, condition: Callable[[], bool], *arguments: str) -> bool:
    """Start a command, and kill it as soon as something holds; False if it had ended by then."""
    environment = {**os.environ, **project.environment, "ANEW_HOME": str(project.home)}
    command = [sys.executable, "-m", "anew", "-C", str(project.root), *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
        end = time.monotonic() + 60
        while not condition() and one.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.001)
        one.send_signal(signal.SIGKILL)
        return one.wait() == -signal.SIGKILL


def test_a_push_that_is_killed_leaves_no_name_and_the_next_one_completes_it(
    server: Server, pair: tuple[Rig, Rig]
) -> None:
    here, there = pair
    make(here, f"localhost:{server.port}/shop", LARGE)
    write(there)
    names = (
        f"localhost:{server.port}/shop{number}" for number in range(9)
    )  # the machine may be too busy to be in time
    to = next(one for one in names if is_killed(here, lambda: server.under_way() > 0, "push", "--to", one))
    assert "no release" in refused(there, 3, "pull", f"{to}:r1")
    pushed = answered(here, "push", "--to", to)
    assert pushed["moved"] <= pushed["size"]
    assert answered(there, "pull", f"{to}:r1")["digest"] == pushed["digest"]


def test_a_pull_that_is_killed_registers_nothing_and_the_next_one_goes_on(
    server: Server, pair: tuple[Rig, Rig]
) -> None:
    here, there = pair
    make(here, f"localhost:{server.port}/shop", LARGE)
    write(there, f"localhost:{server.port}/shop")
    pushed = answered(here, "push")
    partial = there.home / "images" / "partial"

    def has_begun() -> bool:
        try:
            return any(path.stat().st_size > 5_000_000 for path in partial.glob("*"))
        except FileNotFoundError:  # it has its name by now
            return False

    while not is_killed(there, has_begun, "pull", "r1"):
        shutil.rmtree(there.home)
    assert json.loads(there.expect("releases", "--json")) == []
    pulled = answered(there, "pull", "r1")
    assert pulled["moved"] <= pulled["size"] - 5_000_000
    assert (pulled["digest"], list(partial.iterdir())) == (pushed["digest"], [])
    assert list((there.home / "images" / "drafts").iterdir()) == []
    trust(there, here)
    there.expect("up", "r1")


def test_what_a_killed_pull_left_is_collected(server: Server, pair: tuple[Rig, Rig]) -> None:
    here, there = pair
    make(here, f"localhost:{server.port}/shop")
    write(there, f"localhost:{server.port}/shop")
    there.expect("status")
    partial = there.home / "images" / "partial"
    partial.mkdir(parents=True)
    (partial / (64 * "a")).write_bytes(b"half")
    os.utime(partial / (64 * "a"), (0, 0))
    (partial / (64 * "b")).write_bytes(b"half")
    there.expect("gc")
    assert [path.name for path in partial.iterdir()] == [64 * "b"]


def test_what_can_not_be_is_refused_with_a_reason(server: Server, pair: tuple[Rig, Rig]) -> None:
    here, there = pair
    write(here)
    assert "no release yet" in refused(here, 3, "push", "--to", f"localhost:{server.port}/shop")
    make(here, "")
    assert "it is not said which repository" in refused(here, 2, "push")
    assert "it is not said which repository" in refused(here, 2, "pull", "r1")
    assert "host of a registry" in refused(here, 2, "push", "--to", "shop")
    assert "no release r9" in refused(here, 3, "push", "r9", "--to", f"localhost:{server.port}/shop")
    assert "there is no release" in refused(here, 3, "pull", f"localhost:{server.port}/shop:r1")
    assert "names no release" in refused(here, 2, "pull", "r 1", "--from", f"localhost:{server.port}/shop")
    assert "say it once" in refused(here, 2, "pull", "localhost:1/x:r1", "--from", "localhost:1/x")
    here.expect("push", "--to", f"localhost:{server.port}/shop")
    write(there)
    spec = there.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("project: rig", "project: other"))
    assert "this is a release of rig, and not of other" in refused(there, 4, "pull", f"localhost:{server.port}/shop:r1")
    assert json.loads(there.expect("releases", "--json")) == []
    server.kill()
    assert "nobody listens at localhost" in refused(here, 7, "push", "--to", f"localhost:{server.port}/shop")


def test_a_password_is_shown_nowhere(tmp_path: Path, pair: tuple[Rig, Rig]) -> None:
    here, _ = pair
    hashed = "$2b$04$abcdefghijklmnopqrstuujlT32dFnX95MGUmIkXzSWb2/RZskMuS"
    (tmp_path / "htpasswd").write_text(f"me:{hashed}\n")
    auth = f"auth: {{htpasswd: {{realm: ours, path: {tmp_path / 'htpasswd'}}}}}\n"
    with serving(tmp_path / "guarded", auth) as guarded:
        make(here, f"{guarded.host}/shop")
        assert f"docker login {guarded.host}" in refused(here, 7, "push")
        (tmp_path / ".docker").mkdir()
        for text, code in (("bWU6d3JvbmcgaHVudGVyMg==", 7), ("bWU6YSBzZWNyZXQgd29yZA==", 0)):
            said = {"auths": {guarded.host: {"auth": text}}}
            (tmp_path / ".docker" / "config.json").write_text(json.dumps(said))
            done = here.anew("push", "--json")
            assert done.returncode == code
            for secret in (text, "hunter2", "a secret word"):
                assert secret not in done.stdout + done.stderr
        left = [path for path in here.home.rglob("*") if path.is_file() and b"a secret word" in path.read_bytes()]
        assert left == []
