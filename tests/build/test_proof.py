"""Images made again: the same bytes, or what differs and why, or why it can't be told."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
from building import Project, need_root, proved, python, quiet, tar_project

from anew.build.causes import differences
from anew.build.entries import Entry
from anew.build.stack import Stack
from anew.build.stockroom import Stockroom
from anew.build.store import ImageStore
from anew.model import BuildStep, Copy, HostHead, Image, Service
from anew.views import Rebuilt


def prove(project: Project, service: Service, *, is_offline: bool = True) -> tuple[Image, Rebuilt]:
    image, _ = project.builder.build(project.spec, service, quiet)
    return image, proved(project.builder, image, is_offline=is_offline)


def causes(found: Rebuilt) -> dict[str, str]:
    return {one.path: one.cause for one in found.differences}


def test_an_image_comes_out_the_same(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    source = project.root / "app"
    (source / "below").mkdir(parents=True)
    (source / "run.sh").write_text("echo run\n")
    (source / "run.sh").chmod(0o755)
    (source / "below" / "data").write_bytes(bytes(range(256)))
    (source / "link").symlink_to("below/data")
    copy = (Copy("app/", "/srv/app/"), Copy("app/run.sh", "/bin/same"))
    service = project.service("mkdir -p /var/x; cat /srv/app/below/data > /var/x/made", "rm /srv/app/link", copy=copy)
    image, found = prove(project, service)
    assert (found.verdict, found.why, found.differences) == ("identical", "", ())
    assert found.manifest == image.digest
    shutil.rmtree(project.root)  # neither the project nor its lock is needed
    assert proved(project.builder, image).verdict == "identical"
    assert list((project.home / "work").iterdir()) == []


def test_what_comes_out_otherwise_is_told_with_its_cause(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    steps = (
        "cat /proc/uptime > /srv/number",
        "cat /proc/sys/kernel/random/uuid > /srv/random",
        "ls -l --time-style=full-iso /proc/1/status > /srv/time; mkdir /var/cache; cat /srv/time > /var/cache/x.log",
        "mkdir /srv/$(cat /proc/sys/kernel/random/uuid); echo the same > /srv/same",
        "head -c 100 /dev/urandom > /srv/bytes 2>/dev/null || cat /proc/sys/kernel/random/uuid > /srv/bytes",
    )
    image, found = prove(project, project.service(*steps))
    assert found.verdict == "differs"
    told = causes(found)
    assert told["srv/number"] == "it holds a number that is another one each time"
    assert told["srv/random"] == "it holds something random"
    assert told["srv/time"] == "it holds the time at which it was made"
    assert told["var/cache/x.log"] == "a log tells when it was written"
    assert "srv/same" not in told
    assert sorted(one.what for one in found.differences if one.path.count("-") == 4) == ["only before", "only now"]
    assert image.is_reproducible


def test_a_step_with_the_network_stands_in_the_way_of_a_proof(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    service = project.service("mkdir /srv/x", BuildStep("echo 1 > /srv/y", network=True))
    _, offline = prove(project, service)
    why = "services.web.build[1] uses the network, and what it got was not recorded"
    assert (offline.verdict, offline.why) == ("not proved", why)
    _, online = prove(project, service, is_offline=False)
    assert (online.verdict, online.why) == ("identical", why)


def test_a_head_is_made_once_for_all_that_are_proved_together(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    images = [project.builder.build(project.spec, project.service(f"echo {n} > /srv/n"), quiet)[0] for n in range(3)]
    with project.builder.proving(is_offline=True) as proving:
        assert [proving("web", one, project.lines.append).verdict for one in images] == 3 * ["identical"]
    assert project.lines.count("packing head base") == 1
    assert list((project.home / "work").iterdir()) == []


def test_what_was_lost_or_changed_is_no_proof(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    (project.root / "file").write_text("content\n")
    service = project.service("mkdir /srv/x", copy=(Copy("file", "/srv/file"),))
    image, found = prove(project, service)
    assert found.verdict == "identical"
    definition, archive = image.inputs
    for blob in (definition, archive, image.layers[1]):
        path = project.store.blobs.path(blob)
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        found = proved(project.builder, image)
        assert found.verdict == "not proved"
        assert "corrupt" in found.why
        again = proved(project.builder, image).why
        assert "is missing" in again or "not in the image store" in again
        path.write_bytes(before)
    assert proved(project.builder, image).verdict == "identical"


def test_what_a_head_was_made_of_is_kept_also_where_only_its_layer_was_known(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service(), quiet)
    shutil.rmtree(project.store.root / "heads")
    project.builder.build(project.spec, project.service("mkdir /srv/x"), quiet)
    with Stockroom(project.store, ()).opened(is_dry=True) as room:
        assert [one.packages for one in room.stock().heads] == [image.inputs[1:]]


def test_packages_that_are_not_kept_are_named(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service("mkdir /srv/x"), quiet)
    lines = [f"{name} 1.0 amd64 sha256:{number * 64} 3000" for name, number in (("curl", "a"), ("wget", "b"))]
    suite = {"kind": "debian", "suite": "bookworm", "archive": "", "path": ""}
    tool = {"kind": "debian", "name": "bookworm/ansible", "suite": "bookworm"}

    def why(head: dict[str, object], supplies: list[object]) -> str:
        said = json.loads(project.store.blobs.verify(image.inputs[0]).read_bytes())
        said |= {"head": said["head"] | head, "supplies": supplies}
        inputs = (project.store.blobs.add_bytes(json.dumps(said).encode()),)
        return proved(project.builder, replace(image, inputs=inputs)).why

    named = "its head base can't be made again: curl 1.0 and 1 more are not in the image store"
    assert why({**suite, "packages": lines}, []) == named
    assert "the head bookworm/ansible of its steps, and kept no packages" in why({}, [{"tool": tool}])
    assert why({}, [{"tool": {**tool, "packages": lines[:1]}}]).endswith("curl 1.0 is not in the image store")
    assert why({}, [{"layer": "sha256:" + 64 * "c"}]).startswith("build[0] can't be run again: the files")


def test_an_image_of_an_older_anew_says_why_it_can_not_be_proved(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    image, _ = prove(project, project.service())
    found = proved(project.builder, replace(image, inputs=()))
    assert found.verdict == "not proved"
    assert "older anew" in found.why


def test_the_root_of_this_machine_is_proved_only_here(tmp_path: Path) -> None:
    need_root()
    project = Project(tmp_path, HostHead("base"))
    (project.root / "file").write_text("content\n")
    service = project.service("cat /srv/file > /srv/made", copy=(Copy("file", "/srv/file"),))
    assert prove(project, service)[1].verdict == "identical"


def test_a_proof_needs_no_network(tmp_path: Path) -> None:
    need_root()
    project = tar_project(tmp_path)
    image, _ = project.builder.build(project.spec, project.service("mkdir /srv/x"), quiet)
    program = f"""
