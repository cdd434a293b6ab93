"""The image store: whole or not at all, mended by building again, and shared by several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_program, need_root, python, quiet, tar_project

from anew.build.drafts import drafted, scratch, start_time, sweep
from anew.build.entries import Entry
from anew.build.store import ImageStore
from anew.errors import Conflict, EngineError, NotFound
from anew.model import Copy, Image


def image(store: ImageStore, *contents: bytes, name: str = "shop-web-1") -> Image:
    layers = [
        store.add_layer([Entry(path=b"f%d" % n, kind="file", size=len(c), content=c)]).digest
        for n, c in enumerate(contents)
    ]
    return Image(store.add_image("sha256:" + "1" * 64, layers, name, is_host=False), tuple(layers))


def test_the_store_is_an_oci_image_layout(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    made = image(store, b"one", b"two")
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((tmp_path / "index.json").read_text())["manifests"]
    assert entry["digest"] == made.digest
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "shop-web-1"}
    blobs = tmp_path / "blobs" / "sha256"
    manifest = json.loads((blobs / made.digest[7:]).read_bytes())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_bytes())
    assert tuple(config["rootfs"]["diff_ids"]) == made.layers
    assert [one["size"] for one in manifest["layers"]] == [(blobs / d[7:]).stat().st_size for d in made.layers]
    assert (config["created"], manifest["config"]["digest"]) == ("2025-01-01T00:00:00Z", made.identity.config)


def test_another_program_reads_the_layout(tmp_path: Path) -> None:
    need_program("skopeo")
    made = image(ImageStore(tmp_path / "store"), b"one")
    subprocess.run(
        ["skopeo", "copy", "-q", "--preserve-digests", f"oci:{tmp_path}/store:shop-web-1", f"oci:{tmp_path}/copy:x"],
        check=True,
    )
    (entry,) = json.loads((tmp_path / "copy" / "index.json").read_text())["manifests"]
    assert entry["digest"] == made.digest


def test_admitting_twice_is_once(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    made = image(store, b"one")
    assert not store.has(made.digest)
    store.admit(made)
    store.admit(made)
    assert store.has(made.digest)
    assert (store.tree(made.layers[0]) / "f0").read_bytes() == b"one"


def test_a_missing_blob_is_not_found(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    made = image(store, b"one")
    store.blobs.path(made.layers[0]).unlink()
    with pytest.raises(NotFound, match="missing") as caught:
        store.admit(made)
    assert "anew build" in caught.value.hint
    with pytest.raises(NotFound):
        store.admit(replace(made, identity=replace(made.identity, manifest="sha256:" + "9" * 64)))


def test_a_corrupt_blob_is_named_and_does_not_stay(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    made = image(store, b"one")
    blob = store.blobs.path(made.layers[0])
    blob.write_bytes(b"X" + blob.read_bytes()[1:])
    with pytest.raises(Conflict, match=made.layers[0]) as caught:
        store.admit(made)
    assert "anew build" in caught.value.hint
    assert not blob.exists()


def test_an_image_whose_manifest_is_gone_is_removed_from_the_index(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    one, two = image(store, b"one"), image(store, b"two", name="shop-web-2")
    store.blobs.path(one.digest).unlink()
    store.remove(one.digest)
    assert store.blobs.images() == (two.digest,)


def test_removing_keeps_what_others_use(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    one, two = image(store, b"same", b"one"), image(store, b"same", b"two", name="shop-web-2")
    store.admit(one)
    store.admit(two)
    store.remove(one.digest)
    store.remove(one.digest)
    assert not store.has(one.digest)
    assert store.has(two.digest)
    store.admit(two)
    assert store.blobs.images() == (two.digest,)
    assert not store.blobs.path(one.layers[1]).exists()
    assert not (tmp_path / "trees" / one.layers[1][7:23]).exists()


def test_a_locked_heads_layer_outlives_its_images(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    made = image(store, b"head", b"app")
    store.pin(made.layers[0], "base")
    store.remove(made.digest)
    assert store.blobs.path(made.layers[0]).exists()
    assert not store.blobs.path(made.layers[1]).exists()


def test_equal_writers_at_once_make_one_image(tmp_path: Path) -> None:
    def make(number: int) -> Image:
        store = ImageStore(tmp_path)
        made = image(store, b"same" * 1000, name="shop-web")
        other = image(store, b"other%d" % number, name=f"shop-web-{number}")
        store.admit(made)
        store.admit(other)
        return made

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(make, range(16)))
    assert len(made) == 1
    assert len(ImageStore(tmp_path).blobs.images()) == 17
    assert list((tmp_path / "drafts").iterdir()) == []


def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    need_root()
    program = """
import sys
from pathlib import Path
from anew.build.entries import Entry
from anew.build.store import ImageStore
from anew.errors import EngineError
root = Path(sys.argv[1])
try:
    ImageStore(root).add_layer([Entry(path=b"big", kind="file", size=1 << 20, content=bytes(1 << 20))])
