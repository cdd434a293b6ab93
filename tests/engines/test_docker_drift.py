"""Whatever is done to a running container is found, and an untouched one differs in nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from docker_world import World, make_image, world

from anew.engines.docker.inspection import DockerInspection
from anew.engines.docker.network import name_of
from anew.engines.embedded.held import Holds
from anew.model import Limits, Order, Pin, Volume
from anew.testing.conformance_bench import Bench

BUSY = """
import os, time
def write(path, text):
    with open(path, "a") as file:
        file.write(text)
while True:
    for path in ("/tmp/a", "/var/lib/mine/deep/b", "/data/c", "/dev/shm/d"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, "x")
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.05)
        os._exit(0)
    os.wait()
    print("written", flush=True)
    time.sleep(0.02)
"""
ENTER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
call(libc.setns(os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY), 0x20000))
"""
REMOUNT = 'call(libc.mount(b"", b"/", b"", 32, b""))\n'  # MS_REMOUNT, and no longer read-only
RESTORE = 'call(libc.mount(b"", b"/", b"", 33, b""))\n'


@dataclass(frozen=True)
class Scene:
    here: World
    bench: Bench
    order: Order

    @property
    def said(self) -> dict[str, Any]:
        with self.here.client.asking("looking") as api:
            found: dict[str, Any] = api.inspect_container(self.id)
        return found

    @property
    def id(self) -> str:
        found = self.here.engine()._containers.find(self.order.name)
        assert found is not None
        return str(found["Id"])

    @property
    def pid(self) -> int:
        return int(self.said["State"]["Pid"])

    def drift(self) -> tuple[str, ...]:
        return self.here.engine().drift(self.order.name)

    def inside(self, program: str) -> None:
        """Do something in the container's mount namespace, as the machine's root."""
        subprocess.run([sys.executable, "-c", ENTER + program, str(self.pid)], check=True, capture_output=True)

    def ask(self, act: Callable[[Any, str], object]) -> None:
        with self.here.client.asking("touching") as api:
            act(api, self.id)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with world("docker") as here:
        bench = here.bench(make_image(here.store))
        order = bench.order(
            "a",
            BUSY,
            service="web",
            writable=("/var/lib/mine",),
            volumes=(Volume("data", "/data"),),
            secrets=(Pin("short", 1, ""),),
            limits=Limits(256 << 20, 1.0, 200),
        )
        try:
            here.engine().launch(order)
            assert bench.waits_for_line("a", "written")
            yield Scene(here, bench, order)
        finally:
            here.clear(bench)


@pytest.fixture(autouse=True)
def untouched(scene: Scene) -> Iterator[None]:
    """Before each test and after it, nothing differs: what a test did, it took back."""
    assert scene.drift() == ()
    yield
    assert scene.drift() == ()


def test_an_untouched_container_that_writes_and_breeds_differs_in_nothing(scene: Scene) -> None:
    since, end = time.time(), time.monotonic() + 2.0
    while time.monotonic() < end:
        assert scene.drift() == ()
    found = scene.here.engine().touched(scene.bench.scope, since)
    assert (found.touches, found.has_gap) == ((), False)


def test_a_command_that_was_run_in_it_is_seen_while_it_runs_and_ever_after(scene: Scene) -> None:
    since = time.time()

    def run(api: Any, container: str) -> None:
        command = ["/usr/bin/python3", "-c", "import time; time.sleep(1)"]
        api.exec_start(api.exec_create(container, command, user="root")["Id"], detach=True)

    scene.ask(run)
    entered = [one for one in scene.drift() if "has entered from outside" in one]
    assert len(entered) >= 1
    _until(lambda: scene.drift() == ())
    found = scene.here.engine().touched(scene.bench.scope, since)
    assert [(one.name, one.what) for one in found.touches] == [
        (scene.order.name, "a command was run in it: /usr/bin/python3")
    ]
    assert scene.here.engine().touched(scene.bench.scope, found.until).touches == ()


