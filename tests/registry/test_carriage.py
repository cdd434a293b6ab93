"""Releases brought to a registry and from there: the same bytes, with what is said of them, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from releasing import Place, quiet
from serving import Server, serving
from tiny import Kept, tiny

from anew.build import carried
from anew.build.carried import identity_of
from anew.build.evidence import MEDIA
from anew.core.digest import canonical, digest_bytes, short
from anew.core.reference import Reference, Repository
from anew.errors import AnewError, Conflict, EngineError, NotFound, Unsupported
from anew.model import Copy, HostHead, Identity, Image, OnUndecided, Part, Policy, Release, Service
from anew.registry.client import MANIFEST

SBOM, PROVENANCE = "https://cyclonedx.org/bom", "https://slsa.dev/provenance/v1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "registry") as one:
        yield one


@pytest.fixture
def small() -> Iterator[tuple[Repository, Kept]]:
    with tiny() as (host, kept):
        yield Repository(host, "shop"), kept


def named(server: Server) -> Repository:
    return Repository(server.host, "team/shop")


def test_a_release_arrives_with_the_same_digests_and_all_that_is_said_of_it(server: Server, tmp_path: Path) -> None:
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    (here.root / "app").mkdir()
    (here.root / "app" / "a").write_text("text")
    web = here.service("web", "echo one > /srv/one", copy=(Copy("app/", "/srv/app/"),))
    release = here.release(web, here.service("api", "echo two > /srv/two"))
    for part in release.parts:
        here.evidence.add(part.image.digest, SBOM, f"sbom of {part.service.name}".encode())
        here.evidence.add(part.image.digest, PROVENANCE, f"provenance of {part.service.name}".encode())
    pushed = here.push(release, named(server))
    found, pulled = there.pull(Reference(named(server), "r1"))
    assert (found.project, found.digest, found.parts) == ("shop", release.digest, release.parts)
    names = (f"{one}{name}" for one in ("", "web-", "api-") for name in ("r1", short(release.digest)))
    assert pushed.tags == tuple(sorted(names))
    assert (pushed.statements, pulled.statements, pulled.index) == (4, 4, pushed.index)
    assert pulled.moved == pulled.size
    for part in release.parts:
        assert there.is_whole(part.image)
        assert there.evidence.filed(part.image.digest) == here.evidence.filed(part.image.digest)
        one = there.evidence.filed(part.image.digest)[0]
        assert there.evidence.read(one) == here.evidence.read(one)
        there.store.admit(part.image)
        assert (there.store.tree(part.image.layers[0]) / "bin" / "sh").exists()


@pytest.mark.parametrize("has_api", [True, False])
def test_statements_that_come_later_are_added(small: tuple[Repository, Kept], tmp_path: Path, *, has_api: bool) -> None:
    to, kept = small
    kept.has_referrers = has_api
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    release = here.release()
    image = release.parts[0].image.digest
    for predicate in (SBOM, PROVENANCE, SBOM):
        here.evidence.add(image, predicate, f"{predicate} {len(kept.asked)}".encode())
        here.push(release, to)
        there.pull(Reference(to, "r1"))
        assert there.evidence.filed(image) == here.evidence.filed(image)
    assert ("shop", image.replace(":", "-")) in kept.texts or has_api


def test_a_damaged_list_of_statements_is_not_pushed_as_none(small: tuple[Repository, Kept], tmp_path: Path) -> None:
    to, kept = small
    here = Place(tmp_path / "here")
    release = here.release()
    image = release.parts[0].image.digest
    here.evidence.add(image, SBOM, b"said")
    (path,) = (here.store.root / "evidence").glob("*.json")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(Conflict, match="is damaged") as caught:
        here.push(release, to)
    assert (caught.value.where, kept.asked) == (str(path), [])
    assert here.evidence.filed(image) == ()


def test_an_image_of_which_nothing_is_said_is_told(small: tuple[Repository, Kept], tmp_path: Path) -> None:
    here = Place(tmp_path / "here")
    release = here.release()
    image = release.parts[0].image.digest
    told = f"nothing is said of the image {short(image)}: it goes without a signature"
    here.push(release, small[0])
    assert here.lines.count(told) == 1
    here.evidence.add(image, SBOM, b"said")
    here.push(release, small[0])
    assert here.lines.count(told) == 1


def test_a_repetition_sends_and_fetches_nothing(small: tuple[Repository, Kept], tmp_path: Path) -> None:
    to, kept = small
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    release = here.release()
    here.evidence.add(release.parts[0].image.digest, SBOM, b"said")
    first, _ = here.push(release, to), there.pull(Reference(to, "r1"))
    assert first.moved == first.size
    before = dict(kept.texts), len(kept.asked), kept.sent
    again, (_, pulled) = here.push(release, to), there.pull(Reference(to, "r1"))
    assert (again.moved, pulled.moved, kept.texts, kept.sent) == (0, 0, before[0], before[2])
    assert not any(line.startswith(("PUT", "POST", "PATCH")) for line in kept.asked[before[1] :])
    assert replace(again, seconds=0, moved=first.moved, is_new=True) == replace(first, seconds=0)


def test_skopeo_reads_what_was_pushed(server: Server, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo")
    here = Place(tmp_path / "here")
    release = here.release()
    image = release.parts[0].image
    here.push(release, named(server))
    source = f"docker://{named(server)}:web-r1"
    raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", source], capture_output=True, check=True)
    assert digest_bytes(raw.stdout) == image.digest
    told = subprocess.run(["skopeo", "inspect", "--tls-verify=false", source], capture_output=True, check=True)
    assert json.loads(told.stdout)["Digest"] == image.digest
    copy = ["skopeo", "copy", "--preserve-digests", "--src-tls-verify=false"]
    subprocess.run([*copy, source, f"oci:{tmp_path}/one:x"], check=True, capture_output=True)
    for layer in image.layers:
        assert digest_bytes((tmp_path / "one" / "blobs" / "sha256" / layer[7:]).read_bytes()) == layer


def test_a_release_is_found_by_its_digest_and_by_that_of_its_index(server: Server, tmp_path: Path) -> None:
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    release = here.release()
    pushed = here.push(release, named(server))
    by_index = there.pull(Reference(named(server), digest=pushed.index))[0]
    by_digest = there.pull(Reference(named(server), short(release.digest)), release.digest)[0]
    assert by_index == by_digest == replace(release, name="", at=0.0)
    with pytest.raises(Conflict, match="another release"):
        there.pull(Reference(named(server), "r1"), "sha256:" + 64 * "0")


def test_a_name_that_another_release_has_stays_its_own(server: Server, tmp_path: Path) -> None:
    here, other = Place(tmp_path / "here"), Place(tmp_path / "other")
    first, second = here.release(), other.release(other.service("web", "echo other > /srv/a"))
    here.push(first, named(server))
    pushed = other.push(second, named(server))
    assert pushed.tags == tuple(sorted([short(second.digest), f"web-{short(second.digest)}"]))
    assert "is another release and stays" in "\n".join(other.lines)
    assert here.pull(Reference(named(server), "r1"))[0].digest == first.digest
    assert here.pull(Reference(named(server), short(second.digest)))[0].digest == second.digest


def test_what_it_was_made_from_travels_when_asked_for_and_makes_it_again(server: Server, tmp_path: Path) -> None:
    here, bare, full = (Place(tmp_path / name) for name in ("here", "bare", "full"))
    release = here.release()
    image = release.parts[0].image
    here.push(release, named(server))
    bare.pull(Reference(named(server), "r1"), with_inputs=True)
    assert bare.store.blobs.are_whole([image.inputs[0]])
    assert "push it with --inputs" in "\n".join(bare.lines)
    assert bare.proved(image).verdict == "not proved"
    here.push(release, named(server), with_inputs=True)
    full.pull(Reference(named(server), "r1"))
    assert not full.store.blobs.are_whole([image.inputs[1]])
    full.pull(Reference(named(server), "r1"), with_inputs=True)
    assert full.proved(image).verdict == "identical"


def test_what_lies_on_the_machines_own_root_is_not_pushed(server: Server, tmp_path: Path) -> None:
    here = Place(tmp_path / "here", HostHead("base"))
    (here.root / "a").write_text("a")
    release = here.release(here.service("web", copy=(Copy("a", "/srv/a"),)))
    with pytest.raises(Unsupported, match="own root"):
        here.push(release, named(server))


def test_a_release_of_which_something_was_collected_is_not_pushed(server: Server, tmp_path: Path) -> None:
    here = Place(tmp_path / "here")
    release = here.release()
    here.store.blobs.path(release.parts[0].image.layers[1]).unlink()
    with pytest.raises(NotFound, match="not in the image store any more"):
        here.push(release, named(server))
    with pytest.raises(NotFound, match="no release"):
        here.pull(Reference(named(server), "r1"))


def test_an_image_that_is_no_release_is_told(server: Server, tmp_path: Path) -> None:
    here = Place(tmp_path / "here")
    here.push(here.release(), named(server))
    with pytest.raises(Conflict, match="no release of anew"):
        here.pull(Reference(named(server), "web-r1"))
    with pytest.raises(NotFound) as caught:
        here.pull(Reference(named(server), "r7"))
    assert "r1" in caught.value.hint


# ---------------------------------------------------------------- what lies is refused, and nothing is registered


def every_text(kept: Kept) -> dict[str, tuple[str, dict[str, Any]]]:
    return {key: (media, json.loads(data)) for (_, key), (media, data) in kept.texts.items()}


def put(kept: Kept, name: str, text: dict[str, Any], media: str = MANIFEST) -> dict[str, Any]:
    """Put a text that was changed into the registry; return how others name it now."""
    data = canonical(text)
    digest = digest_bytes(data)
    kept.texts["shop", digest] = kept.texts["shop", name or digest] = (media, data)
    return {"mediaType": media, "digest": digest, "size": len(data)}


def blob(kept: Kept, media: str, data: bytes) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    kept.blobs["shop", digest] = data
    return {"mediaType": media, "digest": digest, "size": len(data)}


def index_of(kept: Kept) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the index, the image's manifest and the description of the one release."""
    texts = every_text(kept)
    index = texts["r1"][1]
    image, description = (texts[one["digest"]][1] for one in index["manifests"])
    return index, image, description