from pathlib import Path
import msgspec, sys
from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import Image
home, image = Path({str(project.home)!r}), msgspec.json.decode(sys.argv[1], type=Image)
builder = Builder(home, ImageStore(home / "images"), Path("/nonexistent"))
with builder.proving(is_offline=True) as prove:
    print(prove("web", image, print).verdict)
"""

    argv = ["unshare", "--net", python(), "-c", program, msgspec.json.encode(image).decode()]
    told = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert told.stdout.splitlines()[-1] == "identical"


CONTENTS = {
    "order": (b"b\na\n", b"a\nb\n", "its lines come in another order"),
    "day": (b"made 2026-01-01 x\n", b"made 2026-01-02 x\n", "it holds the time at which it was made"),
    "words": (b"Mon Jan  5 10:00:00 2026\n", b"Tue Feb 10 11:01:09 2026\n", "it holds the time at which it was made"),
    "seconds": (b"at 1735689600\n", b"at 1735689999\n", "it holds the time at which it was made"),
    "key": (b"key: 0123456789abcdef0\n", b"key: fedcba98765432100\n", "it holds something random"),
    "both": (
        b"0123456789abcdef0 at 10:00:01",
        b"fedcba98765432100 at 10:00:02",
        "it holds a time and something random",
    ),
    "count": (b"pid 12\n", b"pid 4321\n", "it holds a number that is another one each time"),
    "gz": (
        b"\x1f\x8b\x08\x00aaaa\x02\xffbody",
        b"\x1f\x8b\x08\x00bbbb\x02\xffbody",
        "the header of a compressed file holds the time",
    ),
    "jar": (b"PK\x03\x04aaaa", b"PK\x03\x04bbbb", "an archive holds the times of its files"),
    "x.pyc": (b"a", b"b", "compiled Python holds the time of its source, unless told otherwise"),
    "else": (b"one", b"two", ""),
}


def test_causes_are_known_by_path_and_by_content(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)

    def made(at: int, *more: Entry) -> Stack:
        entries = [
            Entry(path=name.encode(), kind="file", size=len(both[at]), content=both[at])  # type: ignore[arg-type]
            for name, both in CONTENTS.items()
        ]
        return Stack(store, (store.add_layer([*entries, *more]).digest,))

    before = made(0, Entry(path=b"kind", kind="dir"), Entry(path=b"mode", kind="dir", mode=0o755))
    after = made(1, Entry(path=b"kind", kind="symlink", link=b"x"), Entry(path=b"mode", kind="dir", mode=0o700, uid=1))
    found = {one.path: (one.what, one.cause) for one in differences(before, after)}
    assert found.pop("kind") == ("dir before, symlink now", "")
    assert found.pop("mode") == ("mode 755 before, 700 now, owner 0:0 before, 1:0 now", "")
    assert found == {name: ("content", cause) for name, (_, _, cause) in CONTENTS.items()}
    assert list(differences(before, before)) == []
