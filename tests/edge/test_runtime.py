from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anew.edge import process
from anew.edge.addresses import holders
from anew.edge.find import find
from anew.edge.runtime import WORKER_UID, HaproxyEdge
from anew.errors import EngineError, NotFound, SpecError, Unsupported
from anew.model import Declaration
from anew.testing.conformance_edge_bench import Bench, free_port, until

ALL = {"web": {"web-g1": 1000}}
ROOT = Path(__file__).parent.parent.parent


def place(bench: Bench) -> Path:
    client = bench.client()
    assert isinstance(client, HaproxyEdge)
    return client._saved.config


def serving(bench: Bench) -> Declaration:
    declaration = bench.declaration(bench.group("g1", "one"))
    bench.client().declare(declaration)
    bench.client().shift(ALL)
    return declaration


@pytest.mark.parametrize("victim", ["master", "worker"])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_an_edge_that_lost_a_process_comes_back(bench: Bench, victim: str, is_stopped: bool) -> None:
    declaration = serving(bench)
    pids = process.ours(place(bench))
    assert 2 == len(pids)
    pid = min(pids) if victim == "master" else max(pids)
    os.kill(pid, signal.SIGSTOP if is_stopped else signal.SIGKILL)
    bench.client().declare(declaration)
    if not is_stopped:
        assert pid not in process.ours(place(bench))
    elif victim == "worker":
        os.kill(pid, signal.SIGCONT)
    assert "one\n" == bench.get().text
    assert ALL == bench.reading().weights
    until(lambda: 2 == len(process.ours(place(bench))), "one master, one worker")


def test_nothing_is_left_after_stop(bench: Bench) -> None:
    serving(bench)
    folder = place(bench).parent
    bench.client().stop()
    assert () == process.ours(place(bench))
    assert ["counters.lock", "haproxy.log", "lock"] == sorted(one.name for one in folder.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts them under another uid")
def test_workers_have_a_uid_of_their_own(bench: Bench) -> None:
    serving(bench)
    master, worker = process.ours(place(bench))
    assert (0, WORKER_UID) == (Path(f"/proc/{master}").stat().st_uid, Path(f"/proc/{worker}").stat().st_uid)


def test_the_edge_is_nobodys_child_and_holds_nothing_of_ours(bench: Bench) -> None:
    with Path(__file__).open() as ours:
        os.set_inheritable(ours.fileno(), True)
        serving(bench)
        for pid in process.ours(place(bench)):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            assert os.getpid() != int(words[1])
            assert os.getsid(0) != int(words[3])
            assert __file__ not in {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}


def test_who_holds_a_port_is_named(bench: Bench) -> None:
    instance = bench.instance("one")
    assert [instance.process.pid] == [pid for pid, _ in holders(instance.port)]


def test_what_an_edge_does_not_know_is_refused(bench: Bench) -> None:
    with pytest.raises(EngineError, match="not up"):
        bench.client().shift(ALL)
    serving(bench)
    with pytest.raises(NotFound, match="api-g1"):
        bench.client().shift({"api": {"api-g1": 1000}})
    with pytest.raises(NotFound, match="web-g1 of api"):
        bench.client().shift({"api": {"web-g1": 1000}})


def test_an_address_of_another_machine_is_refused(bench: Bench) -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(SpecError):
            bench.client().declare(Declaration(host, free_port(), free_port()))


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="107 bytes"):
        HaproxyEdge(tmp_path, tmp_path / ("x" * 100)).declare(Declaration("127.0.0.1", 1, 2))


def test_refused_lines_and_the_command_are_in_the_error(bench: Bench) -> None:
    declaration = serving(bench)
    broken = bench.group("g2")
    wrong = Declaration("127.0.0.1", declaration.port, 70_000, declaration.routes, (*declaration.groups, broken))
    with pytest.raises((EngineError, SpecError)):
        bench.client().declare(wrong)
    assert declaration == bench.reading().declaration


def test_an_installed_haproxy_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "haproxy"
    old.write_text("#!/bin/sh\necho HAProxy version 2.4.1 2021/06/17\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (2, 6) <= find().version
    old.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(EngineError, match="version"):
        find()


@pytest.mark.skipif(os.geteuid() != 0, reason="this is already an ordinary user")
def test_all_of_this_holds_for_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    user = pwd.getpwnam("nobody")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(ROOT / "tests" / "edge")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert 0 == done.returncode, done.stdout[-5000:] + done.stderr[-2000:]
