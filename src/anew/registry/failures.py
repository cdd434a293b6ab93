"""What can go wrong between us and a registry, in our words: one table for statuses, one for broken connections."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from anew.core.reference import is_loopback
from anew.errors import AnewError, Conflict, EngineError, NotFound, Unsupported

MOST_TOLD = 4096  # bytes of an answer that are looked into for its reason
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")  # how Python tells of a proxy that refuses
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class PassingError(EngineError):
    """What may go away by itself: a broken connection, or a registry that is busy; `after` is when to come again."""

    def __init__(self, what: str, *, where: str, hint: str, after: float = 0.0) -> None:
        super().__init__(what, where=where, hint=hint)
        self.after = after


class UnreachableError(PassingError):
    """Nobody answered at all: not even a connection came about."""


class SilentError(PassingError):
    """Somebody is there, and does not answer in time."""


class TooLargeError(EngineError):
    """A registry, or what stands before it, takes no request of this size."""


class UploadLostError(Exception):
    """A registry knows no more of an upload that was begun, or can't go on with it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not what was hoped for; `where` names what was asked, without what nobody should read."""

    status: int
    where: str
    headers: Mapping[str, str]  # names in small letters
    body: bytes = b""
    login: str = ""  # what it was asked with and refuses

    @property
    def said(self) -> str:
        """The registry's own words, on one line."""
        try:
            told = json.loads(self.body)
            errors = told.get("errors") or []
            lines = [f"{one.get('code', '')}: {one.get('message', '')}".strip(": ") for one in errors]
        except (ValueError, AttributeError, TypeError, RecursionError):
            return ""
        return "".join(c for c in "; ".join(lines)[:300] if c.isprintable())


def of_status(refusal: Refusal) -> AnewError:
    """Return the error that an answer of a registry means."""
    status, where = refusal.status, refusal.where
    said = f": {refusal.said}" if refusal.said else ""
    host = where.partition("/")[0]
    match status:
        case 401:
            return _of_nobody(refusal, said)
        case 403:
            return EngineError(
                f"the registry forbids this{said}", where=where, hint="use an account that may read and write there"
            )
        case 404:
            return NotFound(f"the registry has no such thing{said}", where=where, hint="correct the name or the tag")
        case 405 | 415 | 501:
            return Unsupported(f"the registry can't do this ({status}){said}", where=where)
        case 413:
            hint = "raise the bound of the registry, or of what stands before it"
            return TooLargeError(f"the registry takes nothing so large{said}", where=where, hint=hint)
        case 429:
            hint = "try again later, or log in: accounts may often ask for more"
            return PassingError(f"the registry is asked too often{said}", where=where, hint=hint, after=_after(refusal))
        case _ if status in TRANSIENT:
            hint = "look at the registry's own log, or try again later"
            what = f"the registry failed with status {status}{said}"
            return PassingError(what, where=where, hint=hint, after=_after(refusal))
    if status == 400 and is_loopback(host) and b"HTTPS" in refusal.body:
        hint = "name it by the host that its certificate is for, or let it speak plain http here"
        return Conflict(f"{host} speaks https, and this machine itself is asked without", where=where, hint=hint)
    return Conflict(f"the registry refused this with status {status}{said}", where=where)


def _of_nobody(refusal: Refusal, said: str) -> AnewError:
    login = f"for instance with `docker login {refusal.where.partition('/')[0]}`"
    if refusal.login:
        what = f"the registry refuses {refusal.login}{said}"
        return EngineError(what, where=refusal.where, hint=f"log in again, {login}")
    hint = f"log in there, {login}; anew reads what that writes"
    return EngineError(f"the registry does not know who asks{said}", where=refusal.where, hint=hint)


def _after(refusal: Refusal) -> float:
    text = refusal.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0.0  # a date counts as none


def of_broken(error: Exception, host: str) -> EngineError:
    """Return the error that a connection which broke, or never came about, means."""
    match error:
        case socket.gaierror():
            what = f"the name of the registry {host} can't be resolved"
            return UnreachableError(what, where=host, hint="correct it, or mend the DNS of this machine")
        case ssl.SSLCertVerificationError():
            return EngineError(
                f"the certificate of {host} can't be trusted: {error.verify_message}",
                where=host,
                hint="add who signed it to what this machine trusts (on Debian: update-ca-certificates)",
            )
        case ssl.SSLError():
            reason = error.reason or "TLS failed"
            return EngineError(
                f"no secure connection to {host}: {reason}",
                where=host,
                hint="does it speak https? Plain http is for registries on this machine alone",
            )
        case ConnectionRefusedError():
            what = f"nobody listens at {host}"
            return UnreachableError(what, where=host, hint="start the registry, or correct host and port")
        case TimeoutError():
            return SilentError(f"{host} does not answer", where=host, hint="is there a way to it? try again later")
        case OSError() if error.strerror and not isinstance(error, ConnectionError):
            what = f"{host} can't be reached: {error.strerror}"
            return UnreachableError(what, where=host, hint="is there a way to it from here?")
        case OSError() | http.client.HTTPException():
            return PassingError(
                f"the connection to {host} broke off", where=host, hint="try again: what was moved stays"
            )
    raise error


def of_relay(error: Exception, relay: str) -> EngineError:
    """Return the error that a proxy means which gives no way to a registry."""
    where, hint = "$https_proxy", "correct it, or name the registry in $no_proxy"
    if found := _TUNNEL.match(str(error)):
        status = int(found[1])
        if status == 407:
            what = f"the proxy {relay} does not know who asks, or refuses the login"
            return EngineError(what, where=where, hint="write it as http://USER:PASSWORD@HOST:PORT")
        kind = PassingError if status in TRANSIENT else EngineError
        return kind(f"the proxy {relay} gives no way to the registry, with status {status}", where=where, hint=hint)
    match error:
        case ConnectionRefusedError():
            return UnreachableError(f"nobody listens at the proxy {relay}", where=where, hint=hint)
        case TimeoutError():
            return SilentError(f"the proxy {relay} does not answer", where=where, hint=hint)
        case OSError() if error.strerror and not isinstance(error, ConnectionError):
            return UnreachableError(f"the proxy {relay} can't be reached: {error.strerror}", where=where, hint=hint)
    return PassingError(f"the connection to the proxy {relay} broke off", where=where, hint=hint)
