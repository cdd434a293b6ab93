"""One file from an address, whole or not at all.

Rules: what comes is a draft until its last byte is there; an address without encryption is taken from this machine
alone, or with the digest of the file, also after a redirection; nothing that this machine's user has (cookies, names,
passwords) is sent; a server that does not say how long a file is, is believed only with a digest.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shlex
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from anew.build.drafts import Draft, drafted
from anew.core.digest import PREFIX
from anew.errors import AnewError, Conflict, EngineError, NotFound, SpecError
from anew.model import CHUNK, Bytes, Digest, Seconds
from anew.ports import Say
from anew.registry.wire import address

PATIENCE: Seconds = 30.0  # for the next bytes
LONGEST: Seconds = 3600.0  # for a whole file
_TRIES = 3
_REDIRECTIONS = 10
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # and not of the network
_RESERVE: Bytes = 256 << 20  # of the disk, that no download takes
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")


class _Answer(Protocol):
    headers: HTTPMessage

    def read(self, amount: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch. `digest` is what it must have, "" if nobody knows yet; `where` names it in the spec."""

    url: str
    digest: Digest
    where: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that came: a draft that is gone after the block unless it is published."""

    draft: Draft
    digest: Digest
    size: Bytes


def is_safe(url: str, *, has_digest: bool) -> bool:
    """Say whether what comes from an address can be believed, or is checked afterwards."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or (parts.scheme == "http" and (has_digest or _LOOPBACK.fullmatch(host) is not None))


@contextmanager
def fetched(wanted: Wanted, folder: Path, say: Say) -> Iterator[Fetched]:
    """Fetch a file into a draft in `folder`; what breaks off is tried again, from its first byte.

    Blocks  at most `LONGEST` for each of a few tries.
    Raises  SpecError for what is no address; Conflict if it is not the file that is wanted; NotFound if there is none;
            EngineError for everything else.
    """
    if address(wanted.url) is None:
        hint = "write it as https://HOST/FILE, without a user, and with a port of 65535 at most"
        raise SpecError(f"{wanted.url!r} is no address that can be asked", where=wanted.where, hint=hint)
    for number in range(1, _TRIES + 1):
        try:
            with drafted(folder) as draft:
                made = _attempt(wanted, draft, say)
                yield made
                return
        except _BrokenError as broken:
            if number == _TRIES:
                raise broken.error from broken
            say(f"{wanted.url}: {broken}; trying again")
            time.sleep(number)


class _BrokenError(Exception):
    """What may be otherwise the next time."""

    def __init__(self, error: AnewError) -> None:
        super().__init__(error.what)
        self.error = error


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows a few, and only to where the file could have been asked for directly."""

    max_redirections = _REDIRECTIONS

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if address(newurl) is None:
            raise _failure(self._wanted, "it leads to what is no address", "use the address that it should lead to")
        if not is_safe(newurl, has_digest=bool(self._wanted.digest)):
            raise _failure(self._wanted, f"it leads to {newurl}, which is not encrypted", "write its `sha256`")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _attempt(wanted: Wanted, draft: Draft, say: Say) -> Fetched:
    try:
        with _opened(wanted) as answer:
            if answer.status != 200:  # a part of a file, for instance
                what = f"the server answers {answer.status} {answer.reason}, which is not the whole file"
                raise _failure(wanted, what, "try it by hand, with the line below")
            return _received(wanted, answer, draft, say)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in {404, 410}:
            what = f"there is no file at {wanted.url}: {error.code} {error.reason}"
            raise NotFound(what, where=wanted.where, hint="correct the address") from error
        made = _failure(
            wanted, f"the server answers {error.code} {error.reason}", "try it by hand, with the line below"
        )
        raise (_BrokenError(made) if error.code >= 500 or error.code == 429 else made) from error
    except urllib.error.URLError as error:
        made = _failure(wanted, str(error.reason), _advice(error.reason))
        raise (made if isinstance(error.reason, ssl.SSLCertVerificationError) else _BrokenError(made)) from error
    except (http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _OF_THE_DISK):
            raise
        made = _failure(wanted, f"it broke off: {error or type(error).__name__}", "try again later")
        raise _BrokenError(made) from error


def _opened(wanted: Wanted) -> http.client.HTTPResponse:
    handlers: list[urllib.request.BaseHandler] = [_Redirections(wanted)]
    if _LOOPBACK.fullmatch(urlsplit(wanted.url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    opener.addheaders = [("User-Agent", "anew"), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
    try:
        answer: http.client.HTTPResponse = opener.open(wanted.url, timeout=PATIENCE)
    except ValueError as cause:  # what cuts addresses up does not take that of a redirection or of a proxy
        hint = "look at where it leads to, and at $https_proxy"
        raise _failure(wanted, f"an address on the way is none: {cause}", hint) from cause
    return answer


def _received(wanted: Wanted, answer: _Answer, draft: Draft, say: Say) -> Fetched:
    said = answer.headers.get("Content-Length")
    length = int(said) if said is not None and said.isdigit() else None
    is_chunked = "chunked" in (answer.headers.get("Transfer-Encoding") or "").lower()
    if length is None and not is_chunked and not wanted.digest:
        raise _failure(wanted, "the server does not say how long it is", "write its `sha256`, so that its end is known")
    _require_room(wanted, draft.path, length or 0)
    say(f"fetching {wanted.url}" + (f", {length / 1e6:.1f} MB" if length is not None else ""))
    sha, size, end = hashlib.sha256(), 0, time.monotonic() + LONGEST
    while chunk := answer.read(CHUNK):
        size += len(chunk)
        sha.update(chunk)
        draft.file.write(chunk)
        _require_room(wanted, draft.path, 0)
        if time.monotonic() > end:
            raise _failure(wanted, f"it takes longer than {LONGEST / 60:g} minutes", "fetch it by hand, and `copy` it")
    if length is not None and size != length:
        made = _failure(wanted, f"it broke off after {size} of {length} bytes", "try again later")
        raise _BrokenError(made)
    digest = PREFIX + sha.hexdigest()
    if wanted.digest and digest != wanted.digest:
        raise Conflict(
            f"what {wanted.url} gives is not the file that is wanted",
            where=wanted.where,
            hint="find out who changed it; `anew lock --update` accepts a file that the spec has no `sha256` of",
            facts={"wanted": wanted.digest, "given": digest},
        )
    return Fetched(draft, digest, size)


def _require_room(wanted: Wanted, path: Path, size: Bytes) -> None:
    room = os.statvfs(path)
    if room.f_bavail * room.f_frsize < size + _RESERVE:
        raise EngineError(
            f"there is no room for {wanted.url}",
            where=str(path.parent),
            hint="free some space there: anew gc",
            facts={"command": f"df -h {path.parent}"},
        )


def _failure(wanted: Wanted, what: str, hint: str) -> EngineError:
    command = shlex.join(["curl", "--location", "--fail", "--remote-name", wanted.url])
    return EngineError(f"{wanted.url} can't be had: {what}", where=wanted.where, hint=hint, facts={"command": command})


def _advice(reason: object) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "trust its certificate on this machine (or name it in $SSL_CERT_FILE), or use another address"
    return "can this machine reach it? $https_proxy is used where it is set"
