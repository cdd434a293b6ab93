"""Build steps with the commands that people use: secrets, ends at a step, and what is said of what is reused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anew.testing.rig import Rig

STEPS = """    build:
      - files: {page.j2: /srv/page}
        vars: {greeting: hello}
      - {name: token, run: 'wc -c < /run/secrets/fetch_token > /srv/size', secrets: [fetch_token]}
      - {name: last, run: 'LAST'}
"""


@pytest.fixture
def stepped(project: Rig) -> Rig:
    project.write("one")
    (project.root / "page.j2").write_text("{{ greeting }}\n")
    write(project, "echo 3 > /srv/3")
    return project


def write(project: Rig, last: str) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("    copy:", STEPS.replace("LAST", last) + "    copy:"))


def refused(project: Rig, code: int, *arguments: str) -> str:
    done = project.anew(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def built(project: Rig, *arguments: str) -> dict[str, Any]:
    (found,) = json.loads(project.expect("build", "--json", *arguments))
    return dict(found)


def test_a_secret_of_builds_is_kept_lent_and_erased(stepped: Rig) -> None:
    said = refused(stepped, 3, "build")
    assert "the builds of rig have no secret fetch_token" in said
    assert "anew secret set fetch_token --build" in said
    done = stepped.anew("secret", "set", "fetch_token", "--build", text="the value of it\n")
    assert (done.returncode, "steps of builds that name it are lent it" in done.stdout) == (0, True)
    assert [one["name"] for one in json.loads(stepped.expect("secret", "list", "--build", "--json"))] == ["fetch_token"]
    assert "fetch_token" not in stepped.expect("secret", "list", "-e", "local", code=3)
    stepped.expect("up")
    assert "15" in stepped.expect("run", "web", "--", "cat", "/srv/size")
    assert stepped.expect("run", "web", "--", "cat", "/srv/page") == "hello\n"
    write(stepped, "cat /srv/size; : the value of it")
    assert "the secret fetch_token is in the definition" in refused(stepped, 7, "build")
    stepped.expect("secret", "revoke", "fetch_token", "--build")
    write(stepped, "echo 4 > /srv/4")
    assert built(stepped)["steps_reused"] == 2
    assert "the value of it" not in stepped.expect("history")
    stepped.expect("gc")
    assert [one["is_revoked"] for one in json.loads(stepped.expect("secret", "list", "--build", "--json"))] == [True]
    stepped.expect("dispose")


def test_a_build_says_what_it_used_again(stepped: Rig) -> None:
    stepped.anew("secret", "set", "fetch_token", "--build", text="the value of it\n")
    first = built(stepped)
    assert (first["is_reused"], first["steps"], first["steps_reused"], first["files"]) == (False, 3, 0, 2)
    assert "web reused: head base, 2 files, 3 steps; made" in stepped.expect("build")
    fresh = built(stepped, "--no-cache")
    assert (fresh["again"], fresh["manifest"], fresh["steps_reused"]) == ("same", first["manifest"], 0)
    write(stepped, "cat /proc/sys/kernel/random/uuid > /srv/3")
    built(stepped)
    said = stepped.expect("build", "--no-cache")
    assert "not reproducible: services.web.build[2] (last) made something else than before" in said
    assert "web: not reproducible: another image came out" in said


def test_a_build_ends_at_a_step_or_opens_a_shell_there_on_a_terminal(stepped: Rig) -> None:
    stepped.anew("secret", "set", "fetch_token", "--build", text="the value of it\n")
    part = built(stepped, "--step", "token")
    assert (part["manifest"], part["until"], part["steps"]) == ("", "services.web.build[1] (token)", 2)
    said = stepped.expect("build", "--step", "token")
    assert "services.web.build[1] (token) made " in said
    assert "\n    /srv/size\n" in said
    assert "to be looked at and not to be changed" in said
    assert "none: ended at services.web.build[1] (token)" in said
    assert "its steps are: 0, token, last" in refused(stepped, 3, "build", "--step", "nothing")
    assert "there is no terminal" in refused(stepped, 5, "build", "--debug")
    assert "--update" in refused(stepped, 2, "build", "--step", "token", "--update")
    write(stepped, "exit 4")
    assert "`anew build --debug` opens a shell" in refused(stepped, 7, "build")
    write(stepped, "echo 3 > /srv/3")
    assert "going on at services.web.build[2] (last): the 2 steps before it are not run again" in stepped.expect(
        "build"
    )


def test_a_spec_that_does_not_go_together_is_refused_with_every_complaint(project: Rig) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    steps = """    build:
      - {run: a, files: {a: /b}}
      - {name: x, run: a, vars: {a: 1}}
      - {name: x, files: {a/: /b}, vars: {version: 1.10}}
      - {ansible: p.yml, mode: '0644'}
      - {files: {a: /b}, mode: 0644, secrets: [token]}
      - {puppet: ../p.pp}
      - {files: {a: /b, c: /b}}
"""
    spec.write_text(spec.read_text().replace("    copy:", steps + "    copy:"))
    said = refused(project, 2, "build")
    for what in (
        "has run and files",
        "`vars` goes with `ansible` and `files`",
        "two steps are named `x`",
        "a path that ends with `/` is a folder",
        "`1.10` would be read as the number 1.1",
        "`mode` goes with `files`, and this is `ansible`",
        "a mode is a text of octal digits",
        "must stay inside the project's folder",
        "two templates become `/b`",
    ):
        assert what in said, what
