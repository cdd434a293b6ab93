"""What a rollout does beyond the demo: previews, several services, sizes, services that go."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from anew.shell.clock import SystemClock
from anew.shell.journal import Journal
from anew.testing.rig import Rig

TWO = """
project: rig
os:
  base: {{host: true}}
services:
  web: &service
    os: base
    copy: {{app/: /srv/app/}}
    command: [python3, /srv/app/server.py]
    http: {{health: /healthz}}
    flags: {{SALT: "{salt}"}}
    tests: [{tests}]
    rollout: {{stages: [50%], each: 300ms, at_most: 1s, ready: 5s, warm: 1s, drain: 5s}}
{more}
environments:
  local: {{listen: "127.0.0.1:{port}", services: {{web: {{size: {size}}}}}}}
"""
API = "  api: *service\n"


def write(project: Rig, salt: str, *, tests: str = "", more: str = API, size: int = 1) -> None:
    project.write(salt)
    text = TWO.format(salt=salt, tests=tests, more=more, size=size, port=project.port)
    (project.root / "anew.yaml").write_text(text)


def answer(project: Rig, service: str) -> tuple[int, str]:
    headers = {"Host": f"{service}.rig.localhost"}
    request = urllib.request.Request(f"http://127.0.0.1:{project.port}/", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Retry-After", "")


def groups(project: Rig) -> dict[str, Any]:
    services = project.status()["services"]
    return {group["name"]: group for service in services for group in service["groups"]}


def events(project: Rig) -> list[str]:
    told = json.loads(project.expect("history", "-n", "200", "--json"))
    listed = told if isinstance(told, list) else next(v for v in told.values() if isinstance(v, list))
    return [event["text"] for event in listed]


def test_two_services_move_together_and_one_that_fails_takes_both_back(project: Rig) -> None:
    write(project, "one")
    project.expect("up")
    assert (200, "one") == answer(project, "web") == answer(project, "api")
    write(project, "two")
    broken = (project.root / "anew.yaml").read_text().replace(API, "  api: {<<: *service, http: {health: /nowhere}}\n")
    server = (project.root / "app" / "server.py").read_text()
    (project.root / "app" / "server.py").write_text(
        server.replace(
            "        else:\n            COUNT",
            '        elif self.path == "/nowhere":\n            status = 404\n        else:\n            COUNT',
        )
    )
    (project.root / "anew.yaml").write_text(broken)
    done = project.anew("up")
    assert done.returncode == 6, done.stdout + done.stderr
    assert (200, "one") == answer(project, "web") == answer(project, "api")


@pytest.mark.parametrize(("word", "serves"), [("promote", "two"), ("rollback", "one")])
def test_a_stage_that_asks_waits_for_an_answer_and_says_so(project: Rig, word: str, serves: str) -> None:
    write(project, "one", more="")
    project.expect("up")
    write(project, "two", more="")
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("local: {", "local: {on_undecided: ask, "))
    (planned,) = json.loads(project.expect("plan", "--json"))["stages"]
    assert planned.endswith("each 0.3 s to 1 s; if undecided then: ask, and roll back after 24 h without an answer")
    project.expect("up", "--detach")
    project.wait(lambda: "so you are asked" in project.status()["reason"], limit=30, what="the question")
    reason = project.status()["reason"]
    assert ("`anew promote -e local`" in reason, "`anew rollback -e local`" in reason) == (True, True)
    project.expect(word)
    assert answer(project, "web") == (200, serves)


def test_a_failing_preview_test_keeps_a_generation_from_all_traffic(project: Rig) -> None:
    write(project, "one", more="")
    project.expect("up")
    write(project, "two", more="", tests="{http: {get: /, contains: three}, at: preview, eventually: 1s}")
    done = project.anew("up")
    assert done.returncode == 6
    assert "contain" in done.stdout + done.stderr
    assert answer(project, "web") == (200, "one")
    assert not any("shift" in text and "web-g2" in text for text in events(project))


def test_a_passing_preview_test_lets_it_go_on(project: Rig) -> None:
    tests = "{http: {get: /, contains: o}, at: preview}, {run: [python3, -c, 'print(1)'], at: preview}"
    write(project, "one", more="", tests=tests)
    project.expect("up")
    write(project, "two", more="", tests=tests)
    project.expect("up")
    assert answer(project, "web") == (200, "two")
    assert any("passed" in text for text in events(project))


def test_a_change_of_size_alone_makes_no_new_group(project: Rig) -> None:
    write(project, "one", more="")
    project.expect("up")
    write(project, "one", more="", size=3)
    project.expect("up")
    project.wait(project.is_idle, limit=30, what="the keeper ends")
    assert {name: group["ready"] for name, group in groups(project).items()} == {"web-g1": 3}
    write(project, "one", more="", size=1)
    project.expect("up")
    project.wait(project.is_idle, limit=30, what="the keeper ends")
    assert {name: group["ready"] for name, group in groups(project).items()} == {"web-g1": 1}


def test_a_service_that_is_removed_is_disposed_of(project: Rig) -> None:
    write(project, "one")
    project.expect("up")
    assert answer(project, "api") == (200, "one")
    write(project, "one", more="")
    project.expect("up")
    project.wait(project.is_idle, limit=30, what="the keeper ends")
    assert set(groups(project)) == {"web-g1"}
    assert not any("api" in name for name in groups(project))


def test_disposing_of_an_environment_leaves_no_process_and_it_can_come_up_again(project: Rig) -> None:
    write(project, "one")
    project.expect("up")
    project.expect("dispose")
    assert project.processes() == {}
    project.expect("dispose")
    project.expect("up")
    assert answer(project, "web") == (200, "one")


def test_taking_back_what_no_keeper_has_begun_leaves_what_serves(project: Rig) -> None:
    for release in ("one", "two"):
        write(project, release, more="")
        project.expect("up")
    project.wait(project.is_idle, limit=30, what="its keeper ends")
    journal = Journal(project.home / "state.db", SystemClock())
    scope = journal.environments()[0].scope
    journal.wish(scope, 1, "rollout", expect=2)  # as a command that is killed before it has started a keeper
    journal.close()
    assert "g2" in project.expect("rollback")
    assert answer(project, "web") == (200, "two")
    assert project.status()["serving"] == "g2"


def test_going_back_and_forth(project: Rig) -> None:
    write(project, "one", more="")
    project.expect("up")
    write(project, "two", more="")
    project.expect("up")
    project.expect("rollback")
    assert answer(project, "web") == (200, "one")
    assert project.anew("up").returncode == 6  # the very same failed here before, in somebody's eyes
    project.expect("up", "--again")
    assert answer(project, "web") == (200, "two")
