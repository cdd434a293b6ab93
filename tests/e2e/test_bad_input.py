"""What a stranger may write wrongly: one clear error, the right exit code, and nothing half-done."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anew.testing.rig import Rig

Edit = Callable[[Rig], object]


def replaced(old: str, new: str) -> Edit:
    def edit(one: Rig) -> None:
        path = one.root / "anew.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def refusal(one: Rig, *arguments: str, code: int) -> dict[str, Any]:
    """Run a command that must fail; return its error, once nothing of it is left."""
    done = one.anew(*arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    error: dict[str, Any] = json.loads(done.stdout)
    error = error.get("error", error)
    assert error["what"]
    assert error["hint"] or error["complaints"]
    assert_nothing_runs(one)
    return error


def assert_nothing_runs(one: Rig) -> None:
    assert one.processes() == {}
    mounts = Path("/proc/self/mounts").read_text()
    assert str(one.folder) not in mounts
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", one.port))
    drafts = one.home / "images" / "drafts"
    assert [str(path) for path in drafts.rglob("*")] == []


WRITTEN: dict[str, tuple[Edit, str, str]] = {
    "a misspelt key": (replaced("command:", "comand:"), "`comand` is not known here", "anew.yaml:9"),
    "an unknown key": (
        replaced("    size: 2", "    size: 2\n    colour: red"),
        "`colour` is not known",
        "anew.yaml:12",
    ),
    "a wrong type": (replaced("size: 2", "size: many"), "a whole number is wanted", "services.web.size"),
    "too small a number": (replaced("size: 2", "size: -1"), "too small", "services.web.size"),
    "a name twice": (
        replaced("environments:\n", "environments:\n  local: {}\n"),
        "`local` is written twice",
        "environments.local",
    ),
    "a name longer than a label": (replaced("  web:\n", f"  {'w' * 64}:\n"), "at most 63", "anew.yaml:6"),
    "names too long together": (replaced("  web:\n", f"  {'w' * 60}:\n"), "leave room", "anew.yaml:6"),
    "capital letters": (replaced("  web:\n", "  Web:\n"), "lower-case", "services.Web"),
    "a missing file": (replaced("app/:", "nope/:"), "nope/ does not exist", "services.web.copy"),
    "a path that escapes": (replaced("app/:", "../../etc/:"), "inside the project", "anew.yaml:8"),
    "an absolute path": (replaced("app/:", "/etc/:"), "relative", "anew.yaml:8"),
    "an unknown head": (replaced("os: base", "os: bsae"), "no head is named `bsae`", "anew.yaml:7"),
    "no YAML": (replaced("services:", "services: ["), "this is not YAML", "anew.yaml:7"),
    "a stage of 150 %": (replaced("50%", "150%"), "at most 100%", "stages[0]"),
    "a port that is none": (replaced("127.0.0.1:", "127.0.0.1:9"), "from 1 to 65535", "environments.local.listen"),
    "an address of elsewhere": (replaced("127.0.0.1:", "203.0.113.9:"), "can't listen on 203.0.113.9", "203.0.113.9"),
    "an empty file": (lambda one: (one.root / "anew.yaml").write_text(""), "the file is empty", "anew.yaml:1"),
    "a list": (lambda one: (one.root / "anew.yaml").write_text("- a\n"), "a mapping is wanted", "anew.yaml:1"),
    "no text": (lambda one: (one.root / "anew.yaml").write_bytes(b"\xff\xfe\0"), "it is no UTF-8", "anew.yaml"),
    "a link that escapes": (
        lambda one: (one.root / "app" / "out").symlink_to("/etc/hostname"),
        "points outside the project",
        "services.web.copy",
    ),
    "a pipe": (lambda one: os.mkfifo(one.root / "app" / "pipe"), "neither file, folder nor", "services.web.copy"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_is_written_wrongly_is_said_with_its_place_and_nothing_is_done(project: Rig, case: str) -> None:
    edit, what, where = WRITTEN[case]
    project.port = 10000 + project.port % 50000  # five digits, so that one more makes no port
    project.write("one")
    edit(project)
    error = refusal(project, "up", code=2)
    said = [error, *error["complaints"]]
    assert any(what in one["what"] for one in said), said
    assert any(where in one["where"] for one in said), said
    assert not (project.home / "edges").exists()


def test_a_folder_that_is_not_a_project_is_named(project: Rig) -> None:
    project.root.mkdir()
    error = refusal(project, "up", code=3)
    assert str(project.root) in error["what"]
    assert "-C" in error["hint"]


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("up", "-e", "production"), 3, "no environment 'production'"),
        (("up", "latest"), 2, "`latest` names no release"),
        (("up", "r9"), 3, "no release r9"),
        (("rollback", "two"), 2, "`two` names no generation"),
        (("rollback",), 3, "nothing was ever brought up"),
        (("build", "wbe"), 3, "no service 'wbe'"),
        (("upp",), 2, "`upp` is no command"),
        (("up", "--agian"), 2, "`--agian` is no option"),
    ],
)
def test_a_command_that_names_what_is_not_there_says_what_there_is(
    project: Rig, arguments: tuple[str, ...], code: int, what: str
) -> None:
    project.write("one")
    assert what in refusal(project, *arguments, code=code)["what"]


BROKEN: dict[str, tuple[Edit, int, str, str]] = {
    "a failing build step": (
        replaced("    size: 2", "    size: 2\n    build: [{run: 'echo no compiler; exit 3'}]"),
        7,
        "exit code 3",
        "no compiler",
    ),
    "a command that the image lacks": (
        replaced("command: [python3,", "command: [pyton9,"),
        6,
        "failed its test",
        "command not found: pyton9",
    ),
    "a health path that answers 404": (
        lambda one: one.write("one", health=404),
        6,
        "failed its test",
        "GET /healthz: status 404, wanted 200",
    ),
    "an instance that dies at once": (
        lambda one: (one.root / "app" / "server.py").write_text("print('no database', flush=True); exit(3)"),
        6,
        "failed its test",
        "exit code 3",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_image_that_does_not_work_is_never_sealed(project: Rig, case: str) -> None:
    edit, code, what, evidence = BROKEN[case]
    project.ready = "2s"
    project.write("one")
    edit(project)
    error = refusal(project, "up", code=code)
    assert what in error["what"]
    assert evidence in json.dumps(error["facts"])
    if "dies" in case:
        assert "no database" in json.dumps(error["facts"])
    assert json.loads(project.expect("releases", "--json")) == []


def test_what_serves_goes_on_untouched_while_the_next_one_is_broken(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    before = pids(project)
    (project.root / "app" / "server.py").write_text("import sys; sys.exit('no database')")
    done = project.anew("up")
    assert (done.returncode, "no database" in done.stderr) == (6, True), done.stderr
    status = project.status()
    assert (status["serving"], status["wish"]) == ("g1", "g1")
    assert pids(project) == before


def pids(one: Rig) -> set[int]:
    """Return the processes of the instances."""
    return {pid for pid, line in one.processes().items() if re.search(r"bwrap .*server\.py", line)}


def test_a_question_is_never_asked(project: Rig) -> None:
    project.write("one")
    project.expect("up")  # the rig's standard input is no terminal, and empty
    project.expect("dispose")
    project.expect("dispose")  # again, with nothing left: success
    assert_nothing_runs(project)


def test_intentions_without_a_rollout_are_refused(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    project.wait(project.is_idle, limit=20, what="the keeper ends")
    for arguments, code, what in (
        (("promote",), 4, "nothing to promote"),
        (("abort",), 4, "nothing to abort"),
        (("rollback",), 3, "no generation to go back to"),
        (("rollback", "g99"), 3, "no generation g99"),
        (("rollback", "g1"), 4, "the one that serves"),
    ):
        done = project.anew(*arguments, "--json")
        assert (done.returncode, what in done.stdout) == (code, True), done.stdout
    assert project.status()["serving"] == "g1"