def with_other_layers(kept: Kept) -> None:
    """An image whose manifest names another layer, in a release that names that image."""
    index, image, description = index_of(kept)
    image["layers"][0] = blob(kept, image["layers"][0]["mediaType"], b"evil")
    named_ = put(kept, "", image)
    swap(
        kept,
        index,
        description,
        lambda text: text.replace(index["manifests"][0]["digest"].encode(), named_["digest"].encode()),
    )
    index["manifests"][0] |= named_
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def swap(kept: Kept, index: dict[str, Any], description: dict[str, Any], change: Callable[[bytes], bytes]) -> None:
    """Change the texts of a description, with everything that names them."""
    config, layer = description["config"], description["layers"][0]
    description["config"] = blob(kept, config["mediaType"], change(kept.blobs["shop", config["digest"]]))
    description["layers"][0] = blob(kept, layer["mediaType"], change(kept.blobs["shop", layer["digest"]]))
    index["manifests"][-1] |= put(kept, "", description)
    index["annotations"]["anew.release"] = description["config"]["digest"]


def with_a_lying_config(kept: Kept) -> None:
    index, image, description = index_of(kept)
    config = json.loads(kept.blobs["shop", image["config"]["digest"]])
    config["rootfs"]["diff_ids"].reverse()
    before = index["manifests"][0]["digest"], image["config"]["digest"]
    image["config"] = blob(kept, image["config"]["mediaType"], canonical(config))
    after = put(kept, "", image), image["config"]["digest"]

    def change(text: bytes) -> bytes:
        return text.replace(before[0].encode(), after[0]["digest"].encode()).replace(
            before[1].encode(), after[1].encode()
        )

    swap(kept, index, description, change)
    index["manifests"][0] |= after[0]
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_another_machine(kept: Kept) -> None:
    index, image, description = index_of(kept)
    config = json.loads(kept.blobs["shop", image["config"]["digest"]]) | {"architecture": "s390x"}
    before = index["manifests"][0]["digest"], image["config"]["digest"]
    image["config"] = blob(kept, image["config"]["mediaType"], canonical(config))
    after = put(kept, "", image), image["config"]["digest"]
    swap(
        kept,
        index,
        description,
        lambda text: text.replace(before[0].encode(), after[0]["digest"].encode()).replace(
            before[1].encode(), after[1].encode()
        ),
    )
    index["manifests"][0] |= after[0]
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def describe_otherwise(kept: Kept, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a description says of its one image, with everything that names it."""
    index, _, description = index_of(kept)
    layer = description["layers"][0]
    said = json.loads(kept.blobs["shop", layer["digest"]])
    change(said["images"][0])
    description["layers"][0] = blob(kept, layer["mediaType"], canonical(said))
    index["manifests"][-1] |= put(kept, "", description)
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_paths_for_digests(kept: Kept) -> None:
    describe_otherwise(kept, lambda image: image.update(inputs=["sha256:../../../../../etc/passwd"]))


def with_other_contents_of_layers(kept: Kept) -> None:
    describe_otherwise(kept, lambda image: image["identity"]["diffs"].reverse())


def with_another_config(kept: Kept) -> None:
    describe_otherwise(kept, lambda image: image["identity"].update(config="sha256:" + 64 * "0"))


def with_the_root_of_a_machine(kept: Kept) -> None:
    describe_otherwise(kept, lambda image: image.update(is_host=True))


def with_an_altered_identity(kept: Kept) -> None:
    index, _, description = index_of(kept)
    swap(kept, index, description, lambda text: text.replace(b'"/bin/sh"', b'"/bin/evil"'))
    index["annotations"]["anew.release"] = "sha256:" + 64 * "0"
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_more_than_we_know(kept: Kept) -> None:
    index, _, description = index_of(kept)
    swap(kept, index, description, lambda text: text.replace(b'"command":', b'"comet":1,"command":'))
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_a_flipped_bit(kept: Kept) -> None:
    _, image, _ = index_of(kept)
    key = ("shop", image["layers"][-1]["digest"])
    data = bytearray(kept.blobs[key])
    data[len(data) // 2] ^= 1
    kept.blobs[key] = bytes(data)


def with_a_missing_blob(kept: Kept) -> None:
    _, image, _ = index_of(kept)
    del kept.blobs["shop", image["layers"][-1]["digest"]]


def with_a_missing_manifest(kept: Kept) -> None:
    index, _, _ = index_of(kept)
    del kept.texts["shop", index["manifests"][0]["digest"]]


def with_an_altered_manifest(kept: Kept) -> None:
    index, image, _ = index_of(kept)
    kept.texts["shop", index["manifests"][0]["digest"]] = (MANIFEST, canonical(image | {"more": 1}))


def with_a_lying_size(kept: Kept) -> None:
    index, image, description = index_of(kept)
    before = index["manifests"][0]["digest"]
    image["layers"][0]["size"] += 10
    after = put(kept, "", image)
    swap(kept, index, description, lambda text: text.replace(before.encode(), after["digest"].encode()))
    index["manifests"][0] |= after
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_a_list_of_annotations(kept: Kept) -> None:
    index, image, description = index_of(kept)
    before = index["manifests"][0]["digest"]
    image["annotations"] = ["host"]
    image["layers"].reverse()
    after = put(kept, "", image)
    swap(kept, index, description, lambda text: text.replace(before.encode(), after["digest"].encode()))
    index["manifests"][0] |= after
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_a_description_too_deep(kept: Kept) -> None:
    index, _, description = index_of(kept)
    swap(kept, index, description, lambda _: 100_000 * b"[")
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_too_much_said(kept: Kept) -> None:
    """Many statements, each as large as one may be."""
    kept.has_referrers = False
    for (_, key), (_, data) in list(kept.texts.items()):
        said = json.loads(data)
        if key.startswith("sha256:") and said.get("artifactType") == MEDIA:
            said["layers"][0]["size"] = 64 << 20
            more = {one: said[one] for one in ("artifactType", "annotations")}
            named = []
            for number in range(20):
                said["layers"][0]["digest"] = f"sha256:{number:064}"
                named.append(put(kept, "", said) | more)
            put(kept, said["subject"]["digest"].replace(":", "-"), {"manifests": named})


def with_no_description(kept: Kept) -> None:
    index, _, _ = index_of(kept)
    index["manifests"].pop()
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_an_image_left_out(kept: Kept) -> None:
    index, _, _ = index_of(kept)
    index["manifests"].pop(0)
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")


def with_a_statement_about_another(kept: Kept) -> None:
    kept.has_referrers = False
    for (_, key), (_, data) in list(kept.texts.items()):
        said = json.loads(data)
        if key.startswith("sha256:") and said.get("artifactType") == MEDIA:
            image, said["subject"]["digest"] = said["subject"]["digest"], "sha256:" + 64 * "0"
            more = {one: said[one] for one in ("artifactType", "annotations")}
            put(kept, image.replace(":", "-"), {"manifests": [put(kept, "", said) | more]})


def with_a_statement_that_was_flipped(kept: Kept) -> None:
    for key, data in kept.blobs.items():
        if data == b"a statement":
            kept.blobs[key] = b"b statement"


LIES: dict[Callable[[Kept], None], str] = {
    with_other_layers: "otherwise than the manifest",
    with_a_lying_config: "other layers than its manifest",
    with_another_machine: "linux/s390x",
    with_paths_for_digests: "without a digest",
    with_other_contents_of_layers: "otherwise than the manifest",
    with_another_config: "otherwise than the manifest",
    with_the_root_of_a_machine: "otherwise than the manifest",
    with_an_altered_identity: "another release",
    with_more_than_we_know: "newer anew",
    with_a_flipped_bit: "altered",
    with_a_missing_blob: "lacks a blob",
    with_a_missing_manifest: "lacks a manifest",
    with_an_altered_manifest: "altered",
    with_a_lying_size: "another size",
    with_a_list_of_annotations: "otherwise than the manifest",
    with_a_description_too_deep: "can't be read",
    with_too_much_said: "more is said of an image",
    with_no_description: "does not say what the release is",
    with_an_image_left_out: "does not name the image",
    with_a_statement_about_another: "about another one",
    with_a_statement_that_was_flipped: "altered",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_what_lies_is_refused_and_nothing_is_registered(
    lie: Callable[[Kept], None], small: tuple[Repository, Kept], tmp_path: Path
) -> None:
    to, kept = small
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    release = here.release()
    here.evidence.add(release.parts[0].image.digest, SBOM, b"a statement")
    here.push(release, to)
    lie(kept)
    with pytest.raises(AnewError, match=LIES[lie]) as caught:
        there.pull(Reference(to, "r1"))
    assert not isinstance(caught.value, EngineError) or "connection" in caught.value.what
    assert there.store.blobs.images() == ()
    assert there.evidence.filed(release.parts[0].image.digest) == ()
    assert [path for path in there.store.root.glob("drafts/*") if path.exists()] == []


def test_what_has_no_room_is_not_begun(small: tuple[Repository, Kept], tmp_path: Path) -> None:
    to, kept = small
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    here.push(here.release(), to)
    index, image, description = index_of(kept)
    before = index["manifests"][0]["digest"]
    image["layers"][0]["size"] = 1 << 60
    after = put(kept, "", image)
    swap(kept, index, description, lambda text: text.replace(before.encode(), after["digest"].encode()))
    index["manifests"][0] |= after
    put(kept, "r1", index, "application/vnd.oci.image.index.v1+json")
    asked = len(kept.asked)
    with pytest.raises(EngineError, match="no room for"):
        there.pull(Reference(to, "r1"))
    layers = {layer["digest"] for layer in image["layers"]}
    assert not any(line.endswith(tuple(layers)) for line in kept.asked[asked:])
    assert there.store.blobs.images() == ()


def test_a_release_says_more_than_an_older_anew_wrote(small: tuple[Repository, Kept], tmp_path: Path) -> None:
    here = Place(tmp_path / "here")
    release = here.release()
    said = json.loads(identity_of("shop", release.parts))
    del said["parts"][0]["service"]["max_age"]  # which an older one did not know
    identity = canonical(said)
    old = replace(release, digest=digest_bytes(identity))
    here.carriage.push(old, identity, small[0], quiet)
    found, _ = Place(tmp_path / "there").pull(Reference(small[0], "r1"))
    assert (found.digest, found.parts) == (old.digest, release.parts)
    with pytest.raises(Conflict, match="older anew"):
        here.carriage.push(old, identity_of("shop", release.parts), small[0], quiet)


@pytest.mark.parametrize("said", ["", "extend", "promote", "rollback", "ask"])
def test_what_a_release_says_of_its_rollout_is_understood(said: OnUndecided) -> None:
    zeros = "sha256:" + 64 * "0"
    image = Image(Identity(zeros, zeros, (zeros,), zeros, zeros), (zeros,))
    parts = (Part(Service("web", "base", ("x",), policy=Policy(at_most=90.0, on_undecided=said)), image),)
    assert carried.understood(identity_of("shop", parts), carried.images_text([image]), "here") == ("shop", parts)


UNFIT: dict[str, tuple[list[Service], str, str]] = {
    "a service twice": ([Service("web", "base", ("x",)), Service("web", "base", ("y",))], "shop", "a service twice"),
    "a name that leads elsewhere": ([Service("../web", "base", ("x",))], "shop", "a name that none can have"),
    "a project that leads elsewhere": ([Service("web", "base", ("x",))], "../shop", "a name that none can have"),
    "a need of nobody": ([Service("web", "base", ("x",), needs=("db",))], "shop", "that it does not have"),
    "a need of itself": ([Service("web", "base", ("x",), needs=("web",))], "shop", "in a circle"),
    "a circle": (
        [Service(one, "base", ("x",), needs=(other,)) for one, other in (("a", "b"), ("b", "c"), ("c", "a"))],
        "shop",
        "in a circle",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_release_whose_services_do_not_fit_is_refused(name: str) -> None:
    services, project, told = UNFIT[name]
    zeros = "sha256:" + 64 * "0"
    image = Image(Identity(zeros, zeros, (zeros,), zeros, zeros), (zeros,))
    identity = identity_of(project, [Part(one, image) for one in services])
    with pytest.raises(Conflict, match=told):
        carried.understood(identity, carried.images_text([image]), "here")


def test_the_texts_of_a_release_are_the_same_from_every_machine(tmp_path: Path) -> None:
    made = [Place(tmp_path / name) for name in ("here", "there")]
    releases: list[Release] = [one.release() for one in made]
    assert releases[0] == releases[1]
    texts = {carried.images_text([part.image for part in one.parts]) for one in releases}
    assert len(texts) == 1
