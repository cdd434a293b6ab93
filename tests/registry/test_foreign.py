"""Heads from images in registries: resolved once, pinned, kept, and flattened as container engines show them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from foreign import Member, blob, folder, image, index, layer, put
from releasing import Place, quiet
from serving import Server, serving
from tiny import tiny

from anew.build import definition as definitions
from anew.build import lock
from anew.build.entries import chunks
from anew.build.epoch import architecture
from anew.build.flatten import flattened
from anew.core.reference import Reference, Repository
from anew.errors import AnewError, Conflict, NotFound, SpecError, Unsupported
from anew.model import Image, ImageHead, Spec
from anew.registry.client import MANIFEST, Registry
from anew.registry.wire import Wire
from anew.testing.roots import write_root


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "registry") as one:
        yield one


@pytest.fixture
def registry(server: Server) -> Iterator[Registry]:
    with Wire() as wire:
        yield Registry(Repository(server.host, "base"), wire, "push", lambda _: None)


def root(tmp_path: Path) -> bytes:
    write_root(tmp_path / "root.tar")
    return (tmp_path / "root.tar").read_bytes()


def place(folder_: Path, server: Server, wanted: str = ":1") -> Place:
    return Place(folder_, ImageHead("base", f"{server.host}/base{wanted}"))


def spec(one: Place) -> Spec:
    return Spec("shop", (one.head,), (), ())


@pytest.mark.parametrize("kind", ["oci", "gzip", "docker"])
def test_an_image_of_a_registry_is_a_head(kind: str, server: Server, registry: Registry, tmp_path: Path) -> None:
    named = image(registry, "1", [root(tmp_path), layer(folder("srv"), Member("srv/more", b"more"))], kind=kind)
    here = place(tmp_path / "here", server)
    made = here.release(here.service("web", "cat /srv/more > /srv/copied")).parts[0].image
    pinned = lock.read(here.root).heads["base"]
    assert (pinned.image, pinned.layer) == (named["digest"], made.layers[0])
    assert (here.store.tree(made.layers[1]) / "srv" / "copied").read_bytes() == b"more"
    other = place(tmp_path / "other", server)
    again = other.release(other.service("web", "cat /srv/more > /srv/copied")).parts[0].image
    assert (again.digest, again.identity, again.layers) == (made.digest, made.identity, made.layers)


def test_a_locked_image_is_asked_for_no_more(server: Server, registry: Registry, tmp_path: Path) -> None:
    first = image(registry, "1", [root(tmp_path)])
    here = place(tmp_path / "here", server)
    made = here.release()
    second = image(registry, "1", [root(tmp_path), layer("etc/more")])
    assert here.release() == made
    (view,) = here.builder.outdated(spec(here), quiet)
    assert [(one.before, one.after) for one in view.moves] == [(first["digest"][7:19], second["digest"][7:19])]
    server.kill()
    here.store.remove(made.parts[0].image.digest)
    here.store.blobs.path(made.parts[0].image.layers[0]).unlink(missing_ok=True)
    assert here.release() == made  # from the blobs that are kept
    assert here.proved(made.parts[0].image).verdict == "identical"


def test_an_update_moves_the_head_and_says_so(server: Server, registry: Registry, tmp_path: Path) -> None:
    first = image(registry, "1", [root(tmp_path)])
    here = place(tmp_path / "here", server)
    (view,) = here.builder.lock(spec(here), (), quiet, update=False)
    assert (view.source, view.image, view.moves) == (f"image {server.host}/base:1", first["digest"], ())
    second = image(registry, "1", [root(tmp_path), layer("etc/more")])
    (same,) = here.builder.lock(spec(here), ["base"], quiet, update=False)
    assert same.image == first["digest"]
    (moved,) = here.builder.lock(spec(here), ["base"], quiet, update=True)
    assert (moved.image, len(moved.moves)) == (second["digest"], 1)
    assert here.builder.outdated(spec(here), quiet)[0].moves == ()


def test_a_head_is_named_by_digest_as_well(server: Server, registry: Registry, tmp_path: Path) -> None:
    named = image(registry, "1", [root(tmp_path)])
    image(registry, "1", [layer("etc/other")])
    here = place(tmp_path / "here", server, f"@{named['digest']}")
    here.release()
    assert lock.read(here.root).heads["base"].image == named["digest"]
    server.kill()
    assert here.builder.outdated(spec(here), quiet)[0].moves == ()


def test_a_layer_of_another_compression_is_refused_before_it_is_fetched(
    server: Server, registry: Registry, tmp_path: Path
) -> None:
    image(registry, "1", [root(tmp_path)])
    made = registry.text("1")
    assert made is not None
    layers = [{**one, "mediaType": f"{one['mediaType']}+zstd"} for one in made.said["layers"]]
    put(registry, "1", {**made.said, "layers": layers})
    here = place(tmp_path / "here", server)
    with pytest.raises(Unsupported, match="compressed with zstd") as caught:
        here.release()
    assert "skopeo copy --dest-compress-format gzip" in caught.value.hint
    assert not here.store.blobs.are_whole([layers[0]["digest"]])


@pytest.mark.parametrize("is_docker", [True, False])
def test_of_an_image_for_several_machines_that_for_this_one_is_taken(
    server: Server, registry: Registry, tmp_path: Path, *, is_docker: bool
) -> None:
    kind = "docker" if is_docker else "oci"
    other = image(registry, "other", [layer("etc/other")], kind=kind, machine="s390x")
    ours = image(registry, "ours", [root(tmp_path)], kind=kind)
    index(registry, "1", {"s390x": other, architecture(): ours}, is_docker=is_docker)
    here = place(tmp_path / "here", server)
    here.release()
    assert lock.read(here.root).heads["base"].image == ours["digest"]
    index(registry, "2", {"s390x": other})
    with pytest.raises(Unsupported, match="linux/s390x"):
        place(tmp_path / "there", server, ":2").release()
    with pytest.raises(Unsupported, match="linux/s390x"):
        place(tmp_path / "third", server, ":other").release()


def test_a_pulled_release_on_such_a_head_can_be_made_again(server: Server, registry: Registry, tmp_path: Path) -> None:
    image(registry, "1", [root(tmp_path), layer("etc/more")], kind="gzip")
    here, there = place(tmp_path / "here", server), Place(tmp_path / "there")
    release, to = here.release(), Repository(server.host, "shop")
    here.push(release, to, with_inputs=True)
    there.pull(Reference(to, "r1"), with_inputs=True)
    made = release.parts[0].image
    found = definitions.read(there.store.blobs.verify(made.inputs[0]).read_bytes())
    assert found.head.blobs == made.inputs[1:]
    server.kill()
    assert there.proved(made).verdict == "identical"


def rerecorded(one: Place, made: Image, **change: object) -> Image:
    """Return an image whose definition says something else of its head."""
    said = json.loads(one.store.blobs.verify(made.inputs[0]).read_bytes())
    said["head"] |= change
    return replace(made, inputs=(one.store.blobs.add_bytes(json.dumps(said).encode()), *made.inputs[1:]))


def test_offline_no_registry_is_asked_and_what_is_missing_is_told(tmp_path: Path) -> None:
    with tiny() as (host, kept):
        with Wire() as wire:
            manifest = image(
                Registry(Repository(host, "base"), wire, "push", lambda _: None),
                "1",
                [root(tmp_path), layer("etc/more")],
            )["digest"]
        here = Place(tmp_path / "here", ImageHead("base", f"{host}/base:1"))
        made = here.release().parts[0].image
        asked = len(kept.asked)

        def why(image: Image) -> str:
            found = here.proved(image)
            assert found.verdict == "not proved"
            return found.why

        assert here.proved(made).verdict == "identical"
        assert f"which image {host}/base:1 was, nobody recorded" in why(rerecorded(here, made, blobs=[]))
        assert f"not all of the image {host}/base:1 is in the image store" in why(
            rerecorded(here, made, blobs=[manifest])
        )
        here.store.blobs.path(made.inputs[-1]).unlink()
        assert (
            why(made)
            == f"its head base can't be made again: a part of the image {host}/base:1 is not in the image store"
        )
        assert len(kept.asked) == asked


def test_what_is_not_there_is_told(server: Server, registry: Registry, tmp_path: Path) -> None:
    image(registry, "1", [root(tmp_path)])
    for number, wanted in enumerate((":2", f"@sha256:{64 * '0'}")):
        with pytest.raises(NotFound, match="there is no image") as caught:
            place(tmp_path / str(number), server, wanted).release()
        assert caught.value.where == "anew.yaml os.base.image"
    assert not (tmp_path / "0" / "project" / "anew.lock").exists()


def test_an_image_that_was_altered_is_refused(server: Server, registry: Registry, tmp_path: Path) -> None:
    named = image(registry, "1", [root(tmp_path)])
    text = registry.text(named["digest"])
    assert text is not None
    kept = server.blob(text.said["layers"][0]["digest"])
    data = bytearray(kept.read_bytes())
    data[5000] ^= 1
    kept.write_bytes(data)
    here = place(tmp_path / "here", server)
    with pytest.raises(Conflict, match="altered"):
        here.release()
    assert not (here.root / "anew.lock").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": []}, "no root file system|with a root"),
        ({"config": "artifact"}, "with a root"),
        ({"layers": "foreign"}, "of the kind"),
        ({"diffs": True}, "not the one that its config names"),
        ({"few": True}, "other layers than its manifest"),
        ({"broken": True}, "can't be read"),
    ],
)
def test_what_is_no_image_for_a_head_is_told(
    change: dict[str, object], words: str, server: Server, registry: Registry, tmp_path: Path
) -> None:
    data = root(tmp_path)
    more: dict[str, Any] = {}
    if "diffs" in change or "few" in change:
        more = {"rootfs": {"diff_ids": ["sha256:" + 64 * "0"] if "diffs" in change else []}}
    named = image(registry, "1", [data], **more)
    text = registry.text(named["digest"])
    assert text is not None
    said = json.loads(text.data)
    match change:
        case {"layers": []}:
            said["layers"] = []
        case {"config": _}:
            said["config"] = blob(registry, "application/vnd.example+json", b"{}")
        case {"layers": _}:
            said["layers"][0]["mediaType"] = "application/vnd.example.layer"
        case {"broken": _}:
            said["config"] = blob(registry, said["config"]["mediaType"], b"[1]")
    put(registry, "1", said)
    with pytest.raises(AnewError, match=words):
        place(tmp_path / "here", server).release()


def test_a_text_of_the_old_format_is_told(tmp_path: Path) -> None:
    with tiny() as (host, kept):
        old = {"schemaVersion": 1, "name": "base", "tag": "1", "fsLayers": []}
        kept.texts["base", "1"] = (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            json.dumps(old).encode(),
        )
        kept.texts["base", "2"] = (MANIFEST, json.dumps({"schemaVersion": 2, "mediaType": "x/y"}).encode())
        with pytest.raises(Unsupported, match="schema 1"):
            Place(tmp_path / "1", ImageHead("base", f"{host}/base:1")).release()
        with pytest.raises(Unsupported, match="is no image, but a x/y"):
            Place(tmp_path / "2", ImageHead("base", f"{host}/base:2")).release()


def test_older_definitions_say_the_same(tmp_path: Path) -> None:
    here = Place(tmp_path / "here")
    made = here.release().parts[0].image
    text = here.store.blobs.verify(made.inputs[0]).read_bytes()
    assert b'"blobs"' not in text
    assert definitions.read(text).text() == text


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "--setup-hook=touch /tmp/x"},
        {"named": ["--option"]},
        {"path": "../../etc/cron.d/x"},
        {"path": "/etc/cron.d/x"},
        {"archive": "sha256:../../x"},
        {"blobs": ["sha256:../../x"]},
        {"packages": ["nonsense"]},
        {"name": "../x"},
    ],
)
def test_a_definition_from_elsewhere_is_not_trusted(change: dict[str, object], tmp_path: Path) -> None:
    here = Place(tmp_path / "here")
    made = here.release().parts[0].image
    said = json.loads(here.store.blobs.verify(made.inputs[0]).read_bytes())
    said["head"] |= change
    inputs = (here.store.blobs.add_bytes(json.dumps(said).encode()), *made.inputs[1:])
    told = here.proved(replace(made, inputs=inputs))
    assert told.verdict == "not proved"
    assert "definition" in told.why


# ---------------------------------------------------------------- layers on top of each other


def tree(tmp_path: Path, layers: Sequence[bytes]) -> dict[str, str]:
    """Return what the layers show together: by path the content, a link's text with its arrow, or "/" for a folder."""
    paths = []
    for number, data in enumerate(layers):
        paths.append(tmp_path / f"layer{number}.tar")
        paths[-1].write_bytes(data)
    out = {}
    for entry in flattened(paths, "here"):
        if entry.path.startswith(b"etc"):
            continue
        text = "/" if entry.kind == "dir" else f"{'=>' if entry.kind == 'hardlink' else '->'} {entry.link.decode()}"
        out[entry.path.decode()] = b"".join(chunks(entry)).decode() if entry.kind == "file" else text
    return out


