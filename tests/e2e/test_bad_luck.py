"""What happens to a stranger through no fault of his: it is said clearly, or mended, and never half-done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from anew.shell.clock import SystemClock
from anew.testing.rig import Rig, rig

BREAK = "local: {services: {web: {flags: {BREAK: '1'}}}, "
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")


def failing_outside_the_gate(one: Rig, release: str) -> None:
    """Write a release that passes its tests and dies in the environment, whose flags differ."""
    one.write(release)
    path = one.root / "app" / "server.py"
    path.write_text(
        "import os, sys\nif os.environ.get('BREAK'):\n    sys.exit('no database: giving up')\n" + path.read_text()
    )
    spec = one.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("local: {", BREAK))


def error_of(done: subprocess.CompletedProcess[str], code: int) -> dict[str, Any]:
    assert done.returncode == code, done.stdout + done.stderr
    error: dict[str, Any] = json.loads(done.stdout)
    return dict(error.get("error", error))


def in_stage(one: Rig) -> None:
    one.wait(lambda: str((one.status()["rollout"] or {}).get("phase")).startswith("stage"), limit=30, what="a stage")


def groups(one: Rig) -> dict[str, tuple[int, int]]:
    """Return weight and ready instances of each group."""
    return {g["name"]: (g["weight"], g["ready"]) for s in one.status()["services"] for g in s["groups"]}


def pids(one: Rig, *words: str) -> list[int]:
    return sorted(pid for pid, line in one.processes().items() if all(word in line for word in words))


def first_of_a_sandbox(one: Rig) -> int:
    """Return the first process inside of an instance: with it, all of the instance dies."""
    sandboxes = pids(one, "bwrap", "server.py")
    parent = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in sandboxes}
    return next(pid for pid in sandboxes if parent[pid] in sandboxes)


def test_a_port_that_another_program_has_is_refused_before_anything_is_built(project: Rig) -> None:
    project.write("one")
    with socket.socket() as other:
        other.bind(("127.0.0.1", project.port))
        other.listen()
        error = error_of(project.anew("up", "--json"), 4)
        assert f"127.0.0.1:{project.port} is taken by" in error["what"]
        assert str(os.getpid()) in error["what"]
        assert "listen" in error["hint"]
        assert project.processes() == {}
    project.expect("up")  # what failed was not the release, so `--again` is not needed


@AS_ROOT
def test_a_full_disk_is_said_and_leaves_nothing_half_made(project: Rig) -> None:
    project.home.mkdir()
    project.write("one")
    (project.root / "app" / "big").write_bytes(os.urandom(3_000_000))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(project.home)], check=True)
    try:
        error = error_of(project.anew("up", "--json"), 7)
        assert (error["what"], "df -h" in error["facts"]["command"]) == ("disk full", True)
        assert error["where"].startswith(str(project.home))
        assert [p for p in project.home.rglob("*") if p.is_file() and p.stat().st_size > 500_000] == []
        (project.root / "app" / "big").unlink()
        project.expect("build")
    finally:
        subprocess.run(["umount", "-l", str(project.home)], check=True)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"hello world " * 1000, "no database"),
        (b"", "no journal of anew"),
        (None, "written by a newer anew"),
    ],
)
def test_a_state_file_that_is_not_ours_is_named_and_never_written_to(
    project: Rig, content: bytes | None, what: str
) -> None:
    project.write("one")
    project.expect("status")
    state = project.home / "state.db"
    if content is None:
        with sqlite3.connect(state) as one:
            one.execute("pragma user_version = 99")
        one.close()
    else:
        state.write_bytes(content)
    before = state.read_bytes()
    for command in ("status", "up", "history", "dispose"):
        error = error_of(project.anew(command, "--json"), 4)
        assert what in error["what"]
        assert error["where"] == str(state)
        assert error["hint"]
    assert state.read_bytes() == before
    assert project.processes() == {}


def test_a_damaged_blob_never_runs(project: Rig) -> None:
    project.write("one")
    project.expect("build")
    blobs = [p for p in (project.home / "images" / "blobs" / "sha256").iterdir() if p.is_file()]
    for blob in blobs:
        blob.chmod(0o644)
        blob.write_bytes(b"x" + blob.read_bytes()[1:])
    project.expect("up")  # what is damaged is found by its digest, and made again
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


@AS_ROOT
def test_a_state_folder_of_somebody_else_is_refused(project: Rig) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("needs a Python that an ordinary user may run")
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    import click  # noqa: PLC0415

    import anew  # noqa: PLC0415 - its place is wanted, not its content

    places = {Path(anew.__file__).parents[1], Path(click.__file__).parents[1]}
    if f"python{version}" not in str(Path(click.__file__)) or not all(p.stat().st_mode & 0o005 for p in places):
        pytest.skip("needs a Python of the same version, and its packages, that an ordinary user may run")
    project.write("one")
    project.expect("status")
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "ANEW_HOME": str(project.home)}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, places))
    done = subprocess.run(
        [python, "-B", "-m", "anew", "-C", str(project.root), "up", "--json"],
        user=1001,
        group=1001,
        extra_groups=[],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    error = error_of(done, 5)
    assert str(project.home) in error["where"]
    assert error["hint"]


def test_two_that_want_the_same_at_once_both_get_it(project: Rig) -> None:
    project.write("one")
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: project.anew("up"), range(2)))
    assert [one.returncode for one in ended] == [0, 0], [one.stderr for one in ended]
    assert project.status()["serving"] == "g1"


def test_of_two_that_want_different_things_at_once_one_is_told(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    project.write("two")
    other = Rig(project.folder / "other", project.port)
    shutil.copytree(project.root, other.root)
    (other.folder / "home").symlink_to(project.home)
    (other.root / "app" / "server.py").write_text((project.root / "app" / "server.py").read_text() + "# three\n")
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda one: one.anew("up"), (project, other)))
    codes = sorted(one.returncode for one in ended)
    assert codes in ([0, 4], [0, 0]), [one.stderr for one in ended]  # both, if one came after the other
    assert project.status()["serving"] in {"g2", "g3"}


def test_a_first_generation_that_fails_leaves_nothing_running(project: Rig) -> None:
    failing_outside_the_gate(project, "one")
    error = error_of(project.anew("up", "--json"), 6)
    assert "exit code 1" in error["what"]
    assert "no database: giving up" in json.dumps(error["facts"])
    project.wait(lambda: not project.processes(), limit=20, what="nothing runs")
    assert project.status()["serving"] == ""


def test_health_that_flaps_is_taken_back(project: Rig) -> None:
    project.each, project.at_most = "2s", "4s"
    project.write("one")
    project.expect("up")
    project.write("two", health="200 if int(time.time() * 4) % 2 else 503")
    error = error_of(project.anew("up", "--json"), 6)
    assert "flaps" in error["what"] or "no ready instance" in error["what"], error
    assert project.status()["serving"] == "g1"


def test_what_failed_before_is_tried_again_only_when_asked(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    failing_outside_the_gate(project, "two")
    assert error_of(project.anew("up", "--json"), 6)["hint"]
    for arguments in (("up",), ("up", "r2")):
        error = error_of(project.anew(*arguments, "--json"), 6)
        assert "failed here before" in error["what"]
        assert "anew up r2 --again" in error["hint"]
    assert "g3 was rolled back" in error_of(project.anew("up", "--again", "--json"), 6)["what"]
    assert error_of(project.anew("rollback", "g2", "--json"), 6)
    assert project.status()["serving"] == "g1"


def test_a_rollout_under_way_is_taken_back_or_promoted_by_hand(project: Rig) -> None:
    project.each, project.at_most, project.warm = "60s", "90s", "60s"
    project.write("one")
    project.expect("up")
    project.write("two")
    project.expect("up", "--detach")
    in_stage(project)
    project.write("three")
    assert "rolling out g2" in error_of(project.anew("up", "--json"), 4)["what"]
    assert "anew abort" in error_of(project.anew("rollback", "g2", "--json"), 4)["hint"]
    project.expect("abort")
    assert project.status()["serving"] == "g1"
    project.expect("up", "r2", "--again", "--detach")
    in_stage(project)
    project.expect("promote")
    project.wait(lambda: project.status()["serving"] == "g3", limit=20, what="g3 serves")
    (project.root / "anew.yaml").unlink()  # the project is gone, and what runs goes on
    for command in ("status", "rollback"):
        error = error_of(project.anew(command, "--json"), 3)
        assert "there is no anew.yaml" in error["what"]
        assert error["hint"]
    assert pids(project, "server.py")


def test_what_is_killed_while_a_keeper_runs_comes_back_as_it_was(project: Rig) -> None:
    project.each, project.at_most = "60s", "90s"
    project.write("one")
    project.expect("up")
    project.write("two")
    project.expect("up", "--detach")
    in_stage(project)
    wanted = {"web-g1": (500, 2), "web-g2": (500, 2)}
    project.wait(lambda: groups(project) == wanted, limit=20, what="half of the traffic")
    for which in (0, -1):  # the master, which was started first, and the newest worker
        victims = pids(project, "haproxy", "-sf") if which else pids(project, "haproxy")
        victim = (victims or pids(project, "haproxy"))[which]
        os.kill(victim, signal.SIGKILL)
        project.wait(lambda gone=victim: gone not in project.processes(), limit=10, what="it is dead")  # type: ignore[misc]
        project.wait(lambda: groups(project) == wanted, limit=40, what="the weights come back")
    os.kill(first_of_a_sandbox(project), signal.SIGKILL)
    project.wait(
        lambda: "allot instance 2 of web-g" in project.expect("history", "--json"), limit=30, what="another ordinal"
    )
    project.wait(lambda: groups(project) == wanted, limit=30, what="two are ready again")


def test_a_service_that_left_the_spec_is_disposed_of(project: Rig) -> None:
    project.write("one", project="rig")
    spec = project.root / "anew.yaml"
    alone = spec.read_text()
    (service,) = [alone[alone.index("  web:\n") : alone.index("environments:")]]
    spec.write_text(alone.replace("environments:", service.replace("  web:\n", "  api:\n") + "environments:"))
    project.expect("up")
    assert set(groups(project)) == {"web-g1", "api-g1"}
    spec.write_text(alone)
    project.expect("up")
    project.wait(lambda: set(groups(project)) == {"web-g1"}, limit=30, what="only web is left")
    project.wait(lambda: len({name for name in groups(project) if "api" in name}) == 0, limit=10, what="api is gone")


def test_a_state_folder_with_a_long_path_works() -> None:
    with rig() as one:
        deep = Rig(one.folder / ("d" * 60) / ("e" * 60) / ("f" * 60), one.port)
        deep.folder.mkdir(parents=True)
        try:
            deep.write("one")
            deep.expect("up")
            assert deep.status()["serving"] == "g1"
            deep.expect("dispose")
        finally:
            deep.end()


def test_a_clock_that_was_stepped_back_makes_no_time_lie_in_the_future() -> None:
    times = iter([time.time(), time.time() - 86400])
    clock = SystemClock(lambda: next(times))
    first = clock.now()
    assert clock.now() >= first  # the wall clock is not read again
    late = SystemClock(lambda: next(times))
    assert late.now() < first
    late.catch_up(first + 5)
    assert late.now() >= first + 5
