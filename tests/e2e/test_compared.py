"""Whom a release is compared with: what is as new as it is, and what stays behind after the switch."""

from __future__ import annotations

import json
import time

from anew.testing.load import Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

ENOUGH = 400  # answers of the old release, by which it is known how long they take
COLD = 5.0  # seconds for which a new instance is slow


def write(project: Rig, release: str, answer: str) -> None:
    """Write a release that does this before it answers: Python that knows the `age` and the `COUNT` of its process."""
    project.write(release)
    path = project.root / "app" / "server.py"
    text = path.read_text().replace("import http.server,", "import random, http.server,", 1)
    text = text.replace("        body = RELEASE.encode()", f"        age = time.monotonic() - BEGAN; {answer}")
    text = text.replace("class Answers", "BEGAN = time.monotonic()\nclass Answers", 1)
    path.write_text(text)


def test_what_is_slow_only_while_it_is_new_passes_beside_new_instances_of_the_old_release(project: Rig) -> None:
    cold = f"body = b'x'; time.sleep(0.002 + (0.03 if age < {COLD} else 0))"
    project.stages, project.each = "20%", "1s"
    project.at_most = "12s, baseline: fresh, judge: {slow: p95}, on_undecided: promote"
    write(project, "one", cold)
    project.expect("up")
    warm_at = time.monotonic() + COLD
    project.wait(lambda: time.monotonic() > warm_at, limit=10, what="the old release is warm")
    load = Load(project.port, rate=150.0, keep_alive=16, fresh=0, slow=0, seconds=300.0)
    with LoadProcess(load) as requests:
        project.wait(lambda: requests.figures().answered >= ENOUGH, limit=60, what="the old release is known")
        write(project, "two", cold.replace("'x'", "'y'"))
        going = project.begin("up")
        project.wait(lambda: bool(groups(project).get("web-g1b2")), limit=30, what="the baseline has traffic")
        assert roles(project)["web-g1b2"] == "control"
        going.wait(timeout=90)
        assert project.status()["serving"] == "g2", project.expect("why", "g2")
        project.wait(project.is_idle, limit=30, what="the warm window is over")
        assert groups(project) == {"web-g2": 1000}
        project.expect("history", "--verify")
        project.expect("verify")
        write(project, "three", cold.replace("0.002", "(0.05 if random.random() < 0.5 else 0.002)"))
        done = project.anew("up", "--json")
        assert done.returncode == 6, done.stdout + done.stderr
        assert "requests were slow" in json.loads(done.stdout)["error"]["what"]
        assert project.status()["serving"] == "g2"
        assert requests.stop().dropped == 0


def test_what_fails_only_after_all_stages_is_taken_back_by_what_stayed_behind(project: Rig) -> None:
    project.warm = "{for: 2m, control: 10%}"
    write(project, "one", "body = b'x'")
    project.expect("up")
    with LoadProcess(Load(project.port, rate=200.0, keep_alive=16, fresh=0, slow=0, seconds=300.0)) as requests:
        tired = "body = b'x'; status = 500 if age > 5 and random.random() < 0.1 else status"
        write(project, "two", tired)
        project.expect("up")
        status = project.status()
        assert groups(project) == {"web-g1": 100, "web-g2": 900}
        assert "still compared with web-g1, which keeps 10 %" in status["rollout"]["guard"]
        project.wait(lambda: project.status()["serving"] == "g1", limit=60, what="it was taken back")
        project.wait(project.is_idle, limit=30, what="the keeper has left")
        assert groups(project) == {"web-g1": 1000}
        assert "after all stages: web-g2: " in project.expect("history", "-n", "50")
        assert json.loads(project.expect("why", "g2", "--recompute", "--json"))
        assert requests.stop().dropped == 0


def groups(project: Rig) -> dict[str, int]:
    """Return the weights of all groups that have traffic."""
    found = [one for service in project.status()["services"] for one in service["groups"]]
    return {one["name"]: one["weight"] for one in found if one["weight"]}


def roles(project: Rig) -> dict[str, str]:
    """Return what each group is there for."""
    return {one["name"]: one["role"] for service in project.status()["services"] for one in service["groups"]}
