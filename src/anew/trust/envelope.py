"""Signed statements: in-toto statements in DSSE envelopes.

Source  DSSE 1.0.2 (envelope, and what is signed of it); in-toto Attestation Framework, Statement v1.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from anew.core.digest import PREFIX, canonical
from anew.model import Digest
from anew.trust.keys import PublicKey, SigningKey

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"


class _Signature(msgspec.Struct):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct):
    payload: str
    payloadType: str  # noqa: N815 - the name is DSSE's
    signatures: tuple[_Signature, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """What was said of images by a key that is believed."""

    subjects: tuple[Digest, ...]
    predicate_type: str
    predicate: Mapping[str, object]
    key: PublicKey


class Doubt(Exception):  # noqa: N818 - it is an answer, and becomes part of an error where it matters
    """Why an envelope is not believed, in words that fit after "it is"."""


def sealed(payload: bytes, kind: str, key: SigningKey) -> bytes:
    """Return the envelope of a payload of media type `kind`, signed."""
    signature = {"keyid": key.public.id, "sig": base64.b64encode(key.sign(_signed(kind, payload))).decode()}
    return canonical({"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": [signature]})


def opened(envelope: bytes, kind: str, trusted: Sequence[PublicKey]) -> tuple[bytes, PublicKey]:
    """Return the payload of an envelope, and which of the trusted keys signed it. Raises Doubt."""
    try:
        read = msgspec.json.decode(envelope, type=_Envelope)
        payload = base64.b64decode(read.payload, validate=True)
        signatures = [(one.keyid, base64.b64decode(one.sig, validate=True)) for one in read.signatures]
    except (msgspec.MsgspecError, ValueError) as cause:
        raise Doubt("no envelope that can be read") from cause
    if read.payloadType != kind:
        raise Doubt(f"of the type {read.payloadType!r}, and not {kind!r}")
    data = _signed(kind, payload)
    for key in trusted:
        # The name of a key in an envelope is only a hint, which nothing protects.
        if any(key.has_signed(signature, data) for _, signature in signatures):
            return payload, key
    known = {key.id for key in trusted}
    names = sorted({name for name, _ in signatures})
    if not names:
        raise Doubt("not signed")
    if known & set(names):
        raise Doubt(f"not what {', '.join(sorted(known & set(names)))} signed: it was changed")
    raise Doubt(f"signed by {', '.join(names)}, which is not trusted")


def said(name: str, subject: Digest, predicate_type: str, predicate: Mapping[str, object], key: SigningKey) -> bytes:
    """Return the signed statement about the image `subject`, which people call `name`."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": subject.removeprefix(PREFIX)}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return sealed(canonical(statement), IN_TOTO, key)


def believed(envelope: bytes, trusted: Sequence[PublicKey]) -> Statement:
    """Return the statement of an envelope that a trusted key signed. Raises Doubt."""
    payload, key = opened(envelope, IN_TOTO, trusted)
    try:
        text = json.loads(payload)
        subjects = tuple(PREFIX + str(one["digest"]["sha256"]) for one in text["subject"])
        predicate, kind, form = text["predicate"], text["predicateType"], text["_type"]
    except (ValueError, KeyError, TypeError) as cause:
        raise Doubt("no in-toto statement") from cause
    if form != STATEMENT or not isinstance(predicate, dict) or not isinstance(kind, str):
        raise Doubt("no in-toto statement")
    return Statement(subjects, kind, predicate, key)


def _signed(kind: str, payload: bytes) -> bytes:
    """Return what is signed: type and payload, each after its length, so that neither can be taken for the other."""
    return b" ".join((b"DSSEv1", str(len(kind.encode())).encode(), kind.encode(), str(len(payload)).encode(), payload))
