"""What a collection asks of the image store: a look at all of it, and a removal that leaves nothing without a part."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from building import quiet, tar_project

from anew.build.drafts import alone, shared
from anew.build.entries import Entry
from anew.build.stockroom import Stockroom, usage
from anew.build.store import ImageStore
from anew.errors import Conflict
from anew.model import Bytes, Copy, Digest, Gone, Image, Selection, Stock


def image(store: ImageStore, *contents: bytes, name: str = "shop-web-1") -> Image:
    layers = [
        store.add_layer([Entry(path=b"f%d" % n, kind="file", size=len(c), content=c)]).digest
        for n, c in enumerate(contents)
    ]
    made = Image(store.add_image("sha256:" + "1" * 64, layers, name, is_host=False), tuple(layers))
    store.admit(made)
    return made


def everything(stock: Stock) -> Selection:
    return Selection(
        frozenset(one.digest for one in stock.images),
        frozenset(one.layer for one in stock.heads),
        frozenset(one.key for one in stock.checkpoints),
        frozenset(stock.blobs),
    )


def reduce(store: ImageStore, stay: Selection, *, is_dry: bool = False) -> tuple[Gone, ...]:
    with Stockroom(store, ()).opened(is_dry=is_dry) as room:
        return room.reduce(room.stock(), stay)


def parts(made: Image) -> frozenset[Digest]:
    return frozenset((made.digest, made.identity.config, *made.layers))


def du(folder: Path) -> Bytes:
    return int(
        subprocess.run(["du", "-s", "-B1", folder], check=True, capture_output=True, text=True).stdout.split()[0]
    )


def test_a_look_finds_all_that_a_build_made(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    (project.root / "f").write_bytes(b"1")
    made, _ = project.builder.build(project.spec, project.service(copy=(Copy("f", "/srv/"),)), quiet)
    with Stockroom(project.store, ()).opened(is_dry=True) as room:
        stock = room.stock()
    (one,) = stock.images
    assert (one.digest, one.config, one.layers) == (made.digest, made.identity.config, made.layers)
    assert one.name.startswith("shop-web-")
    assert [(head.layer, head.name) for head in stock.heads] == [(made.layers[0], "base")]
    assert [point.layers for point in stock.checkpoints] == [made.layers[1:]]
    assert [head.packages for head in stock.heads] == [(made.inputs[1],)]
    assert set(stock.blobs) == parts(made) | set(made.inputs)
    assert reduce(project.store, everything(stock)) == ()
    assert project.builder.recognised(project.spec, project.service(copy=(Copy("f", "/srv/"),))) == made


def test_all_goes_that_is_not_selected_and_what_it_took_is_what_the_disk_says(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    kept, gone = image(store, b"same" * 9999, b"kept"), image(store, b"same" * 9999, b"gone" * 9999, name="shop-web-2")
    stay = Selection(frozenset({kept.digest}), blobs=parts(kept))
    dry, before = reduce(store, stay, is_dry=True), du(tmp_path)
    assert store.has(gone.digest)
    found = reduce(store, stay)
    assert found == dry
    assert abs(before - du(tmp_path) - sum(one.size for one in found)) <= 4096, "but for the index, written anew"
    assert {(one.kind, one.name) for one in found if one.kind in {"image", "layer"}} == {
        ("image", "shop-web-2"),
        ("layer", gone.layers[1][7:19]),
    }
    assert store.blobs.images() == (kept.digest,)
    for blob in parts(kept):
        store.blobs.mark(blob).unlink()
    store.admit(kept)
    assert not store.has(gone.digest)
    assert list(store.drafts.iterdir()) == []
    assert reduce(store, stay) == ()


def test_an_empty_store_has_nothing_to_remove(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "never used")
    assert reduce(store, Selection(), is_dry=True) == ()
    assert not (tmp_path / "never used").exists()
    assert reduce(store, Selection()) == ()


def test_hard_links_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 50_000)
    os.link(tmp_path / "a" / "one", tmp_path / "a" / "deep" / "two")
    (tmp_path / "a" / "link").symlink_to("/")
    assert usage(tmp_path / "a") == du(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        usage(tmp_path / "nothing")


def test_those_who_use_the_store_share_it_and_a_collection_gives_up_in_the_end(
    tmp_path: Path,
) -> None:
    store = ImageStore(tmp_path)
    made = image(store, b"one")
    with store.blobs.shared(), store.blobs.shared():
        store.admit(made)
        with alone(store.blobs.lock, 0.05) as is_alone:
            assert not is_alone
    with alone(store.blobs.lock, 0.05) as is_alone:
        assert is_alone
        fd = os.open(store.blobs.lock, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(fd)
    impatient = Stockroom(store, (), patience=0.05)
    with shared(store.blobs.lock), pytest.raises(Conflict, match="in use") as caught, impatient.opened(is_dry=False):
        pytest.fail("it is not ours")
    assert "nothing was removed" in caught.value.hint
    assert store.has(made.digest)
    assert list(store.drafts.iterdir()) == []


def test_a_head_that_is_recognised_is_pinned_again(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    made = image(store, b"head")
    assert store.has_head(made.layers[0], "base")
    os.utime(tmp_path / "heads" / f"{made.layers[0][7:]}.json", (0, 0))
    assert store.has_head(made.layers[0], "base")
    with Stockroom(store, ()).opened(is_dry=True) as room:
        (head,) = room.stock().heads
    assert (head.name, head.used > 0) == ("base", True)
    assert not store.has_head("sha256:" + "0" * 64, "base")


def test_what_a_recognised_head_was_made_of_is_noted_where_nobody_had(tmp_path: Path) -> None:
    store, packages = ImageStore(tmp_path), ("sha256:" + "1" * 64,)
    layer = image(store, b"head").layers[0]
    assert store.has_head(layer, "base")
    for known in (packages, ()):  # what is noted once stays
        assert store.has_head(layer, "base", lambda known=known: known)  # type: ignore[misc]
        with Stockroom(store, ()).opened(is_dry=True) as room:
            assert [one.packages for one in room.stock().heads] == [packages]


def test_an_index_that_is_damaged_is_said(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    image(store, b"one")
    for damage in ("{", "[]", '{"manifests": [{}]}', '{"manifests": 3}'):
        (tmp_path / "index.json").write_text(damage)
        with pytest.raises(Conflict, match="index of the image store is damaged"):
            store.blobs.images()
