"""What the embedded engine does beyond the port: its own files, its own processes, and what goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from embedded_world import OWNER, World, free_port, image_of, require, world

from anew.engines.embedded import argv, drift, ending, life, locks, ports, proc, refusals, uids
from anew.engines.embedded.clock import WallClock
from anew.engines.embedded.layout import lay_out
from anew.engines.embedded.records import Files, Record, Store
from anew.errors import Bug, Conflict, EngineError, NotFound, SpecError, Unsupported
from anew.model import Order, Pin, Scope, Volume
from anew.testing.conformance_bench import POLITE, SERVER, SLEEPER, Bench


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        require(made.home)
        yield made


@pytest.fixture
def bench(here: World) -> Iterator[Bench]:
    made = here.bench(image_of(is_host=True), f"l{uuid.uuid4().hex[:8]}")
    yield made
    made.clear()
    assert made.processes(made.mark) == ()


def name(bench: Bench, short: str) -> str:
    return f"{bench.mark}-{short}"


def sleeping(bench: Bench, short: str) -> Order:
    """A small program, so that many fit."""
    return replace(bench.order(short, ""), command=("/bin/sh", "-c", f"sleep 600 # {bench.mark}"))


def test_an_instance_whose_outer_process_is_killed_has_ended_and_what_is_left_can_be_asked_to_end(
    bench: Bench, here: World
) -> None:
    bench.client().launch(bench.order("a", POLITE))
    assert bench.waits_for_line("a", "running")  # it knows by now what to do when it is asked to end
    seen = bench.find("a")
    assert seen is not None
    os.kill(proc.parent(seen.pid), signal.SIGKILL)
    place = here.home / "instances" / name(bench, "a")
    assert locks.until(lambda: not locks.is_held(place / "status.json"), 5.0)
    ended = replace(seen, is_alive=False, pid=0, warden=0, ended="unknown")  # nobody would learn how it ends
    assert bench.find("a") == ended
    assert bench.processes(bench.mark) != ()
    bench.client().stop(name(bench, "a"), 5.0)
    assert bench.find("a") == ended
    assert "ended in peace" in bench.client().logs(name(bench, "a"), 5)


def test_what_an_instance_left_whose_outer_process_was_killed_goes_with_it(bench: Bench, here: World) -> None:
    port = free_port()
    bench.client().launch(bench.order("a", SERVER, port=port))
    seen = bench.waits_for("a", lambda one: one.is_listening)
    assert seen is not None
    os.kill(proc.parent(seen.pid), signal.SIGKILL)
    assert bench.waits_for("a", lambda one: not one.is_alive) is not None
    with pytest.raises(Conflict, match=f"port {port} is the port of"):  # it is still served there
        bench.client().launch(bench.order("b", SLEEPER, port=port))
    bench.client().remove(name(bench, "a"))
    assert bench.processes(bench.mark) == ()
    assert bench.find("a") is None
    bench.client().launch(bench.order("b", SLEEPER, port=port))


def test_a_sandbox_whose_pid_was_never_written_is_cleared_all_the_same(bench: Bench, here: World) -> None:
    bench.client().launch(bench.order("a", SLEEPER))
    place = here.home / "instances" / name(bench, "a")
    os.truncate(place / "status.json", 0)
    seen = bench.find("a")
    assert seen is not None
    assert (seen.is_alive, seen.pid) == (True, 0)
    ending.clear(place)
    assert bench.processes(bench.mark) == ()


def test_an_instance_runs_under_a_uid_of_its_own(bench: Bench) -> None:
    client, port = bench.client(), free_port()
    client.launch(bench.order("a", SERVER, port=port))
    client.launch(bench.order("b", SLEEPER))
    client.launch(bench.order("c", SLEEPER))
    found = [Path(f"/proc/{one.pid}").stat().st_uid for one in client.instances(bench.scope)]
    if os.geteuid() == 0:
        assert found[0] == 700_000 + port
        assert len(set(found)) == 3
        assert all(uid > 700_000 for uid in found)
    else:
        assert set(found) == {os.geteuid()}


def test_who_comes_in_from_outside_is_drift(bench: Bench) -> None:
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        pytest.skip("only root can enter a sandbox")
    client = bench.client()
    client.launch(bench.order("a", SLEEPER))
    seen = bench.find("a")
    assert seen is not None
    assert client.drift(name(bench, "a")) == ()
    guest = subprocess.Popen(["nsenter", "-p", "-m", "-t", str(seen.pid), "/bin/sleep", "60"])
    try:
        assert locks.until(lambda: "sleep" in "".join(client.drift(name(bench, "a"))), 5.0)
        lines = client.drift(name(bench, "a"))
    finally:
        for pid in proc.descendants(guest.pid)[::-1]:
            os.kill(pid, signal.SIGKILL)
        guest.wait()
    assert any(line.startswith("sleep (pid ") and line.endswith("has entered from outside") for line in lines)


FORKS = """
import os, time
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
"""


def test_who_only_forks_is_never_taken_for_somebody_from_outside(bench: Bench) -> None:
    client = bench.client()
    client.launch(bench.order("a", FORKS))
    seen = bench.find("a")
    assert seen is not None
    watch = drift.Watch(WallClock())
    for _ in range(200):
        assert watch.look({"a": seen.pid}) == {}
        assert client.drift(name(bench, "a")) == ()


def test_flags_are_in_no_list_of_processes(bench: Bench) -> None:
    bench.client().launch(bench.order("a", SLEEPER, environment=(("PASSWORD", "in-the-flags"),)))
    seen = bench.find("a")
    assert seen is not None
    for pid in (proc.parent(seen.pid), *proc.descendants(seen.pid)):
        assert b"in-the-flags" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_many_are_launched_at_once_and_seen_quickly(bench: Bench) -> None:
    count, client = 40, bench.client()
    orders = [sleeping(bench, f"n{number}") for number in range(count)]

    def launch(part: list[Order]) -> None:
        for one in part:
            client.launch(one)

    threads = [threading.Thread(target=launch, args=(part,)) for part in (orders[::2], orders[1::2])]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.is_alive for one in client.instances(bench.scope)] == [True] * count
    begun = time.monotonic()
    client.instances(bench.scope)
    assert time.monotonic() - begun < 1.0


def test_a_launch_costs_little(bench: Bench) -> None:
    client = bench.client()
    took = []
    for number in range(9):
        order = sleeping(bench, f"n{number}")
        begun = time.monotonic()
        client.launch(order)
        took.append(time.monotonic() - begun)
    assert sorted(took)[4] < 1.0, took  # on a quiet machine 0.02; `script/bench launch` measures it


def test_a_command_whose_sandbox_can_not_be_made_is_an_error_with_its_command_line(bench: Bench, here: World) -> None:
    broken = here.home / "bin-broken"
    broken.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed: nesting depth' >&2\nexit 1\n")
    broken.chmod(0o755)
    engine = here.engine()
    engine._binary = broken
    with pytest.raises(Unsupported, match="user namespaces are not allowed") as caught:
        engine.launch(bench.order("a", SLEEPER))
    assert str(broken) in caught.value.facts["command"]
    assert bench.find("a") is None
    with pytest.raises(Unsupported, match="user namespaces are not allowed"):
        engine.run(bench.order("a", SLEEPER), 5.0)


def test_the_command_line_of_an_error_can_be_pasted(bench: Bench, here: World) -> None:
    layout = lay_out(bench.order("a", "print('pasted')"), here.home, here.tree)
    uid = 700_001 if os.geteuid() == 0 else os.geteuid()
    line = argv.pasteable(here.engine()._bwrap(), layout, uids.drop_to(uid))
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout == "pasted\n", done.stderr


@pytest.mark.parametrize("path", ["/", "relative", "/proc/x", "/etc/passwd", "/etc/passwd/x"])
def test_what_can_not_be_writable_is_refused(path: str, bench: Bench) -> None:
    with pytest.raises(SpecError):
        bench.client().launch(bench.order("a", SLEEPER, writable=(path,)))
    assert bench.find("a") is None


def test_an_image_of_nothing_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.client().launch(bench.order("a", SLEEPER, image=image_of()))


def test_a_port_of_a_live_instance_is_a_conflict_before_it_listens(bench: Bench) -> None:
    port = free_port()
    bench.client().launch(bench.order("a", SLEEPER, port=port))
    with pytest.raises(Conflict, match=f"port {port} is the port of {name(bench, 'a')}"):
        bench.client().launch(bench.order("b", SLEEPER, port=port))


def test_listening_on_another_port_is_not_readiness(bench: Bench) -> None:
    port = free_port()
    other = bench.order("a", SERVER, port=port)
    bench.client().launch(replace(other, environment=(("PORT", str(free_port())),)))
    assert bench.waits_for_line("a", "listening")
    seen = bench.find("a")
    assert seen is not None
    assert (seen.is_alive, seen.is_listening) == (True, False)
    assert ports.is_free(port)


# ---------------------------------------------------------------- its files


def record(short: str = "a") -> Record:
    order = Order(short, "web-g1", Scope("p", "e"), image_of(), ("true",), (("A", "b"),), ("/w",), 7)
    more = replace(order, service="web", secrets=(Pin("s", 3, "hmac-sha256:0"),), volumes=(Volume("v", "/srv"),))
    return Record.of(more, OWNER, os.geteuid(), 12.5)


def written(store: Store, one: Record) -> Files:
    with store.lock():
        return store.write(one)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written(store, record()).close()
    assert store.read("a") == record()
    assert store.names() == ("a",)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (1, replace(record(), uid=700_007, service="", secrets=(), volumes=())),
        (2, replace(record(), uid=700_007)),
        (3, replace(record(), uid=700_007, memory=64 << 20, cgroups=("/sys/fs/cgroup/anew/a.0123456789ab",))),
    ],
)
def test_records_of_every_version_can_be_read(version: int, wanted: Record) -> None:
    text = (Path(__file__).with_name(f"embedded_record_v{version}.json")).read_text("utf-8")
    assert Record.from_json(text) == wanted


def test_a_record_of_a_newer_anew_says_so() -> None:
    with pytest.raises(Bug, match="has the format 99"):
        Record.from_json(replace(record(), version=99).as_json())


def test_a_record_that_a_crash_left_empty_is_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written(store, record()).close()
    (tmp_path / "a" / "record.json").write_text("")
    assert store.read("a") is None


def test_an_intention_that_came_to_nothing_is_no_instance(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = written(store, record())
    assert life.read(tmp_path / "a") == life.Life(is_alive=True, pid=0, is_present=True)
    files.close()
    assert life.read(tmp_path / "a") is None
    written(store, record()).close()


def test_the_end_is_told_by_status_and_log(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written(store, record()).close()
    place = tmp_path / "a"
    (place / "status.json").write_text('{ "child-pid": 4711 }\n')
    assert life.read(place) == life.Life(is_alive=False, pid=4711, ended="unknown", is_final=True)
    (place / "output.log").write_text("hello\nbwrap: execvp /srv/x: Permission denied\n")
    found = life.read(place)
    assert found is not None
    assert found.ended == "command can't be executed: /srv/x (permission denied)"
    (place / "output.log").write_text("bwrap: Can't mount proc on /newroot/proc: Operation not permitted\n")
    found = life.read(place)
    assert found is not None
    assert found.ended.startswith(life.REFUSED)
    (place / "status.json").write_text('{ "child-pid": 4711 }\n{ "exit-code": 143 }\n')
    found = life.read(place)
    assert found is not None
    assert (found.code, found.ended) == (143, "signal 15 (SIGTERM)")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("No permissions to create new namespace, likely because the kernel does not allow it", Unsupported),
        ("setting up uid map: Permission denied", Unsupported),
        ("Can't mount proc on /newroot/proc: Operation not permitted", Unsupported),
        ("Can't make overlay mount on /newroot/ with options x: Invalid argument", Unsupported),
        ("Can't find source path /l/1: Permission denied", NotFound),
        ("something else", EngineError),
        ("", EngineError),
    ],
)
def test_what_bubblewrap_complains_of_becomes_an_error_with_a_hint(said: str, kind: type[Exception]) -> None:
    error = refusals.as_error(said, "bwrap …", "web")
    assert type(error) is kind
    assert error.hint
    assert error.facts == {"command": "bwrap …"}
