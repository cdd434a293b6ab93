"""Releases made again with the commands that people use: the same bytes, or what differs and why."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from anew.testing.rig import Rig


def refused(project: Rig, code: int, *arguments: str) -> str:
    done = project.anew(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def test_every_release_is_made_again_from_the_store_alone(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    project.write("two")
    project.expect("up")
    (project.root / "app" / "server.py").write_text("raise SystemExit('this is not what was released')\n")
    found = json.loads(project.expect("rebuild", "--all", "--offline", "--json", limit=300))
    assert [(one["verdict"], one["releases"], one["why"]) for one in found] == [
        ("identical", ["r2"], ""),
        ("identical", ["r1"], ""),
    ]
    assert "the same bytes" in project.expect("rebuild", "r1")
    assert "no release r9" in refused(project, 3, "rebuild", "r9")
    assert "choose one" in refused(project, 2, "rebuild", "r1", "--all")
    assert list(Path(project.home, "work").iterdir()) == []


def test_what_nobody_trusted_says_of_an_image_is_not_run(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    mark = project.root / "it-was-run"
    with closing(sqlite3.connect(Path(project.home, "state.db"))) as state:
        (body,) = state.execute("select body from releases where number = 1").fetchone()
        own = json.loads(body)["parts"][0]["image"]["inputs"][0]
        blobs = Path(project.home, "images", "blobs", "sha256")
        made = json.loads((blobs / own.removeprefix("sha256:")).read_bytes())
        text = json.dumps(made | {"steps": [{"run": f"echo ran > {mark}; echo backdoor > /srv/app/more"}]}).encode()
        forged = hashlib.sha256(text).hexdigest()
        (blobs / forged).write_bytes(text)
        state.execute("update releases set body = replace(body, ?, ?) where number = 1", (own, f"sha256:{forged}"))
        state.commit()
    (found,) = json.loads(project.anew("rebuild", "--offline", "--json").stdout)
    assert (found["verdict"], found["releases"]) == ("not proved", ["r1"])
    assert found["why"].startswith("no trusted key says that it was made from the definition that it names")
    assert not mark.exists()


def test_a_step_that_makes_something_else_each_time_is_named(project: Rig) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    step = "build: [{run: cat /proc/sys/kernel/random/uuid > /srv/app/identity}]"
    spec.write_text(spec.read_text().replace("    copy:", f"    {step}\n    copy:"))
    project.expect("up")
    said = project.expect("rebuild", code=1)
    assert "differs" in said
    assert "/srv/app/identity: content: it holds something random" in said


def test_what_was_never_released_can_not_be_made_again(project: Rig) -> None:
    project.write("one")
    assert "anew up makes the first one" in refused(project, 3, "rebuild")
    (head,) = json.loads(project.expect("lock", "--json"))
    assert (head["source"], head["layer"], head["moves"]) == ("host", "", [])
    assert json.loads(project.expect("outdated", "--json")) == [head]
    assert "no head" in refused(project, 3, "lock", "none")


def test_the_same_image_of_another_definition_is_judged_by_itself(project: Rig) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    plain = spec.read_text()
    for step in ("{run: mkdir /srv/more}", "{run: mkdir /srv/more, network: true}"):
        spec.write_text(plain.replace("    copy:", f"    build: [{step}]\n    copy:"))
        project.expect("up")
    said = json.loads(project.expect("rebuild", "--all", "--offline", "--json", code=1))
    assert len({one["manifest"] for one in said}) == 1
    assert [(one["verdict"], one["releases"]) for one in said] == [("not proved", ["r2"]), ("identical", ["r1"])]
