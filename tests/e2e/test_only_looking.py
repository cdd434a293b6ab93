"""What only looks leaves nothing behind."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from anew.testing.rig import Rig


def rows(project: Rig) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{project.home / 'state.db'}?mode=ro", uri=True)) as state:
        tables = [name for (name,) in state.execute("select name from sqlite_schema where type = 'table'")]
        return {name: state.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}


def test_a_plan_of_an_environment_that_was_never_used_writes_nothing(project: Rig) -> None:
    project.write("r1")
    project.status()
    before = rows(project)
    planned = json.loads(project.expect("plan", "--json"))
    assert (planned["release"], planned["builds"]) == ("new", ["build the image of web"])
    assert planned["steps"][0] == "begin the rollout to g1"
    assert [one for one in planned["steps"] if one.startswith("launch")] == [
        "launch rig-local-web-g1-0",
        "launch rig-local-web-g1-1",
    ]
    assert planned["steps"][-1].startswith("enter warm")
    assert (rows(project), before["environments"]) == (before, 0)
    project.expect("history", code=3)
    project.expect("up")
    assert json.loads(project.expect("plan", "--json"))["steps"] == []


def test_a_plan_names_the_secret_that_an_environment_lacks_and_writes_nothing(project: Rig) -> None:
    project.write("r1")
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("    size:", "    secrets: [token]\n    size:"))
    project.status()
    before = rows(project)
    done = project.anew("plan")
    assert (done.returncode, "rig/local has no secret token" in done.stderr) == (3, True)
    assert rows(project) == before
