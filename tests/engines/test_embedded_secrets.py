"""Where a secret's value is while an instance of the embedded engine runs: in its tmpfs, and nowhere else."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from embedded_world import World, image_of, make_layers, require, world

from anew.engines.embedded import proc, revealed
from anew.engines.embedded.compute import Embedded
from anew.errors import AnewError, GateClosed, SpecError, Unsupported
from anew.model import Image, Order, Pin, Scope, Volume
from anew.testing.conformance_bench import SLEEPER, Bench

MAC = "hmac-sha256:" + "0" * 64
READS = """
import hashlib, time
for name in ("short", "long"):
    print(hashlib.sha256(open(f"/run/secrets/{name}", "rb").read()).hexdigest(), flush=True)
time.sleep(600)
"""
OTHER_UID = 4711  # no account, and no instance's


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        require(made.home)
        yield made


@pytest.fixture(scope="module")
def layered(here: World) -> Image:
    return make_layers(here)


@pytest.fixture(params=["host", "layers"])
def bench(request: pytest.FixtureRequest, here: World, layered: Image) -> Iterator[Bench]:
    image = image_of(is_host=True) if request.param == "host" else layered
    made = here.bench(image, f"s{uuid.uuid4().hex[:8]}")
    yield made
    made.clear()
    assert made.processes(made.mark) == ()


class Vault:
    """Two values that are made for one test, in pieces that are put together only when they are asked for."""

    def __init__(self) -> None:
        self.parts = (uuid.uuid4().hex[:20].encode(), uuid.uuid4().hex[:20].encode())
        self.asked: list[tuple[str, str, int]] = []

    def reveal(self, scope: Scope, pin: Pin) -> bytes:
        self.asked.append((str(scope), pin.name, pin.version))
        value = b"".join(self.parts)  # 40 bytes
        return value if pin.name == "short" else (value + b"\n") * 25_000 + value[:24] + b"0" * 23_552

    def engine(self, here: World) -> Embedded:
        return Embedded(here.home, here.tree, "state-of-ours", reveal=self.reveal)

    def is_in(self, text: bytes) -> bool:
        """Say whether a value, or a part of it that can't be there by chance, is in `text`."""
        return any(part in text for part in self.parts)


def order(bench: Bench, short: str = "a", program: str = READS) -> Order:
    return bench.order(short, program, secrets=(Pin("short", 3, MAC), Pin("long", 1, MAC)))


def content(path: Path) -> bytes:
    """Return what is in a file that we may read: not of pipes and sockets, which would wait, or be emptied by it."""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(1 << 26)
    return b""


def on_disk(vault: Vault, top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if not path.is_symlink() and vault.is_in(content(path))]


def in_proc(vault: Vault) -> list[str]:
    """Return the arguments, variables and open files of processes, anonymous ones too, that hold a value."""
    found = []
    for pid in proc.pids():
        for name in ("cmdline", "environ", *(f"fd/{fd}" for fd, what in proc.opened(pid) if _may_hold(what))):
            path = Path(f"/proc/{pid}/{name}")
            if vault.is_in(content(path)):
                found.append(str(path))
    return found


def _may_hold(what: str) -> bool:
    return what.startswith(("/memfd:", "/tmp", "/var/tmp")) or what.endswith("(deleted)")


def test_a_value_is_in_the_tmpfs_of_its_instance_and_nowhere_else(bench: Bench, here: World) -> None:
    vault = Vault()
    vault.engine(here).launch(order(bench))
    values = [vault.reveal(bench.scope, Pin(name, 1, MAC)) for name in ("short", "long")]
    assert [len(one) for one in values] == [40, 1 << 20]
    for value in values:
        assert bench.waits_for_line("a", hashlib.sha256(value).hexdigest())
    assert on_disk(vault, here.home.parent) == []
    assert in_proc(vault) == []
    seen = bench.find("a")
    assert seen is not None
    inside = Path(f"/proc/{proc.children(seen.pid)[0]}/root/run/secrets")
    if os.geteuid() == 0:  # the kernel lets an ordinary user not look at what dropped its powers, even if it is its own
        assert [content(inside / name) for name in ("short", "long")] == values
    every = (proc.parent(seen.pid), *proc.descendants(seen.pid))
    assert len(every) == 3
    assert not any(what.startswith("/memfd:") for pid in every for _, what in proc.opened(pid))
    record = (here.home / "instances" / f"{bench.mark}-a" / "record.json").read_text()
    assert '"short"' in record
    assert "hmac" not in record
    bench.end("a")
    assert on_disk(vault, here.home.parent) == []


