"""Builds that are killed at any point: nothing of them goes on or stays mounted, and the next one is right."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from building import need_program, need_root, shell_head

BUILD = """
import sys
from pathlib import Path
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import *
folder, head = Path(sys.argv[1]), sys.argv[2]
spin = "; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done"
steps = (
    BuildStep("echo 1 > /srv/1; mkdir -p /srv/d; echo a > /srv/d/a" + spin),
    BuildStep(files=(("t", "/srv/t"),), vars='{"x":[1,2]}', name="page"),
    BuildStep("cat /run/secrets/token > /srv/2; rm -r /srv/d; echo 2 > /srv/2" + spin, secrets=("token",), name="two"),
    BuildStep("cat /srv/app/f /srv/t > /srv/3" + spin),
)
service = Service("web", "base", ("x",), copy=(Copy("app/", "/srv/app/"),), build=steps)
one = TarHead("base", "head.tar") if head == "tar" else DebianHead("base", "bookworm")
spec = Spec("shop", (one,), (), ())
store = ImageStore(folder / "home" / "images")
builder = Builder(folder / "home", store, folder / "project", lambda _: b"a secret value")
print("beginning", flush=True)
print("made", builder.build(spec, service, lambda line: print(line, flush=True))[0].digest, flush=True)
"""
POINTS = (
    "beginning",
    "packing head base",
    "running services.web.build[0]",
    "running services.web.build[1] (page)",
    "running services.web.build[2] (two)",
    "running services.web.build[3]",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    need_root()
    path = Path(tempfile.mkdtemp(prefix="anew-killed-"))
    try:
        (path / "project" / "app").mkdir(parents=True)
        shell_head(path / "project" / "head.tar")
        (path / "project" / "app" / "f").write_text("copied\n")
        (path / "project" / "t").write_text("{% for one in x %}{{ one }}{% endfor %}")
        yield path
    finally:
        shutil.rmtree(path)


def begun(folder: Path, head: str = "tar") -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", BUILD, str(folder), head]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def digest(folder: Path, head: str = "tar") -> str:
    with begun(folder, head) as build:
        told, _ = build.communicate()
    assert build.returncode == 0, told
    return told.splitlines()[-1].removeprefix("made ")


def forgotten(folder: Path) -> None:
    shutil.rmtree(folder / "home", ignore_errors=True)
    (folder / "project" / "anew.lock").unlink(missing_ok=True)


def killed_at(folder: Path, point: str, head: str = "tar") -> int:
    with begun(folder, head) as build:
        assert build.stdout is not None
        for line in build.stdout:
            if line.startswith(point):
                break
        build.kill()
    return build.pid


def others_of(folder: Path) -> list[str]:
    """Return the processes that have a folder in their command line or as a mount."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (entry / "mounts").read_text()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it ended while we looked
        if state != "Z" and (str(folder) in line or str(folder) in mounts):
            found.append(line)
    return found


def require_nothing_left(folder: Path, patience: float = 10.0) -> None:
    end = time.monotonic() + patience
    while others_of(folder):
        assert time.monotonic() < end, others_of(folder)
        time.sleep(0.02)
    assert str(folder) not in Path("/proc/mounts").read_text()


def require_swept(folder: Path) -> None:
    """Look at what is left after a whole build: no draft, and no folder in which something was made."""
    home = folder / "home"
    left = [path for place in ("work", "images/drafts") for path in (home / place).glob("*")]
    assert left == []
    for path in (home / "images").rglob("*"):
        assert not path.is_file() or b"a secret value" not in path.read_bytes(), path


def test_a_build_killed_at_a_named_point_leaves_nothing_that_a_later_one_trusts(folder: Path) -> None:
    expected = digest(folder)
    for point in POINTS:
        forgotten(folder)
        killed_at(folder, point)
        require_nothing_left(folder)
        assert expected == digest(folder), point
        require_swept(folder)


def test_a_build_killed_at_any_time_leaves_nothing_that_a_later_one_trusts(folder: Path) -> None:
    began = time.monotonic()
    expected = digest(folder)
    whole = time.monotonic() - began
    chance = random.Random(20250101)
    forgotten(folder)
    for number in range(24):
        if number % 6 == 0:
            forgotten(folder)  # else what the killed ones before made is there
        with begun(folder) as build:
            try:
                build.wait(chance.uniform(0, whole))
            except subprocess.TimeoutExpired:
                os.killpg(build.pid, signal.SIGKILL) if number % 2 else build.kill()
        require_nothing_left(folder)
        if number % 3 == 2:
            assert expected == digest(folder), number
            require_swept(folder)


SPEC = """
project: shop
os: {base: {host: true}}
services:
  web: {os: base, command: [x], build: [{run: "echo begun; sleep 60"}]}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_is_asked_to_end_leaves_nothing_at_all(folder: Path, number: signal.Signals) -> None:
    (folder / "project" / "anew.yaml").write_text(SPEC)
    home = folder / "home"
    before = signal.signal(number, signal.SIG_DFL)  # these tests may have been told to outlive their terminal
    with subprocess.Popen(
        [sys.executable, "-m", "anew", "-C", str(folder / "project"), "build"],
        env={**os.environ, "ANEW_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as build:
        signal.signal(number, before)
        assert build.stdout is not None
        assert any("begun" in line for line in build.stdout if "running" not in line)
        assert list((home / "work").iterdir())
        build.send_signal(number)
        told = build.stdout.read()
        code = build.wait(20)
    assert told.split() == ["interrupted"]
    assert code == -number
    assert list((home / "work").iterdir()) == []
    require_nothing_left(folder)


@pytest.mark.timeout(600)
def test_what_makes_a_head_dies_with_the_build(folder: Path) -> None:
    need_program("mmdebstrap")
    killed = []
    for point in ("fetching", "making head base", "I: extracting archives", "I: installing remaining"):
        killed.append(killed_at(folder, point, "debian"))
        require_nothing_left(folder)
    first = digest(folder, "debian")
    assert [path for pid in killed for path in Path("/dev/shm").glob(f"anew-{pid}-*")] == []
    require_swept(folder)
    forgotten(folder)
    assert first == digest(folder, "debian")
