"""A release that answers well, but late, is taken back by the times that the edge measures."""

from __future__ import annotations

import json

from anew.testing.load import Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

ENOUGH = 400  # answers of the old release, by which it is known how long they take


def write(project: Rig, release: str, pause: str) -> None:
    """Write a release that takes its time with each answer: a Python expression of seconds."""
    project.write(release)
    path = project.root / "app" / "server.py"
    text = path.read_text().replace("import http.server,", "import random, http.server,")
    path.write_text(
        text.replace("        body = RELEASE.encode()", f"        time.sleep({pause})\n        body = b'x'")
    )


def test_a_release_that_is_slower_is_taken_back_and_one_that_is_as_fast_is_not(project: Rig) -> None:
    project.stages, project.each, project.at_most = "50%", "1s", "30s, judge: {slow: p95}"
    write(project, "fast", "random.uniform(0.005, 0.01)")
    project.expect("up")
    load = Load(project.port, rate=150.0, keep_alive=16, fresh=0, slow=0, seconds=300.0)
    with LoadProcess(load) as requests:
        project.wait(lambda: requests.figures().answered >= ENOUGH, limit=30, what="the old release is known")
        write(project, "slow", "random.uniform(0.005, 0.01) + (0.1 if random.random() < 0.4 else 0)")
        done = project.anew("up", "--json")
        assert done.returncode == 6, done.stdout + done.stderr
        assert "requests were slow" in json.loads(done.stdout)["error"]["what"]
        assert project.status()["serving"] == "g1"
        write(project, "as fast", "random.uniform(0.0051, 0.0101)")
        project.expect("up")
        assert project.status()["serving"] == "g3"
        assert requests.stop().dropped == 0
