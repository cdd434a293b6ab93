"""What somebody touches is found, leaves traffic, is replaced, and is kept for inspection."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anew.testing.load import Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

FOUND_WITHIN = 30.0  # ten seconds are promised; a machine that runs other tests beside this one is slower
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may enter the sandbox of another user")


@contextmanager
def kept(project: Rig) -> Iterator[None]:
    """A keeper that stays."""
    environment = {**os.environ, "ANEW_HOME": str(project.home)}
    log = (project.folder / "serve.log").open("w")
    command = [sys.executable, "-m", "anew", "-C", str(project.root), "serve"]
    keeper = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        project.wait(lambda: project.status()["keeper"] == keeper.pid, limit=20, what="the keeper has its lock")
        yield
    finally:
        keeper.terminate()
        keeper.wait(20)
        log.close()


@contextmanager
def intruder(pid: int) -> Iterator[int]:
    """A process inside the sandbox of another one."""
    one = subprocess.Popen(["nsenter", f"--target={pid}", "--mount", "--pid", "--root", "sleep", "60"])
    try:
        yield one.pid
    finally:
        one.kill()
        one.wait(10)


def inner(project: Rig) -> dict[int, str]:
    """Return the application's processes: those inside, by their host pid."""
    return {pid: line for pid, line in project.processes().items() if "bwrap" in line}


def group(project: Rig) -> dict[str, Any]:
    (service,) = project.status()["services"]
    (found,) = service["groups"]
    return dict(found)


def application(project: Rig) -> int:
    """Return one process of an application."""
    for entry in sorted(pid for pid in inner(project)):
        children = Path(f"/proc/{entry}/task/{entry}/children")
        found = children.read_text().split()
        for pid in found:
            if Path(f"/proc/{pid}/cmdline").read_text().startswith("python3\0/srv/app/server.py"):
                return int(pid)
    raise AssertionError(project.processes())


def events(project: Rig) -> list[str]:
    return [e["text"] for e in json.loads(project.expect("history", "--json", "-n", "200"))]


@pytest.fixture
def serving(project: Rig) -> Rig:
    project.write("r1")
    project.expect("up")
    project.wait(project.is_idle, limit=60, what="the first keeper ends")
    return project


def test_who_enters_an_instance_taints_it_and_it_is_replaced(serving: Rig) -> None:
    with kept(serving):
        with intruder(application(serving)):
            serving.wait(
                lambda: any("is tainted" in e for e in events(serving)), limit=FOUND_WITHIN, what="it is found"
            )
        serving.wait(lambda: group(serving)["ready"] == 2, limit=FOUND_WITHIN, what="it is replaced")
        told = [e for e in events(serving) if "is tainted" in e]
        assert len(told) == 1
        assert "sleep (pid" in told[0]
        assert "has entered from outside" in told[0]
        serving.wait(lambda: len(inner(serving)) == 6, limit=FOUND_WITHIN, what="two serve and one is kept")


def test_an_environment_may_only_report_it(serving: Rig) -> None:
    spec = serving.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("local: {", "local: {taint: report, "))
    serving.expect("up")
    serving.wait(serving.is_idle, limit=60, what="the keeper ends")
    before = inner(serving)
    with kept(serving), intruder(application(serving)):
        serving.wait(lambda: any("is tainted" in e for e in events(serving)), limit=FOUND_WITHIN, what="it is found")
    assert inner(serving) == before


def instances(project: Rig) -> set[str]:
    """Return the names of the instances that were allotted and not disposed of."""
    told = json.loads(project.expect("history", "--json", "-n", "500"))
    allotted = {e["facts"]["instance"] for e in told if e["text"].startswith("allot instance")}
    return allotted - {e["facts"]["instance"] for e in told if e["text"].startswith("dispose of")}


def test_one_looks_into_an_instance_that_has_left_traffic_and_it_is_disposed_of(serving: Rig) -> None:
    before = instances(serving)
    done = serving.anew("debug", "web", "--", "sh", "-c", "id -u; ls /srv/app")
    assert done.returncode == 0, done.stderr
    uid, *files = done.stdout.split()
    assert int(uid) != 0
    assert files == ["server.py"]
    serving.wait(lambda: len(instances(serving)) == 2, limit=30, what="it is disposed of")
    assert len(before & instances(serving)) == 1
    assert not [e for e in events(serving) if "is tainted" in e]
    assert [e for e in events(serving) if "is to leave: debug, by" in e]


def test_the_exit_code_of_a_look_is_that_of_the_command(serving: Rig) -> None:
    assert serving.anew("debug", "web", "--", "sh", "-c", "exit 7").returncode == 7


