from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anew.edge import process
from anew.edge.addresses import holders
from anew.edge.find import find
from anew.edge.limits import WORKER_UID
from anew.edge.runtime import HaproxyEdge
from anew.errors import EngineError, NotFound, SpecError, Unsupported
from anew.model import Declaration, EdgeGroup, Route
from anew.testing.conformance_edge_bench import Bench, free_port, until

ALL = {"web": {"web-g1": 1000}}
ORDINARY = 61_234  # a uid and gid that nobody has
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


@pytest.mark.parametrize("victim", [min, max], ids=["master", "worker"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_an_edge_that_lost_a_process_comes_back(
    bench: Bench, victim: Callable[[tuple[int, ...]], int], number: signal.Signals
) -> None:
    declaration = serving(bench)
    pids = process.ours(place(bench))
    assert len(pids) == 2
    os.kill(victim(pids), number)
    try:
        bench.client().declare(declaration)
    except EngineError:  # it fell while it was asked: whoever called calls again
        bench.client().declare(declaration)
    until(lambda: not set(pids) & set(process.ours(place(bench))), "all that was there is replaced")
    assert len(process.ours(place(bench))) == 2
    assert bench.get().text == "one\n"
    assert bench.reading().weights == ALL


def test_nothing_is_left_after_stop(bench: Bench) -> None:
    serving(bench)
    folder = place(bench).parent
    bench.client().stop()
    assert process.ours(place(bench)) == ()
    left = {one.name for one in folder.iterdir()}
    assert left - {"times.lock"} == {"counters.lock", "haproxy.log", "lock"}  # the other one is from where it reloaded


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts them under another uid")
def test_workers_have_a_uid_of_their_own(bench: Bench) -> None:
    serving(bench)
    master, worker = process.ours(place(bench))
    assert (Path(f"/proc/{master}").stat().st_uid, Path(f"/proc/{worker}").stat().st_uid) == (0, WORKER_UID)


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


def test_a_service_may_be_called_like_a_map_of_the_edge(bench: Bench) -> None:
    for name in ("switch", "pins"):
        group = EdgeGroup(f"{name}-g1", name, "/health", (bench.instance("one").target,))
        declaration = replace(bench.declaration(group), routes=(Route("web.example", name),))
        bench.client().declare(declaration)
        bench.client().shift({name: {f"{name}-g1": 1000}})
        bench.client().declare(replace(declaration, routes=(Route("*", name),)))
        assert bench.get().text == "one\n"
        assert bench.reading().weights == {name: {f"{name}-g1": 1000}}


def test_an_old_worker_ends_with_its_last_connection(bench: Bench) -> None:
    listener = bench.listener("public", "cache")
    declaration = replace(bench.declaration(bench.tcp_group("g1", "echo1")), listeners=(listener,))
    bench.client().declare(declaration)
    bench.client().shift({"cache": {"cache-g1": 1000}})
    wire = bench.wire(listener)
    bench.client().declare(replace(declaration, listeners=(listener, bench.listener("web-g1", "cache"))))
    until(lambda: len(process.ours(place(bench))) == 3, "the old worker keeps the connection")
    assert wire.echo("x") == "x"
    wire.close()
    until(lambda: len(process.ours(place(bench))) == 2, "it has ended")


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
    assert find().version >= (2, 6)
    old.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(EngineError, match="version"):
        find()


@pytest.mark.skipif(os.geteuid() != 0, reason="this is already an ordinary user")
def test_all_of_this_holds_for_an_ordinary_user() -> None:
    site = sysconfig.get_path("purelib")
    files = [str(ROOT / "tests" / "edge" / f"test_{name}.py") for name in ("conformance", "runtime", "telemetry")]
    done = as_ordinary(
        [_interpreter(), "-m", "pytest", "-x", "-p", "no:cacheprovider", *files],
        PYTHONPATH=f"{ROOT}/src:{site}",
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def as_ordinary(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        user=ORDINARY,
        group=ORDINARY,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def _interpreter() -> str:
    """Return a Python that an ordinary user may run: root's own may lie in root's home."""
    wanted = ".".join(map(str, sys.version_info[:2]))
    for one in (sys.executable, f"/usr/local/bin/python{wanted}", f"/usr/bin/python{wanted}"):
        try:
            if as_ordinary([one, "-c", ""]).returncode == 0:
                return one
        except (PermissionError, FileNotFoundError):
            continue
    if os.environ.get("ANEW_REQUIRE_ALL") == "1":
        pytest.fail("no Python of this version that an ordinary user may run")
    pytest.skip("no Python of this version that an ordinary user may run")
