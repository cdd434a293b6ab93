"""How images are named in registries: ``HOST[:PORT]/NAME[:TAG][@DIGEST]``. The host is always said."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from anew.errors import SpecError
from anew.model import Digest

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[([0-9a-fA-F:.]+)\])(?::([0-9]{{1,5}}))?\Z")
_SCHEMES = ("http://", "https://")
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_MOST_NAME = 255
_MOST_PORT = 65535
_EXAMPLE = "localhost:5000/shop"


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository of a registry: images, and what belongs to them, under one name."""

    host: str  # "registry.example.com:5000"
    name: str  # "team/shop"

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One image of a repository, by its tag, or by its digest, which then counts alone."""

    repository: Repository
    tag: str = ""
    digest: Digest = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"

    @property
    def wanted(self) -> str:
        """What a registry is asked for."""
        return self.digest or self.tag


def repository(text: str, where: str = "command line") -> Repository:
    """Return the repository that `text` names.

    >>> repository("localhost:5000/team/shop").name
    'team/shop'

    Raises  SpecError at `where` if it names none.
    """
    host, slash, name = text.partition("/")
    if not slash or not _is_host(host):
        scheme = next((one for one in _SCHEMES if text.lower().startswith(one)), "")
        hint = f"leave out `{scheme}`: `{_EXAMPLE}`" if scheme else f"write it with its host, as `{_EXAMPLE}`"
        raise SpecError(f"{text!r} does not begin with the host of a registry", where=where, hint=hint)
    if len(name) > _MOST_NAME or not _NAME.match(name):
        what = "a name in a registry is of small letters, digits, and `.`, `_`, `-`, `/` between them"
        raise SpecError(f"{name!r} names no repository: {what}", where=where, hint=f"write it as `{_EXAMPLE}`")
    return Repository(host.lower(), name)


def reference(text: str, where: str = "command line", *, tag: str = "latest") -> Reference:
    """Return what `text` names; without tag and digest, what is tagged `tag`.

    >>> str(reference("localhost:5000/shop"))
    'localhost:5000/shop:latest'

    Raises  SpecError at `where` if it names nothing.
    """
    before, at, digest = text.partition("@")
    if at and not _DIGEST.match(digest):
        hint = "write `@sha256:` and its 64 hexadecimal digits, or a tag instead"
        raise SpecError(f"{digest!r} is no digest that can be checked here", where=where, hint=hint)
    folder, slash, last = before.rpartition("/")
    name, colon, said = last.partition(":")
    if colon and not _TAG.match(said):
        hint = "a tag is of letters, digits, `_`, `.` and `-`, 128 at most"
        raise SpecError(f"{said!r} is no tag", where=where, hint=hint)
    found = repository(f"{folder}{slash}{name}", where)
    return Reference(found, said or ("" if at else tag), digest)


def is_tag(text: str) -> bool:
    """Say whether a registry takes this as a tag."""
    return _TAG.match(text) is not None


def is_digest(text: str) -> bool:
    """Say whether this is a digest, in full."""
    return _DIGEST.match(text) is not None


def is_loopback(host: str) -> bool:
    """Say whether a host, with its port or without, is this machine itself: only there no TLS is asked for.

    >>> is_loopback("127.0.0.1:5000"), is_loopback("[::1]:5000"), is_loopback("registry.example.com")
    (True, True, False)
    """
    bare = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    found = _HOST.match(host)
    if found is None or (found[2] and int(found[2]) > _MOST_PORT):
        return False
    if found[1] is not None:
        try:
            ipaddress.IPv6Address(found[1])
        except ValueError:
            return False
    return host == "localhost" or "." in host or ":" in host
