"""The bill of materials: valid CycloneDX, always the same for the same image."""

from __future__ import annotations

import json
import random

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from anew.core.digest import digest_bytes
from anew.trust.installed import Distribution, Installed
from anew.trust.sbom import Subject, bill

SUBJECT = Subject("shop/web", digest_bytes(b"manifest"), digest_bytes(b"tree"), 1735689600.0)
DEBIAN = Distribution("debian", "12")
INSTALLED = (
    Installed("deb", "curl", "7.88.1-10+deb12u8", "amd64", digest=digest_bytes(b"deb"), supplier="Curl <curl@example>"),
    Installed("deb", "libc6", "2:2.36-9", "amd64"),
    Installed("deb", "libc6", "2:2.36-9", "i386"),
    Installed("npm", "@scope/tool", "1.0.0", path="srv/node_modules/@scope/tool/package.json", license="MIT"),
    Installed("npm", "left", "1.0", path="srv/node_modules/left/package.json", license="SEE LICENSE IN FILE"),
    Installed("npm", "left", "1.0", path="srv/node_modules/a/node_modules/left/package.json"),
    Installed("pypi", "flask", "3.0", path="usr/lib/flask-3.0.dist-info/METADATA", license="BSD-3-Clause OR MIT"),
)


def test_a_bill_is_valid_cyclonedx() -> None:
    for distribution in (DEBIAN, Distribution("", "")):
        text = json.dumps(bill(SUBJECT, distribution, INSTALLED))
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_same_image_has_the_same_bill() -> None:
    other = list(INSTALLED)
    random.Random(3).shuffle(other)
    assert bill(SUBJECT, DEBIAN, INSTALLED) == bill(SUBJECT, DEBIAN, other)
    assert json.dumps(bill(SUBJECT, DEBIAN, INSTALLED)) == json.dumps(bill(SUBJECT, DEBIAN, other))


def test_what_has_the_same_url_is_told_apart_in_the_same_way_each_time() -> None:
    twice = [Installed("deb", "curl", "7", "amd64", supplier=name) for name in ("one", "two", "three")]
    first = json.dumps(bill(SUBJECT, DEBIAN, twice))
    assert first == json.dumps(bill(SUBJECT, DEBIAN, twice[::-1]))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
    refs = [one["bom-ref"] for one in json.loads(first)["components"] if one["name"] == "curl"]
    url = "pkg:deb/debian/curl@7?arch=amd64&distro=debian-12"
    assert sorted(refs) == [url, f"{url}#2", f"{url}#3"]


def test_a_bill_names_each_package_with_its_url_and_digest() -> None:
    found = json.loads(json.dumps(bill(SUBJECT, DEBIAN, INSTALLED)))
    urls = {one.get("purl", "") for one in found["components"]}
    assert urls == {
        "",
        "pkg:deb/debian/curl@7.88.1-10%2Bdeb12u8?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2:2.36-9?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2:2.36-9?arch=i386&distro=debian-12",
        "pkg:npm/%40scope/tool@1.0.0",
        "pkg:npm/left@1.0",
        "pkg:pypi/flask@3.0",
    }
    (curl,) = (one for one in found["components"] if one["name"] == "curl")
    assert curl["hashes"] == [{"alg": "SHA-256", "content": digest_bytes(b"deb").removeprefix("sha256:")}]
    assert found["metadata"]["component"]["version"] == SUBJECT.manifest
    (image,) = (one for one in found["dependencies"] if one["ref"] == "image")
    assert len(image["dependsOn"]) == len(INSTALLED) + 1