A = Member("d/a", b"a")
CASES = {
    "folders come together": (
        [[folder("d"), A], [folder("d"), Member("d/b", b"b")]],
        {"d": "/", "d/a": "a", "d/b": "b"},
    ),
    "the upper file counts": ([[folder("d"), A], [Member("d/a", b"b")]], {"d": "/", "d/a": "b"}),
    "a file is removed": ([[folder("d"), A], [Member("d/.wh.a")]], {"d": "/"}),
    "a folder is removed": ([[folder("d"), A], [Member(".wh.d")]], {}),
    "a folder is removed and made anew": (
        [[folder("d"), A], [Member(".wh.d"), folder("d"), Member("d/b")]],
        {"d": "/", "d/b": ""},
    ),
    "a folder is emptied": (
        [[folder("d"), A], [folder("d"), Member("d/.wh..wh..opq"), Member("d/b")]],
        {"d": "/", "d/b": ""},
    ),
    "what is emptied first is not": (
        [[folder("d"), A], [Member("d/b"), Member("d/.wh..wh..opq")]],
        {"d": "/", "d/b": ""},
    ),
    "a mark does not hide what its own layer has": ([[folder("d")], [A, Member("d/.wh.a")]], {"d": "/", "d/a": "a"}),
    "a file takes the place of a folder": ([[folder("d"), A], [Member("d", b"file")]], {"d": "file"}),
    "a folder takes the place of a file": ([[Member("d", b"file")], [folder("d"), A]], {"d": "/", "d/a": "a"}),
    "a link takes the place of a folder": ([[folder("d"), A], [Member("d", link="x")]], {"d": "-> x"}),
    "an implied folder takes the place of a link": ([[Member("d", link="x")], [A]], {"d": "/", "d/a": "a"}),
    "folders that are implied are made": ([[Member("x/y/z", b"z")]], {"x": "/", "x/y": "/", "x/y/z": "z"}),
    "what an old union mount noted is nothing": (
        [[folder(".wh..wh.plnk"), Member(".wh..wh.plnk/1"), Member(".wh..wh.aufs"), Member("a", b"a")]],
        {"a": "a"},
    ),
    "hard links stay links": ([[Member("b", b"x"), Member("a", link="b", is_hard=True)]], {"a": "x", "b": "=> a"}),
    "a hard link to a lower layer": (
        [[Member("b", b"x")], [Member("a", link="b", is_hard=True)]],
        {"a": "x", "b": "=> a"},
    ),
    "one of two links is replaced": (
        [[Member("b", b"x"), Member("a", link="b", is_hard=True)], [Member("a", b"y")]],
        {"a": "y", "b": "x"},
    ),
    "the target of a link is removed": (
        [[Member("a", b"x"), Member("b", link="a", is_hard=True)], [Member(".wh.a")]],
        {"b": "x"},
    ),
    "what belongs to a machine is left out": (
        [[Member("dev/null"), Member(".dockerenv"), Member("var/log/dpkg.log")]],
        {"dev": "/", "var": "/", "var/log": "/"},
    ),
    "the root itself is nothing": ([[folder("./"), Member("./a", b"a")]], {"a": "a"}),
    "an empty layer": ([[Member("a", b"a")], []], {"a": "a"}),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_are_shown_together_as_engines_show_them(name: str, tmp_path: Path) -> None:
    layers, wanted = CASES[name]
    assert tree(tmp_path, [layer(*members) for members in layers]) == wanted


def test_what_instances_mount_over_is_there(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(layer("a"))
    paths = {entry.path: entry.content for entry in flattened([tmp_path / "l"], "here")}
    assert paths[b"etc/resolv.conf"] == b""
    assert b"localhost" in bytes(paths[b"etc/hosts"])  # type: ignore[arg-type]
    (tmp_path / "l").write_bytes(layer(folder("etc"), Member("etc/machine-id", b"12"), Member("etc/hosts", b"mine")))
    found = {entry.path: b"".join(chunks(entry)) for entry in flattened([tmp_path / "l"], "here")}
    assert (found[b"etc/machine-id"], found[b"etc/hosts"]) == (b"", b"mine")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([Member("../a")], "leads out"),
        ([Member("a", link="../b", is_hard=True)], "leads out"),
        ([Member("a", link="b", is_hard=True)], "does not have"),
        ([folder("b"), Member("a", link="b", is_hard=True)], "does not have"),
        ([Member("a", b"file"), Member("a/b")], "lies below a file"),
    ],
)
def test_layers_that_can_not_be_shown_are_told(members: list[Member], words: str, tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(layer(*members))
    with pytest.raises(SpecError, match=words) as caught:
        flattened([tmp_path / "l"], "anew.yaml os.base.image")
    assert caught.value.where == "anew.yaml os.base.image"


def test_a_layer_that_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"nonsense" * 200)
    with pytest.raises(SpecError, match="not a readable"):
        flattened([tmp_path / "l"], "here")


def test_skopeo_and_anew_see_the_same_image(server: Server, registry: Registry, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    write_root(tmp_path / "root.tar")
    here = Place(tmp_path / "mine")
    release = here.release()
    here.push(release, registry.repository)
    source, target = f"docker://{registry}:web-r1", f"docker://{server.host}/base:docker"
    tls = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run(["skopeo", "copy", *tls, "--format=v2s2", source, target], check=True, capture_output=True)
    there = place(tmp_path / "there", server, ":docker")
    head = there.release(there.service("web")).parts[0].image.layers[0]
    shown = {one.path for part in release.parts[0].image.layers for one in here.store.listing(part)}
    assert shown <= {one.path for one in there.store.listing(head)} | {"etc/hosts", "etc/resolv.conf"}