def test_this_process_has_no_file_with_a_value_open_while_a_command_runs(bench: Bench, here: World) -> None:
    vault = Vault()
    done: list[int] = []
    engine = vault.engine(here)
    one = order(bench, "r", f"{READS.replace('600', '3')}")
    thread = threading.Thread(target=lambda: done.append(engine.run(one, 20.0).code))
    thread.start()
    while not (bench.processes("hashlib") and bench.processes(bench.mark)):
        assert thread.is_alive()
    held = [what for _, what in proc.opened(os.getpid())]
    while any(what.startswith("/memfd:secret") for what in held):  # until the sandbox has them, at most
        assert thread.is_alive()
        held = [what for _, what in proc.opened(os.getpid())]
    assert thread.is_alive()
    thread.join()
    assert done == [0]
    assert in_proc(vault) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_other_uids_can_not_read_a_value(bench: Bench, here: World) -> None:
    Vault().engine(here).launch(order(bench))
    seen = bench.find("a")
    assert seen is not None
    (application,) = proc.children(seen.pid)
    for uid in (OTHER_UID, 700_001):
        path = f"/proc/{application}/root/run/secrets/short"
        done = subprocess.run(
            ["/bin/cat", path], user=uid, group=uid, extra_groups=[], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "Permission denied" in done.stderr


def test_a_value_is_asked_for_when_an_instance_starts_and_not_besides(bench: Bench, here: World) -> None:
    vault = Vault()
    engine = vault.engine(here)
    scope = f"{bench.mark}/check"
    engine.launch(order(bench, program=SLEEPER))
    assert vault.asked == [(scope, "short", 3), (scope, "long", 1)]
    engine.launch(order(bench, program=SLEEPER))
    engine.instances(bench.scope)
    engine.logs(f"{bench.mark}-a", 5)
    engine.stop(f"{bench.mark}-a", 0.0)
    engine.remove(f"{bench.mark}-a")
    assert len(vault.asked) == 2
    engine.run(order(bench, "r", "pass"), 10.0)
    assert len(vault.asked) == 4


def test_an_error_of_the_vault_leaves_nothing_half_made(bench: Bench, here: World) -> None:
    def reveal(scope: Scope, pin: Pin) -> bytes:
        if pin.name == "long":
            raise GateClosed(f"secret {pin.name} v{pin.version} is revoked")
        return b"the first one is there"

    engine = Embedded(here.home, here.tree, "state-of-ours", reveal=reveal)

    def left() -> tuple[list[Path], list[tuple[int, str]]]:
        return sorted((here.home / "instances").iterdir()), sorted(proc.opened(os.getpid()))

    before = left()
    wanted = bench.order("a", SLEEPER, secrets=order(bench).secrets, volumes=(Volume("v", "/srv"),), service="web")
    for act in (lambda: engine.launch(wanted), lambda: engine.run(wanted, 5.0)):
        with pytest.raises(GateClosed, match="revoked"):
            act()
    assert left() == before
    assert engine.volumes(bench.scope) == ()
    assert bench.find("a") is None


def test_an_error_of_the_sandbox_tells_no_value(bench: Bench, here: World) -> None:
    broken = here.home / "bin-that-fails"
    broken.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed: nesting depth' >&2\nexit 1\n")
    broken.chmod(0o755)
    vault = Vault()
    engine = vault.engine(here)
    engine._binary = broken
    for act in (lambda: engine.launch(order(bench)), lambda: engine.run(order(bench), 5.0)):
        with pytest.raises(AnewError) as caught:
            act()
        assert len(vault.asked) in {2, 4}
        told = f"{caught.value.as_json()} {caught.value!r}"
        assert not vault.is_in(told.encode())
        assert "/run/secrets" in caught.value.facts["command"]
    assert in_proc(vault) == []
    assert on_disk(vault, here.home.parent) == []


def test_an_engine_without_a_vault_refuses(bench: Bench, here: World) -> None:
    with pytest.raises(Unsupported, match=r"secret short v3 of .* can't be had"):
        Embedded(here.home, here.tree, "state-of-ours").launch(order(bench))


@pytest.mark.parametrize("name", ["", "..", ".", "../up", "a/b", "/etc/passwd", "new\nline", "nul\0"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    one = Order("a", "web-g1", Scope("p", "e"), image_of(), ("true",), secrets=(Pin(name, 1, MAC),))
    with pytest.raises(SpecError), revealed.of(one, Vault().reveal):
        pass


@pytest.mark.parametrize("path", ["/run", "/run/secrets", "/run/secrets/inside"])
def test_nothing_else_can_be_where_secrets_are(path: str, bench: Bench, here: World) -> None:
    engine, pins = Vault().engine(here), order(bench).secrets
    with pytest.raises(SpecError, match="overlaps"):
        engine.launch(bench.order("a", SLEEPER, secrets=pins, volumes=(Volume("v", path),), service="web"))
    assert engine.volumes(bench.scope) == ()
    if path != "/run":
        with pytest.raises(SpecError, match="overlaps"):
            engine.launch(bench.order("a", SLEEPER, secrets=pins, writable=(path,)))
    assert bench.find("a") is None
