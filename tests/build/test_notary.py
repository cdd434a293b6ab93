"""Who vouches for images: what is said of them, that it is said once, and what is not believed."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_root, quiet, tar_project

from anew import views
from anew.build.definition import read
from anew.build.evidence import Evidence
from anew.build.inventory import distribution, installed
from anew.build.notary import BILL, Notary
from anew.build.provenance import PROVENANCE, TEST_RESULT, provenance
from anew.build.stack import Stack
from anew.core import trials
from anew.core.digest import digest_bytes
from anew.errors import Conflict
from anew.model import Actor, Copy, Image, Part, Trial
from anew.trust.installed import Distribution, Installed
from anew.trust.keys import signing_key
from anew.trust.sbom import Subject, bill

STATUS = """Package: curl
Status: install ok installed
Maintainer: Somebody <curl@example.com>
Architecture: amd64
Version: 7.88.1-10
Description: gets things
 of all kinds

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: python3-six
Status: install ok installed
Architecture: all
Version: 1.16.0-4
"""
FILES = {
    "etc/os-release": 'NAME="Debian"\nID=debian\nVERSION_ID="12"\n',
    "var/lib/dpkg/status": STATUS,
    "var/lib/dpkg/info/python3-six.list": "/.\n/usr/lib/python3/six-1.16.0.egg-info\n",
    "usr/lib/python3/six-1.16.0.egg-info": "Metadata-Version: 1.2\nName: six\nVersion: 1.16.0\n",
    "srv/app/Flask_X-3.0.dist-info/METADATA": "Name: Flask_X\nVersion: 3.0\nLicense-Expression: MIT\n\nVersion: 9\n",
    "srv/node_modules/@scope/a/package.json": '{"name": "@scope/a", "version": "1.0.0", "license": "ISC"}',
    "srv/node_modules/a/node_modules/b/package.json": '{"name": "b", "version": "2.0.0", "license": {"type": "MIT"}}',
    "srv/node_modules/broken/package.json": "{",
    "srv/node_modules/odd/package.json": '["name"]',
    "srv/app/package.json": '{"name": "ours", "version": "1.0.0"}',
}


def built(folder: Path, *steps: str) -> tuple[Project, Image]:
    need_root()
    project = tar_project(folder)
    for path, text in FILES.items():
        (project.root / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / "files" / path).write_text(text)
    service = project.service(*steps, copy=(Copy("files/", "/"),))
    image, _ = project.builder.build(project.spec, service, quiet)
    return project, image


def notary(project: Project, key: str = "keys") -> Notary:
    return Notary(project.store, project.home / key, "shop")


def trial(project: Project, image: Image) -> Trial:
    return Trial((Actor(Part(project.service(), image), ()),))


def passed(image: Image, *, is_passed: bool = True) -> views.Tested:
    return views.Tested("web", image.digest, is_passed, False, (("ready", "" if is_passed else "it was not"),), 1.0)


def vouch(project: Project, image: Image, key: str = "keys") -> Trial:
    asked = trial(project, image)
    notary(project, key).attest("web", image)
    notary(project, key).testify(asked, trials.key(asked), passed(image))
    return asked


def doubts(project: Project, image: Image, *trusted: str, key: str = "keys") -> tuple[str, ...]:
    return notary(project, key).doubts(image, trials.key(trial(project, image)), trusted)


def predicate(project: Project, image: Image, kind: str) -> dict[str, object]:
    (one,) = (one for one in Evidence(project.store).filed(image.digest) if one.predicate == kind)
    statement = json.loads(base64.b64decode(json.loads(Evidence(project.store).read(one))["payload"]))
    assert statement["subject"] == [{"name": "shop/web", "digest": {"sha256": image.digest.removeprefix("sha256:")}}]
    found: dict[str, object] = statement["predicate"]
    return found


def test_all_that_is_installed_is_found_once(tmp_path: Path) -> None:
    project, image = built(tmp_path)
    files = Stack(project.store, image.layers)
    assert distribution(files) == Distribution("debian", "12")
    assert installed(files) == (
        Installed("deb", "curl", "7.88.1-10", "amd64", supplier="Somebody <curl@example.com>"),
        Installed("deb", "python3-six", "1.16.0-4", "all"),
        Installed("npm", "@scope/a", "1.0.0", path="srv/node_modules/@scope/a/package.json", license="ISC"),
        Installed("npm", "b", "2.0.0", path="srv/node_modules/a/node_modules/b/package.json"),
        Installed("pypi", "flask-x", "3.0", path="srv/app/Flask_X-3.0.dist-info/METADATA", license="MIT"),
    )


def test_what_is_odd_or_half_installed_is_no_package(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    paragraphs = (
        "Package: rafe\nStatus: install ok installed\nVersion: 1\nMaintainer: Raphaël <r@example.com>\n",
        "Package: half\nStatus: install reinstreq half-installed\nVersion: 1\n",
        "Package: none\nStatus: deinstall ok not-installed\nVersion: 1\n",
        "Package: foo/\nStatus: install ok installed\nVersion: 1\n",
    )
    members = {
        "var/lib/dpkg/status": "\n".join(paragraphs),
        "srv/Odd-1.dist-info/METADATA": "Name: odd/\nVersion: 1\n",
        "srv/node_modules/a/package.json": '{"name": "@scope/", "version": "1"}',
        "srv/node_modules/b/package.json": '{"name": "foo/", "version": "1"}',
        "srv/node_modules/c/package.json": '{"name": "c", "version": "\\ud800"}',
        "srv/node_modules/d/package.json": '{"name": "d", "version": "1", "license": "\\ud800"}',
    }
    with tarfile.open(project.root / "head.tar", "a") as tar:
        for name, said in members.items():
            one = tarfile.TarInfo(name)
            one.size = len(said.encode())
            tar.addfile(one, io.BytesIO(said.encode()))
    image, _ = project.builder.build(project.spec, project.service(), quiet)
    found = installed(Stack(project.store, image.layers))
    assert found == (
        Installed("deb", "rafe", "1", supplier="Raphaël <r@example.com>"),
        Installed("npm", "d", "1", path="srv/node_modules/d/package.json"),
    )
    bill(Subject("x", image.digest, image.identity.tree, 0.0), Distribution("", ""), found)


def test_what_a_later_layer_took_away_is_not_installed(tmp_path: Path) -> None:
    project, image = built(tmp_path, "rm /var/lib/dpkg/status /srv/node_modules/a/node_modules/b/package.json")
    kinds = [one.name for one in installed(Stack(project.store, image.layers))]
    assert kinds == ["@scope/a", "flask-x"]


def test_who_made_and_tested_an_image_vouches_for_it_and_says_so_once(tmp_path: Path) -> None:
    project, image = built(tmp_path, "echo x > /srv/made")
    assert doubts(project, image) == (
        "its bill of materials is missing",
        "its provenance is missing",
        "its verdict is missing",
    )
    vouch(project, image)
    assert doubts(project, image) == ()
    before = Evidence(project.store).filed(image.digest)
    assert [one.predicate for one in before] == sorted([BILL, PROVENANCE, TEST_RESULT])
    vouch(project, image)
    assert Evidence(project.store).filed(image.digest) == before
    assert notary(project).signers(image, ()) == (signing_key(project.home / "keys", "shop").public.id,)


def test_provenance_names_every_input(tmp_path: Path) -> None:
    project, image = built(tmp_path, "echo x > /srv/made")
    vouch(project, image)
    said = json.loads(json.dumps(predicate(project, image, PROVENANCE)))["buildDefinition"]
    assert said["externalParameters"]["steps"] == [{"run": "echo x > /srv/made", "network": False}]
    assert said["internalParameters"]["inputDigest"] == image.identity.input
    found = {one["name"]: one["digest"]["sha256"] for one in said["resolvedDependencies"]}
    definition = read(project.store.blobs.path(image.inputs[0]).read_bytes())
    assert found["definition"] == image.inputs[0].removeprefix("sha256:")
    assert found["layer"] == definition.head.layer.removeprefix("sha256:")
    assert found["archive"] == digest_bytes((project.root / "head.tar").read_bytes()).removeprefix("sha256:")
    assert found["/etc/os-release"] == digest_bytes(FILES["etc/os-release"].encode()).removeprefix("sha256:")


def test_provenance_names_packages_as_the_bill_does(tmp_path: Path) -> None:
    project, image = built(tmp_path)
    made = read(project.store.blobs.path(image.inputs[0]).read_bytes())
    line = f"base-files 12.4+deb12u15 amd64 {digest_bytes(b'deb')} pool/b.deb"
    text = provenance(image, replace(made, head=replace(made.head, kind="debian", packages=(line,))))
    inputs = json.loads(json.dumps(text))["buildDefinition"]["resolvedDependencies"]
    uris = [one["uri"] for one in inputs if "uri" in one]
    assert uris == ["pkg:deb/debian/base-files@12.4%2Bdeb12u15?arch=amd64"]


def test_a_failed_verdict_is_not_signed_nor_one_of_another_image(tmp_path: Path) -> None:
    project, image = built(tmp_path)
    asked = trial(project, image)
    notary(project).attest("web", image)
    notary(project).testify(asked, trials.key(asked), passed(image, is_passed=False))
    notary(project).testify(asked, trials.key(asked), replace(passed(image), manifest=digest_bytes(b"another")))
    assert doubts(project, image) == ("its verdict is missing",)


def test_a_verdict_on_other_tests_is_none_on_these(tmp_path: Path) -> None:
    project, image = built(tmp_path)
    vouch(project, image)
    flags = replace(project.service(), flags=(("GREETING", "hello"),))
    other = trials.key(Trial((Actor(Part(flags, image), ()),)))
    assert notary(project).doubts(image, other, ()) == ("no verdict is of these tests, flags and images it needs",)


def test_what_an_unknown_key_said_is_not_believed(tmp_path: Path) -> None:
    project, image = built(tmp_path)
    vouch(project, image)
    own, other = notary(project).line(), notary(project, "other").line()
    assert doubts(project, image, other, own) == ()
    signer = signing_key(project.home / "keys", "shop").public.id
    assert doubts(project, image, other) == (
        f"its bill of materials is signed by {signer}, which is not trusted",
        f"its provenance is signed by {signer}, which is not trusted",
        f"its verdict is signed by {signer}, which is not trusted",
    )
    assert notary(project).signers(image, [other]) == ()
    vouch(project, image, "other")  # two may vouch for one image
    assert doubts(project, image, other) == ()
    assert doubts(project, image, own) == ()


def test_statements_about_another_image_are_not_believed(tmp_path: Path) -> None:
    project, image = built(tmp_path)
    vouch(project, image)
    other, _ = project.builder.build(project.spec, project.service("echo other > /srv/other"), quiet)
    evidence = Evidence(project.store)
    for one in evidence.filed(image.digest):
        evidence.add(other.digest, one.predicate, evidence.read(one))
    assert doubts(project, other) == (
        "its bill of materials is about another image",
        "its provenance is about another image",
        "its verdict is about another image",
    )
    for one in evidence.filed(image.digest):  # and none is taken for one of another kind
        if one.predicate != BILL:
            evidence.add(other.digest, BILL, evidence.read(one))
    assert "its bill of materials is about another image" in doubts(project, other)


@pytest.mark.parametrize("kind", [BILL, PROVENANCE, TEST_RESULT])
def test_every_flipped_bit_of_a_statement_is_noticed_and_who_made_the_image_says_it_again(
    kind: str, tmp_path: Path
) -> None:
    project, image = built(tmp_path)
    vouch(project, image)
    (one,) = (one for one in Evidence(project.store).filed(image.digest) if one.predicate == kind)
    path = project.store.blobs.path(one.digest)
    whole = path.read_bytes()
    for number in range(0, 8 * len(whole), 97):
        flipped = bytearray(whole)
        flipped[number // 8] ^= 1 << number % 8
        path.write_bytes(flipped)
        (wrong,) = notary(project).changed(image)
        assert wrong.endswith("was changed"), number
        (doubt,) = doubts(project, image)
        assert doubt.endswith(("its blob was changed", "gone from the image store")), number
    vouch(project, image)
    assert doubts(project, image) == ()
    assert notary(project).changed(image) == ()
    assert path.read_bytes() == whole


def test_every_changed_part_of_an_image_is_named(tmp_path: Path) -> None:
    project, image = built(tmp_path, "echo made > /srv/made; ln -s made /srv/link")
    vouch(project, image)
    assert notary(project).changed(image) == ()
    blobs, identity = project.store.blobs, image.identity
    for digest, name in (
        (identity.manifest, "manifest"),
        (identity.config, "config"),
        (image.layers[-1], "layer"),
        (image.inputs[0], "what it was made from,"),
    ):
        whole, path = blobs.path(digest).read_bytes(), blobs.path(digest)
        status = path.stat()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert any(one.startswith(name) and one.endswith("was changed") for one in notary(project).changed(image))
        path.unlink()
        assert any(one.startswith(name) and one.endswith("is gone") for one in notary(project).changed(image))
        path.write_bytes(whole)
    assert notary(project).changed(image) == ()


def test_what_instances_run_from_is_looked_at_too(tmp_path: Path) -> None:
    project, image = built(tmp_path, "echo made > /srv/made; ln -s made /srv/link")
    vouch(project, image)
    tree = project.store.tree(image.layers[-1])
    (tree / "srv" / "made").write_text("Made\n")
    (tree / "srv" / "more").write_text("more\n")
    (tree / "srv" / "link").unlink()
    short = image.layers[-1].removeprefix("sha256:")[:12]
    assert notary(project).changed(image) == (
        f"/srv/link is gone from the tree of layer {short}",
        f"/srv/made was changed in the tree of layer {short}",
        f"/srv/more was put into the tree of layer {short}",
    )


def test_an_image_whose_definition_is_damaged_is_not_vouched_for(tmp_path: Path) -> None:
    project, image = built(tmp_path)
    project.store.blobs.path(image.inputs[0]).write_bytes(b"{}")
    with pytest.raises(Conflict, match="was changed"):
        notary(project).attest("web", image)
