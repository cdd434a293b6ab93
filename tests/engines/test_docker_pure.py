"""What the engine docker asks and reads, without an engine."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from anew.core.digest import digest_bytes
from anew.engines.docker import body, drift, labels, life, sockets, touches
from anew.engines.docker.client import Client
from anew.engines.docker.images import archive
from anew.engines.docker.labels import Lot
from anew.errors import EngineError, SpecError, Unsupported
from anew.model import Identity, Image, Limits, Order, Pin, Scope, Volume

SCOPE = Scope("shop", "production", "ours")
NOTHING = digest_bytes(b"")
IMAGE = Image(Identity(NOTHING, NOTHING, (), NOTHING, digest_bytes(b"manifest")), ())
LOT = Lot("instance", "ours", 720_001, "token", "1:2")
AROUND = body.Surroundings("sha256:image", "anew-shop-production")


def order(**more: object) -> Order:
    fields = {
        "name": "shop-production-web-g3-1",
        "group": "web-g3",
        "scope": SCOPE,
        "image": IMAGE,
        "command": ("run",),
    }
    return Order(**{**fields, **more})  # type: ignore[arg-type]


# ------------------------------------------------------------------ which socket


def test_an_engine_on_another_machine_is_refused_with_the_way_out() -> None:
    for address in ("tcp://192.0.2.1:2375", "ssh://deploy@example.com"):
        with pytest.raises(Unsupported) as caught:
            sockets.find({"DOCKER_HOST": address})
        assert address in caught.value.what
        assert "run anew on that machine" in caught.value.hint


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported) as caught:
        sockets.find({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert f"{tmp_path}/none.sock" in caught.value.what


def listening(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    return one


def test_a_state_stays_with_the_engine_that_has_its_instances(tmp_path: Path) -> None:
    note, here, there = tmp_path / "note", tmp_path / "here.sock", tmp_path / "there.sock"
    with listening(here), listening(there):
        for path in (here, there):
            assert sockets.find({"DOCKER_HOST": f"unix://{path}"}, note) == path
        Client(here, note=note).settle(is_used=True)
        assert sockets.find({}, note) == here
        (tmp_path / "link.sock").symlink_to(here)
        assert sockets.find({"DOCKER_HOST": f"unix://{tmp_path}/link.sock"}, note) == tmp_path / "link.sock"
        with pytest.raises(Unsupported, match=r"is on the container engine at .*here\.sock, and DOCKER_HOST names"):
            sockets.find({"DOCKER_HOST": f"unix://{there}"}, note)
        here.unlink()
        with pytest.raises(Unsupported, match=r"no container engine answers at .*here\.sock, where") as caught:
            sockets.find({}, note)
        assert str(note) in caught.value.hint
        Client(there, note=note).settle(is_used=False)
        assert sockets.find({"DOCKER_HOST": f"unix://{there}"}, note) == there


def test_a_socket_behind_which_nobody_answers_is_an_error_with_a_line_to_try(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    with pytest.raises(EngineError) as caught:
        Client(path).info()
    assert "no container engine answers" in caught.value.what
    assert f"--unix-socket {path}" in caught.value.facts["command"]


def test_the_sdk_is_imported_by_nobody_but_who_asks_the_engine() -> None:
    line = "import sys; import anew.engines.docker.compute; print(sorted({'requests', 'docker'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ------------------------------------------------------------------ what is asked


def test_a_container_is_read_only_and_has_no_power() -> None:
    made = body.container(order(writable=("/var/cache",), limits=Limits(64 << 20, 0.5, 100)), LOT, AROUND)
    host = made["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    assert sorted(host["Tmpfs"]) == ["/tmp", "/var/cache"]
    assert all("nosuid,nodev" in one and f"size={64 << 20}" in one for one in host["Tmpfs"].values())
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (64 << 20, 64 << 20, 5e8, 100)
    assert host["RestartPolicy"] == {"Name": "no"}
    assert "PortBindings" not in host
    assert made["User"] == "720001:720001"


@pytest.mark.parametrize(("unheld", "memory"), [("memory", (0, 0)), ("swap", (64 << 20, -1))])
def test_a_limit_that_the_engine_would_drop_is_not_asked_and_not_missed(unheld: str, memory: tuple[int, int]) -> None:
    around = replace(AROUND, unheld=frozenset({unheld}))
    made = body.container(order(limits=Limits(64 << 20, 0.5, 100)), LOT, around)
    host = made["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (*memory, 5e8, 100)
    assert list(drift.limits(host, json.loads(made["Labels"][labels.EXPECTED])["limits"])) == []


def test_an_instance_does_not_hear_its_name() -> None:
    made = body.container(order(port=8000), LOT, AROUND)
    told = {name: value for name, value in made.items() if name != "Labels"}
    assert "web-g3-1" not in json.dumps(told)


def test_labels_tell_all_that_a_record_needs_when_the_order_is_gone() -> None:
    one = order(
        port=8000,
        service="web",
        writable=("/a b",),
        secrets=(Pin("key", 3, "mac"),),
        volumes=(Volume("data", "/data"),),
        environment=(("A", "x=y"),),
    )
    told = labels.of_order(one, LOT)
    found = labels.record(told, one.command, ["A=x=y", "HOSTNAME"], 5.0)
    assert (found.name, found.group, found.port, found.uid) == (one.name, one.group, 8000, 720_001)
    assert (found.secrets, found.volumes, found.writable) == ((("key", 3),), ("data",), ("/a b",))
    assert found.environment == (("A", "x=y"),)
    assert (found.scope, found.image, told[labels.GENERATION]) == (SCOPE, IMAGE.digest, "g3")


@pytest.mark.parametrize(
    "more",
    [
        {"writable": ("relative",)},
        {"writable": ("/",)},
        {"writable": ("/proc/x",)},
        {"volumes": (Volume("data", "/sys/x"),)},
        {"volumes": (Volume("data", "/a"), Volume("more", "/a/b"))},
        {"volumes": (Volume("data", "/a"),), "writable": ("/a/b",)},
        {"volumes": (Volume("data", "/run/secrets/x"),), "secrets": (Pin("key", 1, ""),)},
    ],
    ids=str,
)
def test_places_that_cover_each_other_are_refused(more: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        body.container(order(**more), LOT, AROUND)


def test_an_archive_is_both_kinds_at_once_and_names_the_same_blobs(tmp_path: Path) -> None:
    texts = [b"manifest", b"config", b"a layer", b"a layer"]
    digests = [digest_bytes(one) for one in texts]
    blobs = []
    for number, text in enumerate(texts):
        blobs.append(tmp_path / str(number))
        blobs[-1].write_bytes(text)
    image = Image(Identity(NOTHING, NOTHING, (), digests[1], digests[0]), tuple(digests[2:]))
    data = b"".join(archive(image, "anew.internal/x:tag", blobs))
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        found = {member.name: file.extractfile(member).read() for member in file if member.isfile()}  # type: ignore[union-attr]
    (docker,), index = json.loads(found["manifest.json"]), json.loads(found["index.json"])
    assert found[docker["Config"]] == b"config"
    assert [found[one] for one in docker["Layers"]] == [b"a layer", b"a layer"]
    assert index["manifests"][0]["digest"] == digests[0]
    assert found[f"blobs/sha256/{digests[0].removeprefix('sha256:')}"] == b"manifest"


# ------------------------------------------------------------------ what is read


def said(**state: object) -> dict[str, object]:
    return {"Id": "1", "State": {"FinishedAt": "0001-01-01T00:00:00Z", **state}, "Config": {"Labels": {}}}


def test_every_state_of_a_container_has_its_meaning() -> None:
    over = "2026-01-01T00:00:00.123456789Z"
    assert life.of(said(Status="created")).is_intention
    assert life.of(said(Status="running", Running=True, Pid=7)).is_alive
    paused = life.of(said(Status="paused", Running=True, Paused=True, Pid=7))
    assert (paused.is_alive, paused.is_paused) == (True, True)
    again = life.of(said(Status="running", Running=True, Pid=7, FinishedAt=over))
    assert (again.is_alive, again.is_present, again.ended) == (False, True, "restarted by somebody")
    assert life.of(said(Status="exited", ExitCode=3, FinishedAt=over)).ended == "exit code 3"
    assert life.of(said(Status="exited", ExitCode=137, FinishedAt=over)).ended == "signal 9 (SIGKILL)"
    memory = {**said(Status="exited", ExitCode=137, OOMKilled=True, FinishedAt=over), "HostConfig": {"Memory": 1 << 26}}
    assert life.of(memory).ended == "killed for memory (limit 64 MiB)"
    assert life.of(said(Status="exited", ExitCode=0, OOMKilled=True, FinishedAt=over)).ended == "exit code 0"


def event(kind: str, action: str, at: float, **attributes: str) -> dict[str, object]:
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": attributes.pop("id", ""), "Attributes": attributes},
        "timeNano": int(at * 1e9),
    }


def test_events_tell_what_others_did_and_not_what_anew_does() -> None:
    ours, net = {"c1": "shop-production-web-g3-1"}, "anew-shop-production"
    ours_too = [event("container", one, 20, id="c1") for one in ("create", "attach", "start", "die", "destroy")]
    events = [
        *(one for one in ours_too if one["Action"] != "attach"),
        event("network", "connect", 20, container="c1", name=net),
        event("network", "disconnect", 21, container="c1", name=net),
        event("container", "exec_create: sh -c echo hunter2", 22, id="c1"),
        event("container", "exec_create: sh", 22, id="of somebody else"),
        event("container", "exec_create: sh", 9, id="c1"),
        event("container", "rename", 23, id="c1"),
        event("container", "update", 24, id="c1"),
        event("container", "pause", 25, id="c1"),
        event("container", "kill", 26, id="c1", signal="1"),
        event("container", "archive-path", 27, id="c1"),
        event("network", "connect", 28, container="c1", name="theirs"),
    ]
    found = [(one.name, one.what) for one in touches.parsed(events, ours, net, 10.0)]
    assert {name for name, _ in found} == {"shop-production-web-g3-1"}
    assert [what for _, what in found] == [
        "a command was run in it: sh",
        "it was renamed",
        "its limits were changed",
        "it was paused",
        "it was sent a signal: 1",
        "files were copied out of it",
        "it was connected to the network theirs",
    ]


MOUNTS = """\
1 0 0:1 / / ro,relatime - overlay overlay rw
2 1 0:2 / /proc rw - proc proc rw
3 2 0:2 /sys /proc/sys ro - proc proc rw
4 1 0:3 / /dev rw - tmpfs tmpfs rw
5 1 0:4 / /tmp rw - tmpfs tmpfs rw
6 1 254:0 /x/hosts /etc/hosts ro - ext4 /dev/vda rw
7 1 254:0 /x /run/secrets ro - tmpfs tmpfs rw
8 1 254:0 /y /a\\040b rw - ext4 /dev/vda rw
"""
EXPECTED = {"/tmp": True, "/run/secrets": False, "/a b": True}


def test_mounts_are_compared_one_by_one() -> None:
    assert list(drift.mounts(MOUNTS, EXPECTED)) == []
    more = [
        ("9 1 0:9 / /usr rw - tmpfs tmpfs rw\n", "something was mounted at /usr (tmpfs)"),
        ("9 1 0:9 / /tmp rw - tmpfs tmpfs rw\n", "something was mounted over /tmp"),
        ("9 1 0:9 / /etc/hosts rw - tmpfs tmpfs rw\n", "something was mounted over /etc/hosts"),
    ]
    for line, wanted in more:
        assert list(drift.mounts(MOUNTS + line, EXPECTED)) == [wanted]
    for old, new, wanted in (
        ("/ / ro", "/ / rw", "its root can be written to"),
        ("/run/secrets ro", "/run/secrets rw", "/run/secrets can be written to"),
        ("5 1 0:4 / /tmp rw - tmpfs tmpfs rw\n", "", "/tmp is not mounted any more"),
    ):
        assert list(drift.mounts(MOUNTS.replace(old, new), EXPECTED)) == [wanted]


def test_ways_to_mounts_are_no_changes_and_all_else_is() -> None:
    quiet = ["/run", "/run/secrets", "/made", "/made/for", "/made/for/it", "/sbin", "/sbin/docker-init", "/etc"]
    changes = [{"Path": one, "Kind": 1} for one in quiet]
    loud = [{"Path": "/etc/shadow", "Kind": 0}, {"Path": "/made/evil", "Kind": 1}, {"Path": "/usr/bin/x", "Kind": 2}]
    found = list(drift.files([*changes, *loud], ["/made/for/it", *drift.OF_ENGINES]))
    assert found == ["changed: /etc/shadow", "added: /made/evil", "removed: /usr/bin/x"]


def test_links_are_followed_inside_a_root_and_never_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "usr" / "sbin").mkdir(parents=True)
    (tmp_path / "sbin").symlink_to("usr/sbin")
    (tmp_path / "var").symlink_to("/usr")
    (tmp_path / "out").symlink_to("../../../etc")
    (tmp_path / "circle").symlink_to("circle")
    wanted = {
        "/sbin/docker-init": "/usr/sbin/docker-init",
        "/var/sbin/x": "/usr/sbin/x",
        "/out/passwd": "/etc/passwd",
        "/not/there": "/not/there",
        "/circle": "/circle",
    }
    assert {path: drift.resolved(tmp_path, path) for path in wanted} == wanted


def test_limits_and_networks_are_compared() -> None:
    sealed = body.limits(order(limits=Limits(64 << 20, 0.5, 100)))
    same = {**sealed, "RestartPolicy": {"Name": "no"}}
    assert list(drift.limits(same, sealed)) == []
    assert list(drift.limits({**same, "PidsLimit": 0}, sealed)) == [
        "its limit of processes was changed: 0 instead of 100"
    ]
    assert list(drift.limits({**same, "RestartPolicy": {"Name": "always"}}, sealed)) == [
        "it is restarted by the engine: always"
    ]
    assert len(list(drift.limits({**same, "CpusetCpus": "0"}, sealed))) == 1
    assert list(drift.networks(["ours"], "ours")) == []
    assert len(list(drift.networks(["theirs"], "ours"))) == 2
