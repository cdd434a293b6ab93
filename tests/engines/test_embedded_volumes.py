"""Whose volumes are, on the host's disk, and what goes wrong with them."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from embedded_world import STRANGER, World, free_port, image_of, require, world

from anew.engines.embedded.uids import OF_SERVICES
from anew.engines.embedded.volumes import Volumes, clear
from anew.errors import Conflict, EngineError, SpecError
from anew.model import Order, Scope, Volume
from anew.testing.conformance_bench import SERVER, SLEEPER, Bench
from anew.testing.conformance_volumes import NAMES, PLACE, WRITE

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has one uid for everything")
OTHER_UID = 4711


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        require(made.home)
        yield made


@pytest.fixture
def bench(here: World) -> Iterator[Bench]:
    made = here.bench(image_of(is_host=True), f"v{uuid.uuid4().hex[:8]}")
    yield made
    made.clear()
    assert made.processes(made.mark) == ()


def having(*volumes: Volume, service: str = "web") -> dict[str, Any]:
    return {"volumes": volumes or (Volume("data", PLACE),), "service": service}


def order(scope: Scope, service: str = "web", *names: str) -> Order:
    wanted = tuple(Volume(name, f"/{name}") for name in names or ("data",))
    return Order("a", "web-g1", scope, image_of(), ("true",), volumes=wanted, service=service)


def place(here: World, bench: Bench, service: str = "web", name: str = "data") -> Path:
    return here.home / "volumes" / f"{bench.mark}.check" / service / name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@ROOT_ONLY
def test_all_instances_of_a_service_have_its_uid_and_no_others(bench: Bench, here: World) -> None:
    client = bench.client()
    client.launch(bench.order("a", SLEEPER, port=free_port(), **having(Volume("data", PLACE, is_shared=True))))
    client.launch(bench.order("b", SLEEPER, port=free_port(), **having(Volume("data", PLACE, is_shared=True))))
    client.launch(bench.order("c", SLEEPER, **having(service="api")))
    client.launch(bench.order("d", SLEEPER))
    a, b, c, d = (Path(f"/proc/{one.pid}").stat().st_uid for one in client.instances(bench.scope))
    assert a == b
    assert len({a, c, d}) == 3
    assert a in OF_SERVICES
    assert c in OF_SERVICES
    assert d not in OF_SERVICES
    assert place(here, bench).stat().st_uid == place(here, bench).parent.stat().st_gid == a


@ROOT_ONLY
def test_other_uids_can_not_come_near_a_volume(bench: Bench, here: World) -> None:
    bench.output("a", WRITE, **having())
    bench.output("b", NAMES, PLACE, **having(service="api"))
    path, other = place(here, bench), place(here, bench, "api").stat().st_uid
    path.chmod(0o777)  # as an application may do
    for uid in (OTHER_UID, other):
        for target in (path, path / "kept", path.parent):
            done = subprocess.run(
                ["/bin/ls", target], user=uid, group=uid, extra_groups=[], capture_output=True, text=True, check=False
            )
            assert done.returncode != 0
            assert "Permission denied" in done.stderr
    own = path.stat().st_uid
    assert subprocess.run(["/bin/ls", path], user=own, group=own, extra_groups=[], check=False).returncode == 0


def test_only_its_own_uid_may_enter_the_folders_of_a_service(bench: Bench, here: World) -> None:
    bench.output("a", WRITE, **having())
    path = place(here, bench)
    is_root = os.geteuid() == 0
    assert [mode(one) for one in (path, *path.parents[:3])] == (
        [0o700, 0o710, 0o711, 0o711] if is_root else [0o700] * 4
    )
    assert (path.stat().st_uid == os.geteuid()) is not is_root


@ROOT_ONLY
def test_a_uid_is_never_given_to_two_services_and_stays_when_volumes_go(tmp_path: Path) -> None:
    volumes, scope = Volumes(tmp_path / "volumes"), Scope("p", "e")
    uids = {name: volumes.ensure(order(scope, name)) for name in ("web", "api", "db")}
    uids["other"] = volumes.ensure(order(Scope("p", "other")))
    assert len(set(uids.values())) == 4
    clear(volumes.take_away(scope, "web", "data"))
    assert volumes.listing(scope) == (("api", "data", 4096), ("db", "data", 4096))
    again = Volumes(tmp_path / "volumes")
    assert again.ensure(order(scope, "web", "data", "more")) == uids["web"]
    moved = (tmp_path / "volumes").rename(tmp_path / "elsewhere")  # as when another machine takes over the disk
    assert Volumes(moved).ensure(order(scope)) == uids["web"]


@ROOT_ONLY
def test_a_uid_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    volumes, scope = Volumes(tmp_path), Scope("p", "e")
    volumes.ensure(order(scope))
    taken = tmp_path / "p.e" / "taken"
    taken.mkdir()
    wanted = volumes._allot(tmp_path / "p.e" / "db")
    os.chown(taken, 0, wanted)
    following = OF_SERVICES[(wanted + 1 - OF_SERVICES.start) % len(OF_SERVICES)]
    assert volumes.ensure(order(scope, "db")) == following


def test_a_port_of_another_instance_of_the_service_is_not_its_own(bench: Bench) -> None:
    port, other = free_port(), free_port()
    mine = having(Volume("data", PLACE, is_shared=True))
    bench.client().launch(bench.order("a", SLEEPER, port=port, **mine))
    wrong = replace(bench.order("b", SERVER, port=other, **mine), environment=(("PORT", str(port)),))
    bench.client().launch(wrong)
    assert bench.waits_for_line("b", "listening")
    assert [one.is_listening for one in bench.client().instances(bench.scope)] == [False, False]


@ROOT_ONLY
def test_two_state_folders_give_other_uids(tmp_path: Path) -> None:
    uids = {Volumes(tmp_path / str(number)).ensure(order(Scope("p", "e"))) for number in range(20)}
    assert len(uids) == 20


@ROOT_ONLY
def test_a_folder_of_the_wrong_owner_is_a_conflict_with_the_command_that_mends_it(bench: Bench, here: World) -> None:
    bench.output("a", WRITE, **having())
    path = place(here, bench)
    own = path.stat().st_uid
    os.chown(path, 0, 0)
    with pytest.raises(Conflict, match=f"belongs to uid 0, and its service runs as {own}") as caught:
        bench.client().launch(bench.order("b", SLEEPER, **having()))
    subprocess.run(caught.value.hint.split(), check=True)
    os.chown(path.parent, 0, 0)  # a service must never run as root
    with pytest.raises(Conflict, match="the group 0, which is no uid of a service") as caught:
        bench.client().launch(bench.order("b", SLEEPER, **having()))
    subprocess.run(caught.value.hint.partition(": ")[2].split(), check=True)
    assert bench.find("b") is None
    bench.output("b", NAMES, PLACE, **having())


def test_something_else_in_the_place_of_a_volume_is_a_conflict(bench: Bench, here: World, tmp_path: Path) -> None:
    bench.output("a", NAMES, PLACE, **having())
    path = place(here, bench)
    path.rmdir()
    path.symlink_to(tmp_path)
    with pytest.raises(Conflict, match="taken by something else"):
        bench.client().launch(bench.order("b", SLEEPER, **having()))
    with pytest.raises(Conflict, match="is a link"):
        here.engine().remove_volume(bench.scope, "web", "data")
    path.unlink()
    assert tmp_path.is_dir()


@pytest.mark.parametrize("name", ["..", "../../x", "/etc", "", "Data", ".hidden", "a.b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, bench: Bench, here: World) -> None:
    for more in (having(Volume(name, PLACE)), having(service=name)):
        with pytest.raises(SpecError, match="can't be a name in the path of a volume"):
            bench.client().launch(bench.order("a", SLEEPER, **more))
    with pytest.raises(SpecError):
        here.engine().remove_volume(bench.scope, "web", name)
    with pytest.raises(SpecError):
        here.engine().volumes(Scope(name, "check"))


@pytest.mark.parametrize("path", ["/", "relative", "/proc/x", "/dev", "/etc/passwd", "/etc/passwd/x"])
def test_what_can_not_be_the_place_of_a_volume_is_refused(path: str, bench: Bench, here: World) -> None:
    with pytest.raises(SpecError, match="the volume data has no place"):
        bench.client().launch(bench.order("a", SLEEPER, **having(Volume("data", path))))
    assert bench.find("a") is None
    assert here.engine().volumes(bench.scope) == ()


@pytest.mark.parametrize("other", [PLACE, f"{PLACE}/inside", str(Path(PLACE).parent)])
def test_volumes_that_overlap_are_refused(other: str, bench: Bench) -> None:
    two = having(Volume("data", PLACE), Volume("more", other))
    with pytest.raises(SpecError):
        bench.client().launch(bench.order("a", SLEEPER, **two))
    with pytest.raises(SpecError):
        bench.client().launch(bench.order("a", SLEEPER, writable=(other,), **having()))


def test_a_volume_of_a_throwaway_command_is_not_removed_under_it(bench: Bench, here: World) -> None:
    engine, codes = here.engine(), []
    one = bench.order("r", "import time; print('runs', flush=True); time.sleep(2)", **having())
    thread = threading.Thread(target=lambda: codes.append(engine.run(one, 20.0).code))
    thread.start()
    while not bench.processes(bench.mark):
        assert thread.is_alive()
    with pytest.raises(Conflict, match="a throwaway instance has the volume"):
        here.engine().remove_volume(bench.scope, "web", "data")
    thread.join()
    assert codes == [0]
    here.engine().remove_volume(bench.scope, "web", "data")
    assert engine.volumes(bench.scope) == ()


def test_a_volume_of_an_instance_of_another_state_is_not_had_twice(bench: Bench, here: World) -> None:
    stranger = here.engine(STRANGER)
    bench.client().launch(bench.order("a", SLEEPER, **having()))
    other = replace(bench.order("b", SLEEPER, **having()), name=f"{bench.mark}-of-the-other")
    try:
        with pytest.raises(Conflict, match="another state launched"):
            stranger.launch(other)
        with pytest.raises(Conflict, match="which is alive"):
            stranger.remove_volume(bench.scope, "web", "data")
        bench.end("a")
        stranger.launch(other)
    finally:
        stranger.stop(other.name, 0.0)
        stranger.remove(other.name)


def test_a_removal_that_was_broken_off_is_finished_by_the_next(bench: Bench, here: World) -> None:
    bench.output("a", WRITE, **having())
    (left,) = here.engine()._volumes.take_away(bench.scope, "web", "data")
    assert here.engine().volumes(bench.scope) == ()
    assert left.is_dir()
    assert bench.output("b", NAMES, PLACE, **having()) == [[]]
    here.engine().remove_volume(bench.scope, "web", "data")
    assert list(place(here, bench).parent.iterdir()) == []


def test_deep_and_closed_folders_are_removed_and_links_are_not_followed(
    bench: Bench, here: World, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    program = f"""
