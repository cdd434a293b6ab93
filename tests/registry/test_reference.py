"""How images are named in registries."""

from __future__ import annotations

import doctest

import pytest

from anew.core import reference
from anew.core.reference import Reference, Repository, is_loopback
from anew.errors import SpecError
from anew.registry import referrers

DIGEST = "sha256:" + 64 * "a"
SHOP = Repository("localhost:5000", "team/shop")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("localhost:5000/team/shop", Reference(SHOP, "latest")),
        ("localhost:5000/team/shop:r1", Reference(SHOP, "r1")),
        (f"localhost:5000/team/shop@{DIGEST}", Reference(SHOP, "", DIGEST)),
        (f"localhost:5000/team/shop:r1@{DIGEST}", Reference(SHOP, "r1", DIGEST)),
        ("[::1]:5000/x", Reference(Repository("[::1]:5000", "x"), "latest")),
        ("localhost/x", Reference(Repository("localhost", "x"), "latest")),
        (f"{'a' * 63}.b/x", Reference(Repository(f"{'a' * 63}.b", "x"), "latest")),
        ("Registry.Example.com/a_b/c.d/e--f:A.b", Reference(Repository("registry.example.com", "a_b/c.d/e--f"), "A.b")),
    ],
)
def test_a_reference_is_host_name_and_tag_or_digest(text: str, wanted: Reference) -> None:
    found = reference.reference(text)
    assert found == wanted
    assert reference.reference(str(found)) == found
    assert found.wanted == (found.digest or found.tag)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "host of a registry"),
        ("debian:bookworm", "host of a registry"),
        ("library/debian", "host of a registry"),
        ("https://localhost/x", "host of a registry"),
        ("localhost:99999/x", "host of a registry"),
        ("me:secret@localhost/x", "no digest"),
        ("localhost:5000/", "names no repository"),
        ("localhost:5000/Shop", "names no repository"),
        ("localhost:5000/shop/../x", "names no repository"),
        ("localhost:5000/shop//x", "names no repository"),
        ("localhost:5000/shop?x", "names no repository"),
        (f"localhost:5000/{'x' * 256}", "names no repository"),
        ("localhost:5000/shop:", "no tag"),
        ("localhost:5000/shop:-a", "no tag"),
        ("localhost:5000/shop:a b", "no tag"),
        (f"localhost:5000/shop:{'x' * 129}", "no tag"),
        ("localhost:5000/shop@sha256:abc", "no digest"),
        (f"localhost:5000/shop@sha512:{128 * 'a'}", "no digest"),
        ("localhost:5000/sh\nop", "names no repository"),
        ("exa mple.com/x", "host of a registry"),
        ("a..b/shop", "host of a registry"),
        ("a-.b/shop", "host of a registry"),
        (f"{'a' * 64}.example.com/shop", "host of a registry"),
        ("[:::]:5/shop", "host of a registry"),
        ("[::::]:5/shop", "host of a registry"),
    ],
)
def test_what_names_nothing_is_told(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        reference.reference(text, "here")
    assert caught.value.where == "here"
    assert caught.value.hint


@pytest.mark.parametrize("scheme", ["http://", "https://"])
def test_an_address_of_a_browser_is_to_be_written_without_its_scheme(scheme: str) -> None:
    with pytest.raises(SpecError, match="host of a registry") as caught:
        reference.reference(f"{scheme}localhost:5000/shop")
    assert caught.value.hint == f"leave out `{scheme}`: `localhost:5000/shop`"


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:5000"])
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "128.0.0.1", "[::2]:1", "example.com:5000", "127.0.0.1.x.com"]
)
def test_other_machines_are_not_taken_for_this_one(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("module", [reference, referrers])
def test_the_examples_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
