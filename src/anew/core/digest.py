"""A content address is the SHA-256 of canonical bytes, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from anew.model import Digest

PREFIX = "sha256:"


def canonical(value: Any) -> bytes:
    """Return the one JSON text of `value`: keys sorted, no spaces, UTF-8; dataclasses as objects.

    Raises  TypeError for what JSON can't hold exactly (floats that are not finite, sets, bytes).
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    ).encode()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    msg = f"{type(value).__name__} has no canonical form"
    raise TypeError(msg)


def digest(value: Any) -> Digest:
    """Return the digest of the canonical JSON of `value`.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return digest_bytes(canonical(value))


def digest_bytes(data: bytes) -> Digest:
    """Return the digest of `data`."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def short(value: Digest) -> str:
    """Return the first twelve hexadecimal digits: enough for people and for paths.

    >>> short("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return value.removeprefix(PREFIX)[:12]