import os
os.chdir("{PLACE}")
os.symlink({str(outside)!r}, "link")
os.makedirs("closed/inner")
os.chmod("closed/inner", 0)
os.chmod("closed", 0)
for _ in range(2000):
    os.mkdir("d" * 8)
    os.chdir("d" * 8)
print("[]")
"""
    bench.output("a", program, **having())
    ((_, _, size),) = here.engine().volumes(bench.scope)
    assert size > 2000 * 4096
    here.engine().remove_volume(bench.scope, "web", "data")
    assert list(place(here, bench).parent.iterdir()) == []
    assert mode(outside) == 0o500


def test_what_can_not_be_removed_is_an_error_with_its_command(tmp_path: Path) -> None:
    if os.geteuid() == 0 and not _is_made_immutable(tmp_path):
        pytest.skip("this file system has no files that root can't remove")
    stuck = tmp_path / "stuck"
    stuck.mkdir(exist_ok=True)
    (stuck / "file").touch()
    above = mode(tmp_path)
    try:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "+i", stuck / "file"], check=True)
        else:
            tmp_path.chmod(0o500)
        with pytest.raises(EngineError, match="can't be removed") as caught:
            clear([stuck])
        assert caught.value.facts == {"command": f"rm -rf {stuck}"}
    finally:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", stuck / "file"], check=True)
        tmp_path.chmod(above)


def _is_made_immutable(folder: Path) -> bool:
    tried = folder / "tried"
    tried.touch()
    done = subprocess.run(["chattr", "+i", tried], capture_output=True, check=False)
    subprocess.run(["chattr", "-i", tried], capture_output=True, check=False)
    return done.returncode == 0


def test_a_volume_is_mounted_without_devices_and_set_uid(bench: Bench) -> None:
    bench.client().launch(bench.order("a", SLEEPER, **having()))
    seen = bench.find("a")
    assert seen is not None
    lines = Path(f"/proc/{seen.pid}/mountinfo").read_text("utf-8").splitlines()
    (options,) = (line.split()[5] for line in lines if line.split()[4] == PLACE)
    assert {"rw", "nosuid", "nodev"} <= set(options.split(","))


def test_an_instance_without_volumes_leaves_no_folder(bench: Bench, here: World) -> None:
    bench.output("a", NAMES, service="web")
    assert not place(here, bench).parent.exists()
