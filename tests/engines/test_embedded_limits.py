"""Control groups: where they can be made, what is left of them, and what they tell of an end."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from embedded_world import LIMITS, OWNER, World, image_of, require, world

from anew.engines.embedded import cgroup_places, cgroups, confining, refusals
from anew.engines.embedded.cgroup_places import Lack, Place, Tree, trees
from anew.engines.embedded.confining import Entry
from anew.engines.embedded.doctor import limits as finding
from anew.engines.embedded.life import UNKNOWN, Life, sentence
from anew.errors import EngineError
from anew.model import Limits
from anew.testing.conformance_bench import SLEEPER, Bench
from anew.testing.conformance_limits import ENDED, GREEDY, MEMORY, PARENT_OF_GREEDY

HAS_ALL = {"memory", "cpu", "pids"} <= LIMITS
limited = pytest.mark.skipif(not HAS_ALL, reason="nothing can be limited here")

V2 = "24 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = """31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""
BOX = "600 599 0:32 /docker/4f /sys/fs/cgroup/memory ro,nosuid master:17 - cgroup cgroup rw,memory"


# ---------------------------------------------------------------- where


def test_a_machine_with_version_2_has_one_tree() -> None:
    assert trees(V2, "0::/user.slice/x.scope") == {
        "": Tree(Path("/sys/fs/cgroup"), "/", "/user.slice/x.scope", is_v2=True)
    }


def test_a_machine_with_version_1_has_a_tree_for_each_controller() -> None:
    found = trees(V1, "4:memory:/here\n2:cpu,cpuacct:/there\n1:name=systemd:/\n0::/")
    assert sorted(found) == ["", "cpu", "memory"]
    assert found["memory"] == Tree(Path("/sys/fs/cgroup/memory"), "/", "/here", is_v2=False)
    assert found["cpu"] == Tree(Path("/sys/fs/cgroup/cpu,cpuacct"), "/", "/there", is_v2=False)


def test_a_part_of_a_tree_that_is_mounted_read_only_is_seen_as_such() -> None:
    (found,) = trees(BOX, "4:memory:/docker/4f").values()
    assert (found.root, found.is_read_only) == ("/docker/4f", True)
    assert cgroup_places._place("memory", {"memory": found}, "anew") == Lack(
        "/sys/fs/cgroup/memory is mounted read-only", refusals.INSIDE
    )


def test_without_control_groups_that_is_said() -> None:
    lack = cgroup_places._place("pids", trees("21 1 0:5 / /proc rw - proc proc rw", ""), "anew")
    assert isinstance(lack, Lack)
    assert lack.why == "there are no control groups here: no cgroup2 is mounted"


def tree_of_version_2(top: Path, controllers: str, *more: str) -> Mapping[str, Tree]:
    """Make the files of a tree that a place is looked for in, as far as they can be made of files."""
    for folder in (top, top / "session"):
        folder.mkdir()
        (folder / "cgroup.procs").touch()
        (folder / "cgroup.controllers").write_text(controllers)
        (folder / "cgroup.subtree_control").write_text(controllers)
    ours = top / "anew"
    ours.mkdir()
    (ours / "cgroup.subtree_control").write_text(controllers)
    for file in more:
        (ours / file).touch()
    return {"": Tree(top, "/", "/session", is_v2=True)}


def test_groups_stand_as_high_as_can_be_written_to(tmp_path: Path) -> None:
    here = tree_of_version_2(tmp_path / "cgroup", "memory pids", "memory.max", "pids.max")
    assert cgroup_places._place("memory", here, "anew") == Place(tmp_path / "cgroup" / "anew", is_v2=True)


def test_a_controller_that_is_not_there_or_can_not_limit_is_lacking(tmp_path: Path) -> None:
    here = tree_of_version_2(tmp_path / "cgroup", "memory pids", "memory.max")
    found = [cgroup_places._place(one, here, "anew") for one in ("cpu", "pids")]
    assert [one.why for one in found if isinstance(one, Lack)] == [
        f"{tmp_path}/cgroup has no controller for it",
        "this kernel has no such limit",
    ]


