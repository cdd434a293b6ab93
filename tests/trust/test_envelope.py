"""Envelopes: what was signed is believed, and nothing else."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from anew.core.digest import digest_bytes
from anew.trust.envelope import IN_TOTO, Doubt, believed, opened, said, sealed
from anew.trust.keys import SigningKey, signing_key

IMAGE = digest_bytes(b"image")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return signing_key(tmp_path, "shop")


def doubt(envelope: bytes, *trusted: SigningKey) -> str:
    with pytest.raises(Doubt) as found:
        believed(envelope, [one.public for one in trusted])
    return str(found.value)


def test_a_statement_says_what_was_said_and_who_said_it(key: SigningKey) -> None:
    envelope = said("shop/web", IMAGE, "urn:kind", {"result": [1, "a", None]}, key)
    found = believed(envelope, [key.public])
    assert (found.subjects, found.predicate_type, found.key) == ((IMAGE,), "urn:kind", key.public)
    assert found.predicate == {"result": [1, "a", None]}
    assert said("shop/web", IMAGE, "urn:kind", {"result": [1, "a", None]}, key) == envelope


def test_what_is_signed_is_that_of_dsse(key: SigningKey) -> None:
    envelope = json.loads(sealed(b"hello world", "http://example.com/HelloWorld", key))
    # The specification's own example of what is signed.
    data = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert key.public.has_signed(base64.b64decode(envelope["signatures"][0]["sig"]), data)
    assert envelope["signatures"][0]["keyid"] == key.public.id


def test_every_flipped_bit_of_the_payload_or_signature_is_noticed(key: SigningKey) -> None:
    text = json.loads(said("web", IMAGE, "urn:kind", {"result": "PASSED"}, key))
    payload, signature = base64.b64decode(text["payload"]), base64.b64decode(text["signatures"][0]["sig"])
    for number in range(8 * (len(payload) + len(signature))):
        both = bytearray(payload + signature)
        both[number // 8] ^= 1 << number % 8
        text["payload"] = base64.b64encode(both[: len(payload)]).decode()
        text["signatures"][0]["sig"] = base64.b64encode(both[len(payload) :]).decode()
        assert "it was changed" in doubt(json.dumps(text).encode(), key), number


def test_a_doubt_says_why(key: SigningKey, tmp_path: Path) -> None:
    other = signing_key(tmp_path, "other")
    statement = said("web", IMAGE, "urn:kind", {}, key)
    assert doubt(statement, other) == f"signed by {key.public.id}, which is not trusted"
    assert doubt(statement) == f"signed by {key.public.id}, which is not trusted"
    unsigned = {**json.loads(statement), "signatures": []}
    assert doubt(json.dumps(unsigned).encode(), key) == "not signed"
    assert doubt(b"{}", key) == "no envelope that can be read"
    assert doubt(b"\xff", key) == "no envelope that can be read"
    assert doubt(sealed(b"[]", IN_TOTO, key), key) == "no in-toto statement"
    assert doubt(sealed(b'{"subject": 3}', IN_TOTO, key), key) == "no in-toto statement"
    assert (
        doubt(sealed(b"{}", "text/plain", key), key)
        == "of the type 'text/plain', and not 'application/vnd.in-toto+json'"
    )


def test_a_payload_is_not_taken_for_one_of_another_type(key: SigningKey) -> None:
    envelope = json.loads(sealed(b"{}", "one", key))
    envelope["payloadType"] = "other"
    with pytest.raises(Doubt, match="it was changed"):
        opened(json.dumps(envelope).encode(), "other", [key.public])


def test_one_trusted_signature_among_several_is_enough(key: SigningKey, tmp_path: Path) -> None:
    other = signing_key(tmp_path, "other")
    mine, theirs = (json.loads(said("web", IMAGE, "urn:kind", {}, one)) for one in (key, other))
    mine["signatures"] = [*theirs["signatures"], *mine["signatures"]]
    envelope = json.dumps(mine).encode()
    assert believed(envelope, [key.public]).key == key.public
    assert believed(envelope, [other.public]).key == other.public


def test_the_name_of_a_key_in_an_envelope_is_only_a_hint(key: SigningKey, tmp_path: Path) -> None:
    other = signing_key(tmp_path, "other")
    envelope = json.loads(said("web", IMAGE, "urn:kind", {}, key))
    envelope["signatures"][0]["keyid"] = other.public.id
    assert believed(json.dumps(envelope).encode(), [key.public]).key == key.public
    assert "it was changed" in doubt(json.dumps(envelope).encode(), other)
