"""The key of the secrets, in a file of its own: made once, whole or not at all, and then only read."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

import pyrage  # type: ignore[import-untyped]  # it has no types of its own; what it gives is typed where it is taken

from anew.errors import AnewError, Conflict, NotFound, Unsupported
from anew.model import Scope
from anew.private_file import write_once

PURPOSE = b"anew: pin of a secret, 1"  # another purpose of the same key would have another label, and so other MACs
LOST = "without one the values are lost:"
RESTORE = f"put it back from a copy; {LOST} revoke every secret, then set each again"
REPLACE = f"put the right one there from a copy; {LOST} move the file away, revoke every secret, then set each again"


@dataclass(frozen=True, slots=True)
class Key:
    """What a key file holds: an X25519 identity of age, and what is derived from it."""

    recipient: str  # its public half, "age1…"
    _identity: pyrage.x25519.Identity = field(repr=False)

    def encrypt(self, value: bytes) -> bytes:
        """Return `value` as an age file, another one each time."""
        return bytes(pyrage.encrypt(value, [self._identity.to_public()]))

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return what `encrypt` was given; raises ValueError if so much as a byte is changed."""
        try:
            return bytes(pyrage.decrypt(ciphertext, [self._identity]))
        except pyrage.DecryptError as cause:
            raise ValueError(str(cause)) from cause

    def mac(self, scope: Scope, name: str, value: bytes) -> str:
        """Return what tells `value` from any other value, name, environment and project, to those who have the key.

        Source  key: HKDF with SHA-256 (RFC 5869), one block, no salt but a label; MAC: HMAC with SHA-256 (RFC 2104)
                over the four parts, each after its length.
        """
        secret = hmac.digest(b"anew", str(self._identity).encode(), "sha256")
        derived = hmac.digest(secret, PURPOSE + b"\x01", "sha256")
        parts = (scope.project.encode(), scope.environment.encode(), name.encode(), value)
        body = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return "hmac-sha256:" + hmac.digest(derived, body, "sha256").hex()

    def has_made(self, mac: str, scope: Scope, name: str, value: bytes) -> bool:
        """Say whether `mac` is what `mac(scope, name, value)` returns, in a time that does not tell how far it is."""
        return hmac.compare_digest(mac, self.mac(scope, name, value))


def read_key(path: Path) -> Key | None:
    """Return the key that a file holds, or None if there is no file.

    Raises  Unsupported if it can't be read; Conflict if it is damaged or others may read it.
    """
    try:
        with path.open("rb") as file:
            may_others = os.fstat(file.fileno()).st_mode & 0o077
            text = file.read(64 * 1024).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise _unusable(path, "read", cause) from cause
    if may_others:
        hint = f"chmod 600 {path}; if others did read it, set every secret anew with other values"
        raise Conflict("others than its owner may read the key file of the secrets", where=str(path), hint=hint)
    lines = [line.strip() for line in text.splitlines()]
    try:
        (line,) = (line for line in lines if line and not line.startswith("#"))
        identity = pyrage.x25519.Identity.from_str(line)
    except (ValueError, pyrage.IdentityError) as cause:
        # Only that it is so: what is left of a damaged key is still a secret.
        raise Conflict("the key file of the secrets is damaged", where=str(path), hint=REPLACE) from cause
    return Key(str(identity.to_public()), identity)


def make_key(path: Path) -> None:
    """Make a key file, whole or not at all, which its owner alone may read; one that is there is left as it is.

    Raises  Unsupported if it can't be made.
    """
    identity = pyrage.x25519.Identity.generate()
    text = f"# The key of anew's secrets. Keep a copy.\n# public key: {identity.to_public()}\n{identity}\n"
    try:
        write_once(path, text.encode())
    except OSError as cause:
        raise _unusable(path, "made", cause) from cause


def is_gone(path: Path, why: str) -> NotFound:
    """Return the error of a key file that should be there."""
    return NotFound(f"the key file of the secrets is gone; {why}", where=str(path), hint=RESTORE)


def is_another(path: Path, why: str) -> Conflict:
    """Return the error of a key file that holds another key than the right one."""
    return Conflict(f"the key file holds another key; {why}", where=str(path), hint=REPLACE)


def _unusable(path: Path, verb: str, cause: OSError) -> AnewError:
    what = f"the key file of the secrets can't be {verb}: {cause.strerror}"
    return Unsupported(what, where=str(path), hint="act as the user who owns it and its folder")
