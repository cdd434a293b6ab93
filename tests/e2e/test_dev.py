"""A service developed with the command that people use: edits are seen, nothing is left, what was changed is told."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anew.testing.rig import Rig

PATIENCE = 60.0

WRITER = """
import http.server, os
for path in ("/etc/by-hand", "/srv/app/into-source", "/tmp/private", "/var/lib/mine/declared"):
    try:
        open(path, "w").write("x")
    except OSError as error:
        print("refused", path, error.errno, flush=True)
print("uid", os.getuid(), flush=True)
address = (os.environ["HOST"], int(os.environ["PORT"]))
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
CALLER = """
import http.server, os, urllib.request
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        secret = open("/run/secrets/token").read()
        if self.path != "/healthz":
            below = urllib.request.urlopen(os.environ["WEB_URL"] + "/").read().decode()
            self.wfile.write(f"{below} {secret} {os.environ.get('COLOUR')}".encode())
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Answers).serve_forever()
"""
LISTER = """
import os, time
top = "/srv/app"
seen = [os.path.relpath(os.path.join(at, one), top) for at, _, every in os.walk(top) for one in every]
print("SEEN", *sorted(seen), flush=True)
time.sleep(1000)
"""
MORE = """  front:
    os: base
    copy: {front/: /srv/front/}
    command: [python3, -u, /srv/front/server.py]
    http: {health: /healthz}
    needs: [web]
    secrets: [token]
    flags: {COLOUR: red}
    rollout: {stages: [], ready: 20s, warm: 1s}
environments:"""


@dataclass(slots=True)
class Dev:
    """One `anew dev` that goes on; what it says is in files."""

    project: Rig
    process: subprocess.Popen[bytes]
    says: Path
    answers: Path

    @property
    def text(self) -> str:
        return self.says.read_text()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"it ended: {self.text}"
            assert time.monotonic() < end, f"{what}: {self.text}"
            time.sleep(0.05)

    def heard(self, text: str, times: int = 1) -> None:
        self.until(lambda: self.text.count(text) >= times, f"{text!r}, {times} times")

    @property
    def address(self) -> str:
        found = re.search(r"its address is (http://\S+/);", self.text)
        assert found is not None
        return found[1]

    def get(self) -> str:
        with urllib.request.urlopen(self.address, timeout=10) as answer:
            return str(answer.read().decode())

    def end(self, number: int = signal.SIGINT) -> dict[str, Any]:
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return dict(json.loads(self.answers.read_text()))


@contextmanager
def dev(project: Rig, *arguments: str) -> Iterator[Dev]:
    says, answers = project.folder / "says", project.folder / "answers"
    with says.open("wb") as err, answers.open("wb") as out:
        command = project._command(["dev", *arguments, "--json"])
        process = subprocess.Popen(command, env=project._environment(), stdout=out, stderr=err, start_new_session=True)
    try:
        yield Dev(project, process, says, answers)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def left(project: Rig) -> tuple[list[str], list[str]]:
    """Return the folders of work, and the processes of workpieces, that are there."""
    work = Path(project.home, "work")
    folders = sorted(one.name for one in work.iterdir()) if work.is_dir() else []
    mine = f"{work}/".encode()
    processes = []
    for place in Path("/proc").glob("[1-9]*"):
        try:
            if mine in (place / "cmdline").read_bytes():
                processes.append(place.name)
        except OSError:
            continue
    return folders, processes


def changes(told: dict[str, Any]) -> dict[str, str]:
    return {one["path"]: one["what"] for one in told["changes"]}


def shell(project: Rig, script: str, service: str = "web") -> dict[str, Any]:
    done = project.anew("dev", service, "--shell", "--json", text=script)
    return dict(json.loads(done.stdout)) | {"says": done.stderr, "exit": done.returncode}


def test_an_edit_is_seen_at_the_same_address_and_nothing_is_left(project: Rig) -> None:
    project.write("one")
    with dev(project, "web") as running:
        running.heard("web listens at")
        assert running.get() == "one"
        address = running.address
        project.write("two")
        running.heard("web listens at", 2)
        assert (running.get(), running.address) == ("two", address)
        assert "app/server.py changed; web starts again" in running.text
        told = running.end()
    assert (told["starts"], told["code"], told["ended"], told["changes"]) == (2, 0, "", [])
    assert told["origin"] == "a build, for there is no release yet"
    assert left(project) == ([], [])
    assert project.anew("releases", "--json").stdout.strip() == "[]"  # nothing was released


def test_a_collection_keeps_what_is_developed_though_it_was_never_released(project: Rig) -> None:
    project.write("one")
    with dev(project, "web") as running:
        running.heard("web listens at")
        for path in Path(project.home, "images").rglob("*"):
            if path.is_file():
                os.utime(path, (0, 0))  # as if it had been running for days
        told = json.loads(project.expect("gc", "--json"))
        why = f"anew dev web, process {running.process.pid}, uses it"
        assert [one["reason"] for one in told["kept"] if one["what"].startswith("image ")] == [why]
        project.write("two")
        running.heard("web listens at", 2)
        assert running.get() == "two"
        running.end()
    assert json.loads(project.expect("gc", "--json"))["kept"] == []