except EngineError as e:
    print(e.what, e.where, e.hint, sep="|")
print(sum(p.stat().st_size for p in root.rglob("*") if p.is_file()))
"""
    (tmp_path / "small").mkdir()
    script = f'mount -t tmpfs -o size=300k tmpfs {tmp_path}/small && exec {python()} -c "$0" {tmp_path}/small'
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, program], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert told[0].startswith(f"disk full|{tmp_path}/small")
    assert "free some space" in told[0]
    assert told[1] == "0"


def test_what_was_left_is_swept_however_deep_it_is(tmp_path: Path) -> None:
    deep = "import os, sys; os.chdir(sys.argv[1])\nfor _ in range(1500):\n    os.mkdir('deep'); os.chdir('deep')"
    for name in ("999999999-5-a", "999999999-5-b"):
        (tmp_path / name / "beside" / "below").mkdir(parents=True)
        (tmp_path / name / "file").touch()
        (tmp_path / name / "link").symlink_to(tmp_path / "kept")
        subprocess.run([python(), "-c", deep, str(tmp_path / name)], check=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    files = len(list(Path("/proc/self/fd").iterdir()))
    assert sweep(tmp_path) == ("999999999-5-a", "999999999-5-b")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == files


def test_what_killed_makers_left_is_swept_and_what_living_ones_make_is_not(tmp_path: Path) -> None:
    (tmp_path / "999999999-5-left").mkdir()
    (tmp_path / f"1-{start_time(1)}-another").mkdir()
    (tmp_path / "unrelated").mkdir()
    with scratch(tmp_path) as mine:
        assert sweep(tmp_path) == ("999999999-5-left",)
        assert mine.is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"1-{start_time(1)}-another", "unrelated"]


def test_what_a_living_maker_in_another_container_makes_is_not_swept(tmp_path: Path) -> None:
    need_root()
    need_program("unshare")
    swept = "import pathlib, sys; from anew.build.drafts import sweep; print(sweep(pathlib.Path(sys.argv[1])))"
    elsewhere = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", swept, str(tmp_path)]
    with scratch(tmp_path) as folder, drafted(tmp_path) as draft:
        (folder / "file").touch()
        told = subprocess.run(elsewhere, check=True, capture_output=True, text=True).stdout
        assert (told, (folder / "file").is_file(), draft.path.is_file()) == ("()\n", True, True)
    (tmp_path / "1-2-killed").mkdir()  # as an older anew names them too
    told = subprocess.run(elsewhere, check=True, capture_output=True, text=True).stdout
    assert told == "('1-2-killed',)\n"


def test_a_lock_that_was_being_written_by_a_killed_build_is_no_file_of_the_project(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    project.builder.build(project.spec, project.service(copy=(Copy(".", "/srv"),)), quiet)
    killed = subprocess.Popen(["true"])
    killed.wait()
    (project.root / f".anew.lock-{killed.pid}-1-draft").write_text("{")
    (project.root / "2026-11-notes").write_text("of the user")
    image, _ = project.builder.build(project.spec, project.service(copy=(Copy(".", "/srv"),)), quiet)
    names = {Path(os.fsdecode(one.path)).name for layer in image.layers for one in project.builder.store.listing(layer)}
    assert "2026-11-notes" in names
    assert not [name for name in names if name.startswith(".anew.lock")]


@pytest.mark.parametrize("kind", ["blob", "manifest", "record", "listing", "checkpoint"])
def test_whatever_is_damaged_the_next_build_mends_it(tmp_path: Path, kind: str) -> None:
    project = tar_project(tmp_path)
    (project.root / "f").write_bytes(b"1")
    service = project.service(copy=(Copy("f", "/srv/"),))
    first, _ = project.builder.build(project.spec, service, quiet)
    store = project.store
    damaged = {
        "blob": [store.blobs.path(one) for one in first.layers],
        "manifest": [store.blobs.path(first.digest)],
        "record": list((store.root / "records").iterdir()),
        "listing": list((store.root / "listings").iterdir()),
        "checkpoint": list((store.root / "checkpoints").iterdir()),
    }[kind]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    for record in (store.root / "records").iterdir():
        if kind in ("listing", "checkpoint"):
            record.unlink()
    again, _ = project.builder.build(project.spec, service, quiet)
    assert again == first
    store.admit(again)
    for digest in (first.digest, first.identity.config, *first.layers):
        (store.root / "verified" / digest[7:]).unlink()
        store.blobs.verify(digest)


def test_errors_of_the_disk_that_are_not_about_room_stay_what_they_are(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "blocked").write_bytes(b"")
    with pytest.raises(OSError, match="blocked") as caught:
        ImageStore(tmp_path / "blocked").add_layer([])
    assert not isinstance(caught.value, EngineError)
    assert project.root.is_dir()
