"""Whatever somebody with root does to a running sandbox is found, and in none of them is anything found otherwise."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from embedded_world import LIMITS, PYTHON, image_of, require, world

from anew.engines.embedded import drift, held, mounted, surroundings
from anew.engines.embedded.clock import WallClock
from anew.engines.embedded.compute import Embedded
from anew.engines.embedded.inspection import GAP, EmbeddedInspection
from anew.errors import NotFound
from anew.model import Limits
from anew.testing.conformance_bench import SLEEPER, Bench

SEIZE = """
import ctypes, sys
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
print("seized" if ptrace(0x4206, int(sys.argv[1]), None, None) == 0 else "refused", flush=True)
sys.stdin.readline()
"""
JOIN = """
import ctypes, os, sys
print("here", flush=True)
sys.stdin.readline()
space = os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY)
print("joined" if ctypes.CDLL(None).setns(space, 0x20000) == 0 else "refused", flush=True)
sys.stdin.readline()
"""
BEFORE = "40 1 0:5 / / ro - overlay o ro\n41 40 0:6 / /tmp rw - tmpfs t rw\n42 40 8:1 / /var ro master:3 - ext4 d rw\n"
MACHINE = "9 1 8:9 / /var/more rw shared:7 - ext4 d rw\n"


@dataclass(frozen=True)
class Scene:
    bench: Bench
    engine: Embedded
    pid: int
    looks: Callable[[], tuple[str, ...]]

    @property
    def application(self) -> int:
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def inside(self, *command: str) -> None:
        subprocess.run(["nsenter", f"--target={self.pid}", "--mount", *command], check=True)

    def unmount(self, path: str) -> None:
        # MNT_DETACH; the command of that name looks at itself in /proc first, which knows it not in there
        program = f"import ctypes; raise SystemExit(ctypes.CDLL(None).umount2({path.encode()!r}, 2))"
        self.inside(PYTHON, "-c", program)


@pytest.fixture
def scene() -> Iterator[Scene]:
    if os.geteuid() != 0:
        pytest.skip("only root can do from outside what is found here")
    with world() as here:
        require(here.home)
        bench = here.bench(image_of(is_host=True), f"e{uuid.uuid4().hex[:8]}")
        limits = Limits(memory=256 << 20 if "memory" in LIMITS else 0, pids=50 if "pids" in LIMITS else 0)
        try:
            bench.client().launch(bench.order("a", SLEEPER, limits=limits))
            seen = bench.find("a")
            assert seen is not None
            one = EmbeddedInspection(here.engine())
            alive = {seen.name: seen.pid}
            assert one.touched(bench.scope, alive, 0.0).evidence == {}
            yield Scene(
                bench, here.engine(), seen.pid, lambda: one.touched(bench.scope, alive, 0.0).evidence.get(seen.name, ())
            )
        finally:
            bench.clear()


def test_a_mount_from_outside_is_found_and_is_forgotten_when_it_is_gone(scene: Scene) -> None:
    scene.inside("mount", "-t", "tmpfs", "somebody", "/usr/share")
    assert scene.looks() == ("something was mounted at /usr/share (tmpfs)",)
    assert scene.looks() == ("something was mounted at /usr/share (tmpfs)",)
    scene.inside("umount", "/usr/share")
    assert scene.looks() == ()
    scene.inside("mount", "-t", "tmpfs", "somebody", "/tmp")
    assert scene.looks() == ("something was mounted over /tmp (tmpfs)",)


def test_a_mount_that_is_taken_away_or_made_writable_is_found(scene: Scene) -> None:
    scene.inside("mount", "-o", "remount,bind,rw", "/")
    assert scene.looks() == ("its root can be written to",)
    scene.unmount("/tmp")
    assert scene.looks() == ("its root can be written to", "/tmp is not mounted any more")


def test_a_debugger_is_found_at_the_next_look(scene: Scene) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SEIZE, str(scene.application)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "seized\n"
        (line,) = scene.looks()
        assert line.endswith(f"(pid {one.pid})")
        assert "is debugged by" in line
        one.communicate("\n")
    assert scene.looks() == ()


def test_a_process_that_was_there_before_and_joins_is_found_at_each_look(scene: Scene) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", JOIN, str(scene.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        assert one.stdout.readline() == "here\n"
        assert scene.looks() == ()
        one.stdin.write("\n")
        one.stdin.flush()
        assert one.stdout.readline() == "joined\n"
        for _ in range(2):
            (line,) = scene.looks()
            assert line.endswith(f"(pid {one.pid}) has entered from outside")
        one.communicate("\n")


@pytest.mark.skipif("pids" not in LIMITS, reason="processes can't be limited here")
def test_a_limit_that_is_changed_past_us_is_found(scene: Scene) -> None:
    path = held.Holds().places(scene.application)["pids"]
    before = path.read_text()
    path.write_text("max\n")
    assert scene.looks() == (f"its limit of processes was changed in the kernel: none instead of {before.strip()}",)
    path.write_text(before)
    assert scene.looks() == ()


def test_where_nobody_looked_for_a_while_that_is_said(scene: Scene) -> None:
    one = EmbeddedInspection(scene.engine)
    alive, now = {"a": scene.pid}, WallClock().now()
    assert one.touched(scene.bench.scope, alive, 0.0).gap == ""
    assert one.touched(scene.bench.scope, alive, now - 5.0).gap == ""
    assert one.touched(scene.bench.scope, alive, now - 600.0).gap == ""  # it did not live then
    one = EmbeddedInspection(scene.engine, late=0.01)
    assert one.touched(scene.bench.scope, alive, now - 600.0).gap == GAP
    assert one.touched(scene.bench.scope, {}, now - 600.0).gap == ""


def test_memory_is_known_of_one_that_has_ended_if_it_was_looked_at(scene: Scene) -> None:
    (name,) = (one.name for one in scene.bench.client().instances(scene.bench.scope))
    one = EmbeddedInspection(scene.engine)
    one.touched(scene.bench.scope, {name: scene.pid}, 0.0)
    scene.bench.client().stop(name, 0.0)
    assert one.peak_memory(name) > 1 << 20
    assert one.changes(name) == ()


def test_what_the_machine_itself_mounts_is_nobodys_doing() -> None:
    before, machine = tuple(mounted.parsed(BEFORE)), tuple(mounted.parsed(MACHINE))
    line = "50 42 8:9 / /var/more rw master:7 - ext4 d rw\n"
    there = tuple(mounted.parsed(BEFORE + line))
    assert list(mounted.differences(before, there, machine)) == []
    assert list(mounted.differences(there, before, ())) == []  # it took it away
    assert list(mounted.differences(before, there, ())) == ["something was mounted at /var/more (ext4)"]
    other = tuple(mounted.parsed(BEFORE + line.replace("master:7 ", "")))
    assert list(mounted.differences(before, other, machine)) == ["something was mounted at /var/more (ext4)"]


@pytest.mark.parametrize("module", [held, mounted, surroundings, drift], ids=lambda one: str(one.__name__))
def test_examples_in_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type] # a module, which has no type of its own here


WRITER = """
import os, time
os.mkdir("/tmp/mine")
os.symlink("/etc", "/tmp/mine/link")
with open("/tmp/mine/words", "w") as words:
    words.write("last\\n")
print("written", flush=True)
time.sleep(600)
"""


def test_a_folder_of_an_instance_can_be_read_when_it_has_ended_and_no_link_is_followed(scene: Scene) -> None:
    client, one = scene.bench.client(), EmbeddedInspection(scene.engine)
    order = scene.bench.order("b", WRITER)
    client.launch(order)
    assert scene.bench.waits_for_line("b", "written")
    folder = one.folder(order.name, "/tmp/mine")
    try:
        for path in ("/tmp/mine/link", "/tmp/other"):
            with pytest.raises(NotFound, match=f"no folder {path}"):
                one.folder(order.name, path)
        client.stop(order.name, 0.0)
        words = os.open("words", os.O_RDONLY, dir_fd=folder)
        said = os.read(words, 99)
        os.close(words)
        assert said == b"last\n"
        with pytest.raises(NotFound, match="lives"):
            one.folder(order.name, "/tmp/mine")
    finally:
        os.close(folder)