def test_a_group_of_somebody_else_is_no_place(tmp_path: Path) -> None:
    if os.geteuid() == 0:  # who may write everywhere; all of this file runs as an ordinary user too
        return
    here = tree_of_version_2(tmp_path / "cgroup", "memory", "memory.max")
    (tmp_path / "cgroup" / "session" / "cgroup.procs").chmod(0o444)
    lack = cgroup_places._place("memory", here, "anew")
    assert isinstance(lack, Lack)
    assert lack.why == f"{tmp_path}/cgroup/session belongs to somebody else"
    assert "systemd-run --user --scope" in lack.hint


def test_doctor_says_what_can_be_limited_where_and_what_not_and_why() -> None:
    lack, place = Lack("/x is mounted read-only", "act"), Place(Path("/y/anew"), is_v2=False)
    assert finding({"memory": place, "cpu": place, "pids": place}).state == "ok"
    found = finding({"memory": place, "cpu": lack, "pids": lack})
    assert (found.state, found.hint) == ("limited", "act")
    assert found.detail == "can limit memory in /y; can't limit cpu and pids: /x is mounted read-only"


def test_trying_out_leaves_nothing() -> None:
    before = ours()
    cgroup_places.tried_out()
    assert ours() == before


# ---------------------------------------------------------------- what an end means


def test_a_command_enters_by_itself_before_it_becomes_what_it_shall_be() -> None:
    assert Entry().command(["a", "b"]) == ["a", "b"]
    script = Entry(("/c/x y/cgroup.procs",), 7).command(["a", "b"])
    assert (script[:2], script[3:]) == (["/bin/sh", "-c"], ["sh", "a", "b"])
    assert script[2].startswith("echo 0 >'/c/x y/cgroup.procs' && echo 0 >&0 || { echo ")
    assert script[2].endswith('; exit 1; }; exec "$@" </dev/null')


@pytest.mark.parametrize(
    ("code", "is_ours", "said"),
    [
        (137, False, "killed for memory (limit 64 MiB)"),
        (None, False, "killed for memory (limit 64 MiB)"),
        (137, True, "signal 9 (SIGKILL)"),
        (143, False, "signal 15 (SIGTERM)"),
        (0, False, "exit code 0"),
        (3, False, "exit code 3 (a process of it was killed for memory, limit 64 MiB)"),
    ],
)
@pytest.mark.parametrize("file", ["memory.events", "memory.oom_control"])
def test_an_end_is_explained_by_what_the_kernel_counted(
    tmp_path: Path, file: str, code: int | None, said: str, *, is_ours: bool
) -> None:
    now = Life(is_alive=False, pid=7, code=code, ended=UNKNOWN if code is None else sentence(code))
    (tmp_path / file).write_text("oom_kill 1\n")
    assert cgroups.explained(now, [str(tmp_path)], MEMORY, is_ours=is_ours) == said
    (tmp_path / file).write_text("oom_kill 0\n")
    assert cgroups.explained(now, [str(tmp_path)], MEMORY, is_ours=is_ours) == now.ended


# ---------------------------------------------------------------- on the real thing


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        require(made.home)
        yield made


@pytest.fixture
def bench(here: World) -> Iterator[Bench]:
    made = here.bench(image_of(is_host=True), f"g{uuid.uuid4().hex[:8]}")
    yield made
    made.clear()
    assert made.processes(made.mark) == ()
    assert [path for path in ours() if made.mark in path] == []


def ours() -> list[str]:
    """Return all folders of control groups of ours, and of a doctor."""
    places = [one for one in cgroup_places.places().values() if isinstance(one, Place)]
    return sorted(str(path) for top in {one.folder.parent for one in places} for path in top.glob("anew*/*/"))


def folders_of(bench: Bench, short: str) -> list[str]:
    return [path for path in ours() if f"/{bench.mark}-{short}." in path]


@limited
def test_a_group_is_made_only_where_a_limit_is_asked_and_stays_until_the_instance_is_removed(bench: Bench) -> None:
    client = bench.client()
    client.launch(bench.order("a", SLEEPER))
    client.launch(bench.order("b", SLEEPER, limits=Limits(pids=20)))
    assert folders_of(bench, "a") == []
    assert len(folders_of(bench, "b")) == 1
    client.stop(f"{bench.mark}-b", 0.0)
    assert len(folders_of(bench, "b")) == 1
    client.remove(f"{bench.mark}-b")
    assert folders_of(bench, "b") == []


