"""Two releases or generations explained with the command that people use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anew.model import Scope
from anew.shell.clock import SystemClock
from anew.shell.journal import Journal
from anew.testing.load import Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig


def why(project: Rig, *names: str) -> dict[str, Any]:
    return dict(json.loads(project.expect("why", *names, "--json")))


def changed(told: dict[str, Any], service: str = "web") -> dict[str, tuple[str, str]]:
    (one,) = (one for one in told["services"] if one["service"] == service)
    return {change["name"]: (change["before"], change["after"]) for change in one["settings"]}


def set_flag(project: Rig, text: str, more: str = "") -> None:
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("    size:", f"    {text}\n    size:") + more)


def test_two_releases_are_told_apart_by_what_they_are_made_of_and_how_they_run(project: Rig) -> None:
    project.write("one")
    set_flag(project, "flags: {COLOUR: red, OLD: yes}")
    project.expect("up")
    project.write("two")
    set_flag(project, "flags: {COLOUR: blue}")
    (project.root / "app" / "new.py").write_text("x = 1\n")
    project.expect("up")
    told = why(project, "r1", "r2")
    assert (told["before"]["name"], told["after"]["release"], told["is_equal"]) == ("r1", "r2", False)
    assert changed(told) == {"flags.COLOUR": ("red", "blue"), "flags.OLD": ("yes", "")}
    image = told["services"][0]["image"]
    paths = [("srv/app/new.py", "added"), ("srv/app/server.py", "content")]
    assert [(one["path"], one["what"]) for one in image["files"]] == paths
    assert [(one["path"], one["what"]) for one in image["copied"]] == paths
    text = project.expect("why", "r1", "r2")
    assert "flags.COLOUR: red → blue" in text
    assert "/srv/app/server.py: content" in text
    # The same the other way round, and of one with itself.
    assert changed(why(project, "r2", "r1"))["flags.COLOUR"] == ("blue", "red")
    assert "they are equal" in project.expect("why", "r2", "r2")


def test_two_generations_are_told_apart_by_what_was_sealed(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("local: {", "local: {services: {web: {size: 1, flags: {A: b}}}, "))
    project.expect("up")
    told = why(project, "g1", "g2")
    assert changed(told) == {"flags.A": ("", "b"), "size": ("2", "1")}
    assert (told["services"][0]["image"], told["notes"]) == (None, [])
    # A release knows no environment: beside one, a generation stands for its release.
    mixed = why(project, "r1", "g2")
    assert (mixed["is_equal"], changed(mixed)) == (True, {})
    assert "g2 stands for its release" in mixed["notes"][0]


def test_a_verdict_is_shown_while_it_grows_and_is_the_same_when_made_again(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    project.write("two", bad=15, stages="5%, 50%", each="6s", at_most="60s")
    with LoadProcess(Load(project.port, rate=60.0, keep_alive=2, fresh=2, slow=0, seconds=120.0)):
        project.expect("up", "--detach")
        project.wait(lambda: bool(project.status()["judgements"]), limit=60, what="it is judged")
        (one,) = project.status()["judgements"]
        assert (one["old"], one["new"], one["harm_bound"], one["safe_bound"]) == ("web-g1", "web-g2", 100.0, 20.0)
        assert all(len(criterion["course"]) == 1 for criterion in one["criteria"])
        assert "HARM" in project.expect("status")
        project.wait(lambda: has_kept(project), limit=60, what="its windows are committed in the stage")
        project.wait(lambda: why(project, "g2")["outcome"] == "rolled back", limit=90, what="it goes back")
    (told,) = why(project, "g2")["judgements"]
    assert (told["kind"], told["criteria"][0]["name"]) == ("fail", "errors")
    assert told["reason"] in why(project, "g2")["reason"]
    text = project.expect("why", "g2")
    assert "harm (left)" in text
    (again,) = json.loads(project.expect("why", "g2", "--recompute", "--json"))
    assert again["is_same"]
    assert again["decisions"][-1]["kind"] == again["answers"][-1]["kind"] == "fail"
    assert "was not judged" in project.anew("why", "g1", "--recompute").stderr
    assert "is about one generation" in project.anew("why", "g1", "g2", "--recompute").stderr


def test_once_nothing_is_compared_any_more_it_is_said_what_still_takes_a_release_back(project: Rig) -> None:
    project.write("one", warm="60s")
    project.expect("up")
    assert project.status()["rollout"]["guard"] == ""  # there is no way back
    project.write("two", warm="60s")
    project.expect("up")
    told = project.status()
    assert (told["rollout"]["phase"], told["judgements"]) == ("warm", [])
    assert "only if 50 % of at least 20 requests within 10 s fail" in told["rollout"]["guard"]
    assert "nothing is compared any more" in project.expect("status")


def has_kept(project: Rig) -> bool:
    """Say whether windows were committed before any stage was left."""
    journal = Journal(project.home / "state.db", SystemClock())
    try:
        rollout = journal.last_rollout(Scope("rig", "local"))
        return rollout is not None and (rollout.phase, rollout.stage) == ("stage", 0) and bool(rollout.windows)
    finally:
        journal.close()


def test_services_that_came_and_went_are_named(project: Rig) -> None:
    project.write("one")
    more = "  more:\n    os: base\n    command: [sleep, '1000']\n    rollout: {ready: 10s}\n"
    spec = project.root / "anew.yaml"
    project.expect("up")
    spec.write_text(spec.read_text().replace("environments:", f"{more}environments:"))
    project.expect("up")
    told = {one["service"]: one["became"] for one in why(project, "r1", "r2")["services"]}
    assert told == {"more": "added", "web": "equal"}
    assert {one["service"]: one["became"] for one in why(project, "g2", "g1")["services"]}["more"] == "removed"


def test_what_is_not_there_is_refused_and_what_was_collected_is_said(project: Rig) -> None:
    project.write("one")
    for names, code, says in (
        (("r1", "r2"), 3, "no release r1"),
        (("g1", "g2"), 3, "was never used"),
        (("r1", "web"), 3, "no release r1"),
        (("web", "r1"), 2, "neither a release nor a generation"),
        (("r" + 30 * "9", "r1"), 3, "no release"),
    ):
        done = project.anew("why", *names)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    project.expect("up")
    refused = project.anew("why", "g" + 30 * "9", "g1")
    assert (refused.returncode, "it has: g1" in refused.stderr) == (3, True), refused.stderr
    project.write("two")
    project.expect("up")
    layers = [path for path in Path(project.home, "images", "blobs", "sha256").iterdir() if path.stat().st_size > 9000]
    for path in layers:
        path.unlink()
    for path in Path(project.home, "images", "listings").iterdir():
        path.unlink()
    told = why(project, "r1", "r2")
    assert "is missing" in " ".join(told["services"][0]["image"]["unknown"])
    assert [one["path"] for one in told["services"][0]["image"]["copied"]] == ["srv/app/server.py"]