@pytest.mark.parametrize("space", ["-p", "-m", "-n"])
def test_who_enters_one_of_its_namespaces_is_seen(scene: Scene, space: str) -> None:
    line = ["nsenter", "-t", str(scene.pid), space, "/usr/bin/python3", "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(line, start_new_session=True)
    try:
        _until(lambda: any("has entered from outside" in one for one in scene.drift()))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _until(lambda: scene.drift() == ())


def test_a_file_that_was_changed_behind_its_back_is_named(scene: Scene) -> None:
    other = replace(scene, order=scene.bench.order("other", BUSY, writable=("/var/lib/mine", "/data")))
    other.here.engine().launch(other.order)
    assert other.drift() == ()
    other.inside(f"{REMOUNT}open('/usr/lib/evil', 'w').close()\nos.unlink('/usr/bin/python3')\n{RESTORE}")
    wanted = ("added: /usr/lib/evil", "removed: /usr/bin/python3")
    assert tuple(sorted(other.drift())) == wanted
    inspection = DockerInspection(other.here.engine())
    seen = other.bench.find("other")
    assert seen is not None
    found = inspection.touched(scene.bench.scope, {other.order.name: seen.pid}, time.time())
    assert tuple(sorted(found.evidence[other.order.name])) == wanted
    assert tuple(sorted(inspection.changes(other.order.name))) == wanted
    os.kill(seen.pid, signal.SIGKILL)
    _until(lambda: not getattr(other.bench.find("other"), "is_alive", True))
    assert tuple(sorted(inspection.changes(other.order.name))) == wanted  # it has ended, and its files are still there
    assert inspection.peak_memory(other.order.name) > 1 << 20
    other.here.engine().remove(other.order.name)
    assert inspection.changes(other.order.name) == ()


def test_a_root_that_can_be_written_to_is_seen(scene: Scene) -> None:
    scene.inside(REMOUNT)
    assert scene.drift() == ("its root can be written to",)
    scene.inside(RESTORE)


def test_a_mount_is_seen_and_one_that_covers_another_too(scene: Scene) -> None:
    scene.inside('call(libc.mount(b"x", b"/usr/lib", b"tmpfs", 0, b""))')
    assert scene.drift() == ("something was mounted at /usr/lib (tmpfs)",)
    scene.inside('call(libc.umount2(b"/usr/lib", 0))')
    scene.inside('call(libc.mount(b"/etc/passwd", b"/etc/hosts", b"", 4096, b""))')  # MS_BIND
    assert scene.drift() == ("something was mounted over /etc/hosts",)
    scene.inside('call(libc.umount2(b"/etc/hosts", 0))')


def test_secrets_that_can_be_written_to_are_seen(scene: Scene) -> None:
    scene.inside('call(libc.mount(b"", b"/run/secrets", b"", 4096 | 32, b""))')  # MS_BIND | MS_REMOUNT
    assert scene.drift() == ("/run/secrets can be written to",)
    scene.inside('call(libc.mount(b"", b"/run/secrets", b"", 4096 | 33, b""))')


def test_limits_that_were_changed_are_seen(scene: Scene) -> None:
    since = time.time()
    scene.ask(lambda api, one: api.update_container(one, mem_limit=512 << 20, memswap_limit=512 << 20))
    found = scene.drift()
    assert [one.partition(":")[0] for one in found] == [
        "its limit of memory was changed",
        "its limit of memory with swap was changed",
    ]
    scene.ask(lambda api, one: api.update_container(one, mem_limit=256 << 20, memswap_limit=256 << 20))
    touches = scene.here.engine().touched(scene.bench.scope, since).touches
    assert [one.what for one in touches] == ["its limits were changed"] * 2


def test_a_limit_that_was_changed_in_the_kernel_past_the_engine_is_seen(scene: Scene) -> None:
    path = Holds().places(scene.pid)["pids"]
    before = path.read_text()
    path.write_text("max\n")
    assert scene.drift() == ("its limit of processes was changed in the kernel: none instead of 200",)
    path.write_text(before)


def test_a_debugger_is_seen(scene: Scene) -> None:
    (application,) = Path(f"/proc/{scene.pid}/task/{scene.pid}/children").read_text().split()[:1]
    program = "import ctypes, sys; ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0); sys.stdin.readline()"
    with subprocess.Popen([sys.executable, "-c", program, application], stdin=subprocess.PIPE, text=True) as one:
        _until(lambda: any(f"is debugged by python (pid {one.pid})" in line for line in scene.drift()))
        one.communicate("\n")


def test_a_policy_of_restarts_is_seen(scene: Scene) -> None:
    scene.ask(lambda api, one: api.update_container(one, restart_policy={"Name": "always"}))
    assert scene.drift() == ("it is restarted by the engine: always",)
    scene.ask(lambda api, one: api.update_container(one, restart_policy={"Name": "no"}))


def test_a_paused_one_is_alive_and_listens_to_nobody(scene: Scene) -> None:
    scene.ask(lambda api, one: api.pause(one))
    seen = scene.bench.find("a")
    assert seen is not None
    assert (seen.is_alive, seen.is_listening) == (True, False)
    assert scene.drift() == ("it is paused",)
    scene.ask(lambda api, one: api.unpause(one))


def test_a_renamed_one_is_still_found_by_the_name_that_it_was_given(scene: Scene) -> None:
    scene.ask(lambda api, one: api.rename(one, f"{scene.order.name}-other"))
    assert scene.drift() == (f"it was renamed to {scene.order.name}-other",)
    seen = scene.bench.find("a")
    assert seen is not None
    scene.ask(lambda api, one: api.rename(one, scene.order.name))


def test_another_network_is_seen(scene: Scene) -> None:
    name = f"{scene.bench.mark}-theirs"

    def connect(api: Any, container: str) -> None:
        api.create_network(name, check_duplicate=True)
        api.connect_container_to_network(container, name)

    def disconnect(api: Any, container: str) -> None:
        api.disconnect_container_from_network(container, name)
        api.remove_network(name)

    scene.ask(connect)
    assert scene.drift() == (f"it was connected to the network {name}",)
    scene.ask(disconnect)


def test_one_that_was_cut_off_its_network_has_no_address(scene: Scene) -> None:
    name = name_of(scene.bench.scope)
    scene.ask(lambda api, one: api.disconnect_container_from_network(one, name))
    assert scene.drift() == (f"it was disconnected from the network {name}",)
    seen = scene.bench.find("a")
    assert seen is not None
    assert seen.host == ""
    scene.ask(lambda api, one: api.connect_container_to_network(one, name))


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