@limited
def test_whoever_launches_is_in_no_group_and_all_of_an_instance_is_in_its_own(bench: Bench, here: World) -> None:
    before = Path("/proc/self/cgroup").read_text()
    bench.client().launch(bench.order("a", SLEEPER, limits=Limits(64 << 20, 1.0, 20)))
    assert Path("/proc/self/cgroup").read_text() == before
    for folder in folders_of(bench, "a"):
        pids = Path(folder, "cgroup.procs").read_text().split()
        assert len(pids) == 3, folder  # two of bubblewrap, and the application
        assert str(os.getpid()) not in pids


@limited
def test_the_memory_that_an_instance_had_at_most_is_known_with_and_without_a_limit(here: World, bench: Bench) -> None:
    engine, program = here.engine(), "kept = bytearray(40 << 20); print('has it', flush=True)\n" + SLEEPER
    for short, limits in (("a", Limits(memory=128 << 20)), ("b", Limits())):
        engine.launch(bench.order(short, program, limits=limits))
        assert bench.waits_for_line(short, "has it")
        found = engine.peak_memory(f"{bench.mark}-{short}")
        assert 40 << 20 < found < 100 << 20, short
        engine.stop(f"{bench.mark}-{short}", 0.0)
        assert engine.peak_memory(f"{bench.mark}-{short}") >= found
        engine.remove(f"{bench.mark}-{short}")
        assert engine.peak_memory(f"{bench.mark}-{short}") == 0


@limited
def test_what_was_stopped_was_not_killed_for_memory_though_a_process_of_it_was(bench: Bench) -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{PARENT_OF_GREEDY}"
    bench.client().launch(bench.order("a", stubborn, "waits", limits=Limits(memory=MEMORY)))
    assert bench.waits_for_line("a", "child 9")
    bench.client().stop(f"{bench.mark}-a", 0.1)
    seen = bench.find("a")
    assert seen is not None
    assert seen.ended == "signal 9 (SIGKILL)"


@limited
def test_a_sandbox_that_finds_no_memory_says_so(bench: Bench) -> None:
    order = bench.order("a", "pass", limits=Limits(memory=1 << 16))
    with pytest.raises(EngineError, match=r"killed for memory \(limit 0.0625 MiB\)"):
        bench.client().launch(order)
    assert folders_of(bench, "a") == []
    assert bench.find("a") is None


@limited
def test_what_can_not_enter_its_group_does_not_run(bench: Bench, here: World) -> None:
    planned = confining.planned(f"{bench.mark}-a", OWNER, Limits(pids=5))
    with planned.made(None):
        cgroups.remove(planned.folders)
        command = Entry(tuple(f"{one}/cgroup.procs" for one in planned.folders)).command(["/bin/echo", "ran"])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, f"{confining.REFUSED}\n")


@limited
def test_what_a_killed_process_left_of_a_throwaway_instance_is_removed_by_the_next(bench: Bench) -> None:
    """The group of a process that is gone goes; that of one which runs stays."""
    limits = Limits(pids=9)
    with confining.throwaway(f"{bench.mark}-own", OWNER, limits) as own, own.made(None):
        leaver = (
            "import os; from anew.engines.embedded import confining; from anew.model import Limits\n"
            f"with confining.throwaway('{bench.mark}-r', '{OWNER}', Limits(pids=9)) as one, one.made(None):\n"
            "    os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", leaver], check=True)
        assert len(folders_of(bench, "r")) == 1
        bench.client().run(bench.order("r", "pass", limits=limits), 20.0)
        assert folders_of(bench, "r") == []
        assert len(folders_of(bench, "own")) == 1


@limited
def test_what_a_killed_launcher_left_of_a_group_is_used_again_as_if_it_were_new(bench: Bench) -> None:
    order = bench.order("a", GREEDY, "300", limits=Limits(memory=MEMORY))
    planned = confining.planned(order.name, OWNER, order.limits)
    with planned.made(None):
        pass
    fine = replace(order, command=(*order.command[:-1], "20"))
    bench.client().launch(fine)
    seen = bench.waits_for("a", lambda one: not one.is_alive)
    assert seen is not None
    assert seen.ended == "exit code 0"
    bench.client().remove(order.name)
    bench.client().launch(order)
    seen = bench.waits_for("a", lambda one: not one.is_alive)
    assert seen is not None
    assert seen.ended == ENDED
