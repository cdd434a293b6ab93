"""Keys that sign what anew says of images, and the keys of others that are believed. All are ed25519.

A public key is one line, as OpenSSH writes it: ``ssh-ed25519 AAAA… comment``. A private key is a file in PEM (PKCS #8,
as ``openssl genpkey -algorithm ed25519`` writes it) or in the form of OpenSSH, without a passphrase.

Rules

1. The private half lies outside of every project, readable to its owner alone, and is in no output, error or `repr`.
2. A key file is made once, whole or not at all, and never overwritten.
3. Who verifies needs public keys only.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anew.errors import Conflict, NotFound, SpecError, Unsupported
from anew.private_file import write_once

VARIABLE = "ANEW_SIGNING_KEY"  # the path of a key file, or its text
_TEXT = ("PRIVATE KEY", "\n")  # what the text of a key has, and no path
# What plainly is a path: it begins as one or has a dot, which base64 never has, and nothing in it could be a key.
_PATH = re.compile(r"(?=\.{0,2}/|~|[^.]+\.)(?!.*[A-Za-z0-9]{32})[\w./@~ -]{1,200}")
_LARGEST = 64 * 1024
_RAW = 32  # bytes of a public key
_KIND = b"ssh-ed25519"
_PLAIN = re.compile(rb"-----BEGIN PRIVATE KEY-----\n([A-Za-z0-9+/]{64})\n-----END PRIVATE KEY-----\n?")
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # what stands before the 32 bytes: RFC 8410, section 7


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a key that everybody may know."""

    raw: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """What `ssh-keygen -l` shows of it: "SHA256:…"."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(_blob(self.raw)).digest()).rstrip(b"=").decode()

    @property
    def line(self) -> str:
        """The line that names it in a spec."""
        return f"{_KIND.decode()} {base64.b64encode(_blob(self.raw)).decode()}"

    def has_signed(self, signature: bytes, data: bytes) -> bool:
        """Say whether `signature` is this key's, of `data`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A whole key."""

    public: PublicKey
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`: 64 bytes, always the same."""
        return self._private.sign(data)


def public_key(line: str, where: str = "") -> PublicKey:
    """Return the key of a line. Raises SpecError if it is none.

    >>> public_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ci").id
    'SHA256:Hs+YnEmAsrWYjxCJi8wtvgQmlUkYfGuAvtbCL8FYtwU'
    """
    parts = line.split()
    try:
        kind, text = parts[0], base64.b64decode(parts[1], validate=True)
    except (IndexError, ValueError):
        kind, text = "", b""
    if kind != _KIND.decode() or len(text) < _RAW or _blob(text[-_RAW:]) != text:
        hint = "write the line of the public key: `ssh-ed25519 AAAA…`, as `anew verify --key` shows it"
        raise SpecError(f"{line!r} is no public ed25519 key", where=where, hint=hint)
    return PublicKey(text[-_RAW:])


def signing_key(folder: Path, project: str) -> SigningKey:
    """Return the key of a project: the one that `$ANEW_SIGNING_KEY` gives, or that of `folder`, made if need be.

    Raises  NotFound if the variable names no file; Conflict for what is no such key, or a file that others may read;
            Unsupported if the file can't be read or made.
    """
    given = os.environ.get(VARIABLE, "")
    if any(mark in given for mark in _TEXT):
        return _understood(os.fsencode(given), f"${VARIABLE}")
    if given:
        is_path = _PATH.fullmatch(given) is not None
        where = given if is_path else f"${VARIABLE}"  # what is no path may be the key itself
        found = _read(Path(given), where)
        if found is None:
            hint = f"${VARIABLE} is to name a key file, or to hold its text; see {_how(given if is_path else 'FILE')}"
            raise NotFound("the signing key is not there", where=where, hint=hint)
        return found
    return own_key(folder, project)


def own_key(folder: Path, project: str) -> SigningKey:
    """Return the key of a project on this machine, whatever the environment gives; made if need be.

    Raises  as `signing_key`.
    """
    path = folder / f"{project}.pem"
    found = _read(path, str(path))
    if found is None:
        _make(path)
        found = _read(path, str(path))
    if found is None:
        raise NotFound("the signing key was taken away just now", where=str(path), hint="do it again")
    return found


def _how(path: str) -> str:
    return f"`openssl genpkey -algorithm ed25519 -out {path}`"


def _blob(raw: bytes) -> bytes:
    """Return a public key as SSH sends it (RFC 8709, section 4)."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (_KIND, raw))


def _read(path: Path, where: str) -> SigningKey | None:
    try:
        with path.open("rb") as file:
            may_others = os.fstat(file.fileno()).st_mode & 0o077
            text = file.read(_LARGEST)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise _unusable(where, "read", cause) from None  # the cause shows the path, which may be none
    if may_others:
        hint = f"chmod 600 {where}; if others did read it, move it away, and trust the new key instead"
        raise Conflict("others than its owner may read the signing key", where=where, hint=hint)
    return _understood(text, where)


def _understood(text: bytes, where: str) -> SigningKey:
    private = _plain(text) or _loaded(text, where)
    return SigningKey(PublicKey(private.public_key().public_bytes_raw()), private)


def _plain(text: bytes) -> Ed25519PrivateKey | None:
    """Return the key of a file as `_make` and openssl write it: what reads all other forms takes long to import."""
    match = _PLAIN.fullmatch(text)
    der = base64.b64decode(match[1]) if match else b""
    return Ed25519PrivateKey.from_private_bytes(der[len(_PKCS8) :]) if der.startswith(_PKCS8) else None


def _loaded(text: bytes, where: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see `_plain`

    is_ssh = b"-----BEGIN OPENSSH" in text
    load = serialization.load_ssh_private_key if is_ssh else serialization.load_pem_private_key
    try:
        private = load(text, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:  # TypeError: it has a passphrase
        why = "it has a passphrase" if isinstance(cause, TypeError) else "it can't be understood"
        hint = f"put it back from a copy, or make one without a passphrase: {_how('FILE')}"
        raise Conflict(f"the signing key is of no use: {why}", where=where, hint=hint) from cause
    if not isinstance(private, Ed25519PrivateKey):
        raise Conflict("the signing key is of another kind than ed25519", where=where, hint=f"make one: {_how('FILE')}")
    return private


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see `_plain`

    text = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        write_once(path, text)
    except OSError as cause:
        raise _unusable(str(path), "made", cause) from cause


def _unusable(where: str, verb: str, cause: OSError) -> Unsupported:
    what = f"the signing key can't be {verb}: {cause.strerror}"
    return Unsupported(what, where=where, hint=f"act as its owner, or name another one in ${VARIABLE}")