def test_what_serves_is_reborn_one_after_the_other(serving: Rig) -> None:
    before = instances(serving)
    load = Load(serving.port, rate=50.0, keep_alive=2, fresh=2, slow=0, seconds=60.0)
    with LoadProcess(load) as traffic:
        serving.expect("rebirth")
        serving.wait(lambda: len(instances(serving)) == 2, limit=30, what="the old ones are gone")
        figures = traffic.stop()
    assert not before & instances(serving)
    assert figures.dropped == 0
    assert figures.sent > 0


def test_why_tells_what_a_generation_runs_and_how_its_instances_ended(serving: Rig) -> None:
    serving.write("r2", health=500)
    assert serving.anew("up").returncode != 0
    told = json.loads(serving.expect("why", "g1", "--json"))
    assert (told["generation"], told["outcome"]) == ("g1", "serves")
    assert told["sealed"][0]["command"] == ["python3", "/srv/app/server.py"]
    assert any(e["text"].startswith("enter full") for e in told["course"])
    (one,) = instances(serving) - {name for name in instances(serving) if name.endswith("-0")}
    serving.expect("rebirth")
    serving.wait(lambda: len(instances(serving)) == 2, limit=30, what="the old ones are gone")
    ended = {a["instance"]: a for a in json.loads(serving.expect("why", "g1", "--json"))["instances"]}
    assert ended[one]["outcome"].startswith("stopped")
    assert ended[one]["peak_memory"] > 1_000_000
    assert "g1 of r1 serves" in serving.expect("why")


def test_why_tells_of_one_that_died_what_it_was_given_and_what_it_said_last(serving: Rig) -> None:
    with kept(serving):
        pid = application(serving)
        os.kill(pid, signal.SIGKILL)
        serving.wait(lambda: len(instances(serving)) == 2 and bool(dead(serving)), limit=30, what="it is replaced")
    (one,) = dead(serving)
    assert one["outcome"] == "died, signal 9 (SIGKILL)"
    assert one["ordered"]["command"] == ["python3", "/srv/app/server.py"]
    assert set(one["ordered"]["environment"]) == {"HOST", "PORT"}
    assert one["ordered"]["port"] == int(one["ordered"]["environment"]["PORT"])
    assert (one["changed"], one["more_changed"]) == ([], 0)
    text = serving.expect("why")
    assert f"{one['instance']}: died, signal 9 (SIGKILL)" in text
    assert f"PORT={one['ordered']['port']}" in text


def dead(project: Rig) -> list[dict[str, Any]]:
    told = json.loads(project.expect("why", "--json"))
    return [one for one in told["instances"] if one["is_death"]]


def test_why_tells_of_one_that_was_touched_while_it_is_kept(serving: Rig) -> None:
    with kept(serving):
        watched = serving.home / "keepers" / f"{serving.project}.local.watched"
        began = time.time()
        serving.wait(lambda: watched.exists() and watched.stat().st_mtime > began, limit=FOUND_WITHIN, what="it looks")
        pid = application(serving)
        subprocess.run(["nsenter", f"--target={pid}", "--mount", "mount", "-t", "tmpfs", "x", "/srv/app"], check=True)
        serving.wait(lambda: any("is tainted" in e for e in events(serving)), limit=FOUND_WITHIN, what="it is found")
        serving.wait(lambda: group(serving)["ready"] == 2, limit=FOUND_WITHIN, what="it is replaced")
        says = "tainted (something was mounted at /srv/app (tmpfs)), kept for inspection"
        serving.wait(lambda: says in serving.expect("why"), limit=FOUND_WITHIN, what="it is kept")
    (one,) = json.loads(serving.expect("why", "--json"))["instances"]
    assert (one["outcome"], one["is_death"]) == (says, False)
    assert one["peak_memory"] > 1_000_000
    assert one["ordered"]["image"].startswith("sha256:")


def test_why_tells_of_a_generation_that_failed_what_its_instances_were_given(serving: Rig) -> None:
    serving.write("r2", bad=60, each="5s", at_most="20s")
    with LoadProcess(Load(serving.port, rate=60.0, keep_alive=2, fresh=2, slow=0, seconds=120.0)):
        assert serving.anew("up").returncode == 6
    serving.wait(serving.is_idle, limit=60, what="all of it is disposed of")
    told = json.loads(serving.expect("why", "g2", "--json"))
    assert "requests failed, against" in told["reason"]
    assert len(told["instances"]) == 2
    for one in told["instances"]:
        assert one["outcome"].startswith("stopped")
        assert one["ordered"]["environment"].keys() == {"HOST", "PORT"}