def seen_by(project: Rig, running: Dev, change: Callable[[Path], object], times: int) -> str:
    """Change a source, and return what the application sees when it was started so many times."""
    change(project.root / "app")
    running.heard("SEEN", times)
    return running.text.rpartition("SEEN ")[2].partition("\n")[0]


def test_sources_come_and_go_where_a_step_left_something(project: Rig) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("    size:", "    build: [{run: echo 1 > /srv/app/made}]\n    size:"))
    app = project.root / "app"
    (app / "server.py").write_text(LISTER)
    (app / "old").write_text("1\n")
    with dev(project, "web") as running:
        assert seen_by(project, running, lambda _: None, 1) == "made old server.py"
        assert seen_by(project, running, lambda at: (at / "new").write_text("1\n"), 2) == "made new old server.py"
        assert seen_by(project, running, lambda at: (at / "new").unlink(), 3) == "made old server.py"
        assert seen_by(project, running, lambda at: (at / "old").unlink(), 4) == "made server.py"
        assert seen_by(project, running, lambda at: (at / "old").mkdir(), 5) == "made server.py"
        assert seen_by(project, running, lambda at: (at / "old" / "in").write_text("1\n"), 6) == (
            "made old/in server.py"
        )
        told = running.end()
    assert told["changes"] == []


def test_a_crash_is_told_once_and_waits_for_a_change(project: Rig) -> None:
    project.write("one")
    server = project.root / "app" / "server.py"
    good = server.read_text()
    server.write_text("print('last words', flush=True)\nraise SystemExit(3)\n")
    with dev(project, "web") as running:
        running.heard("web ended: exit code 3; it is started again when a source changes")
        assert "last words" in running.text
        time.sleep(1.0)  # longer than it would take to start it again and again
        assert running.text.count("web ended") == 1
        server.write_text(good)
        running.heard("web listens at")
        server.unlink()
        running.heard("web ended", 2)
        server.write_text(good)
        running.heard("web listens at", 2)
        told = running.end(signal.SIGTERM)
    assert told["changes"] == []
    assert left(project) == ([], [])


def test_what_the_application_wrote_elsewhere_is_told(project: Rig) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("    size:", "    writable: [/var/lib/mine]\n    size:"))
    (project.root / "app" / "server.py").write_text(WRITER)
    with dev(project, "web") as running:
        running.heard("web listens at")
        assert "refused /srv/app/into-source 30" in running.text  # as in an image, sources are read-only
        assert "uid 1000" in running.text
        told = running.end()
    assert changes(told) == {"/etc/by-hand": "created"}
    assert not (project.root / "app" / "into-source").exists()
    assert not Path("/etc/by-hand").exists()


def test_a_shell_may_change_everything_and_tells_what_it_changed(project: Rig) -> None:
    project.write("one")
    script = (
        "id -u; echo x > /etc/by-hand; rm /etc/passwd; echo new > /srv/app/new; echo $PORT > /srv/app/port; exit 7\n"
    )
    told = shell(project, script)
    assert (told["exit"], told["code"], told["starts"]) == (7, 7, 0)
    assert changes(told) == {"/etc/by-hand": "created", "/etc/passwd": "deleted"}
    assert (project.root / "app" / "new").read_text() == "new\n"  # sources are the sources
    assert (project.root / "app" / "port").read_text().strip() in told["address"]
    assert Path("/etc/passwd").exists()
    assert changes(shell(project, "ls /etc/by-hand\n")) == {}  # nothing of it is kept
    assert left(project) == ([], [])


def on_terminal(project: Rig, arguments: Sequence[str], *typed: str) -> tuple[int, str]:
    """Run a command on a terminal; type something at each prompt; return its exit code and all that was shown."""
    child, terminal = pty.fork()
    if not child:
        os.execve(sys.executable, project._command(arguments), project._environment() | {"TERM": "dumb"})
    seen, left, end = "", list(typed), time.monotonic() + PATIENCE
    prompts = 0
    while time.monotonic() < end:
        try:
            seen += os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            break  # it has ended
        if left and len(re.findall(r"(?:^|\n)[#$] ", seen)) > prompts:
            prompts += 1
            for part in re.split("(\x03)", left.pop(0)):
                time.sleep(0.5 if part == "\x03" else 0.0)  # nothing tells that what was typed runs
                os.write(terminal, part.encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


@pytest.mark.parametrize(("typed", "code"), [(("exit 3\n",), 3), (("false\n", "\x04"), 1), (("true\n", "\x04"), 0)])
def test_the_exit_code_of_a_shell_on_a_terminal_is_its_own(project: Rig, typed: Sequence[str], code: int) -> None:
    project.write("one")
    ended, seen = on_terminal(project, ("dev", "web", "--shell"), *typed)
    assert (ended, "tty" in seen) == (code, False), seen
    assert "; ^C ends it" not in seen


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may enter the sandbox of another user")
def test_the_exit_code_of_a_shell_in_an_instance_is_its_own(project: Rig) -> None:
    project.write("one")
    project.expect("up")
    ended, seen = on_terminal(project, ("debug", "web"), "tty; exit 3\n")
    assert (ended, "Cannot set tty" in seen) == (3, False), seen


def test_a_shell_on_a_terminal_has_its_interrupts_and_its_size(project: Rig) -> None:
    project.write("one")
    ended, seen = on_terminal(
        project, ("dev", "web", "--shell"), "sleep 100\n\x03", "echo code $?; stty cols 77; stty size; exit 4\n"
    )
    assert (ended, "code 130" in seen, "0 77" in seen) == (4, True, True), seen


def test_one_that_is_not_to_be_started_again_ends_with_its_application(project: Rig) -> None:
    project.write("one")
    (project.root / "app" / "server.py").write_text("raise SystemExit(3)\n")
    done = project.anew("dev", "web", "--no-restart", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ended"], told["starts"]) == (1, "exit code 3", 1)


def test_one_that_nothing_can_start_again_ends_with_its_application(project: Rig) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    with_copy = spec.read_text().replace("[python3, /srv/app/server.py]", "[sh, -c, exit 5]")
    spec.write_text(re.sub("    copy:.*\n", "", with_copy))
    done = project.anew("dev", "web", "--json", limit=PATIENCE)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ended"], told["starts"]) == (1, "exit code 5", 1)
    assert "started again" not in done.stderr
    spec.write_text(with_copy)
    with dev(project, "web") as running:
        running.heard("web ended: exit code 5; it is started again when a source changes")
        (project.root / ".anewignore").write_bytes(b"\xff")
        (project.root / "app").rename(project.root / "aside")
        (project.root / "aside").rename(project.root / "app")
        assert running.process.wait(PATIENCE) != 0  # with the error, if that is what it is started again with
        assert "sources can't be watched any more" in running.text


def test_a_killed_one_leaves_nothing_that_runs_and_the_next_command_sweeps(project: Rig) -> None:
    project.write("one")
    with dev(project, "web") as running:
        running.heard("web listens at")
        running.process.kill()
        running.process.wait()
    project.wait(lambda: not left(project)[1], limit=10, what="the instance ends with it")
    assert len(left(project)[0]) == 1
    project.expect("build")
    assert left(project) == ([], [])


def test_what_serves_is_called_as_its_own_instances_call_it(project: Rig) -> None:
    project.write("one")
    (project.root / "front").mkdir()
    (project.root / "front" / "server.py").write_text(CALLER)
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("environments:", MORE))
    # Nothing serves yet: what is needed is started from the same images, and secrets are made up.
    with dev(project, "front") as running:
        running.heard("front listens at")
        assert "starting what it needs: web" in running.text
        assert "made-up values for token" in running.text
        below, secret, colour = running.get().split()
        assert (below, len(secret), colour) == ("one", 64, "red")
        running.end()
    assert left(project) == ([], [])
    assert project.anew("secret", "set", "token", text="hunter2").returncode == 0
    spec.write_text(spec.read_text().replace("local: {", "local: {services: {front: {flags: {COLOUR: blue}}}, "))
    project.expect("up")
    instances = json.loads(project.expect("status", "--json"))["services"]
    with dev(project, "front") as running:
        running.heard("front listens at")
        assert "with the image of g1 of r1, which serves" in running.text
        assert "starting what it needs" not in running.text
        assert running.get() == "one hunter2 blue"
        assert json.loads(project.expect("status", "--json"))["services"] == instances  # it is no part of them
        assert running.end()["changes"] == []
    # What is under development meets another release as soon as that serves.
    assert project.status()["serving"] == "g1"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nothing",), 3, "no service 'nothing'"),
        (("web", "-e", "nowhere"), 3, "no environment 'nowhere'"),
        (("web", "-e", "far"), 5, "runs on the engine docker"),
        ((), 2, "SERVICE"),
    ],
)
def test_what_can_not_be_developed_is_refused(project: Rig, arguments: tuple[str, ...], code: int, says: str) -> None:
    project.write("one")
    spec = project.root / "anew.yaml"
    head = "{tar: head.tar}"
    spec.write_text(spec.read_text().replace("{host: true}", head) + "  far: {engine: docker}\n")
    done = project.anew("dev", *arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_a_source_that_is_missing_is_refused_and_nothing_is_left(project: Rig) -> None:
    project.write("one")
    project.expect("build")
    project.expect("up")
    (project.root / "app").rename(project.root / "aside")
    done = project.anew("dev", "web")
    assert (done.returncode, "app/ does not exist" in done.stderr) == (2, True), done.stderr
    assert left(project) == ([], [])
