"""One repository of a registry, as the OCI distribution specification 1.1 has it: manifests, tags, and what is there.

Nothing is believed: what is asked for by digest must have it, and what a tag leads to must have the digest that the
registry says. Blobs are moved by `anew.registry.uploads` and `anew.registry.downloads`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from anew.core.digest import PREFIX, digest_bytes
from anew.core.reference import Repository, is_digest, is_loopback
from anew.errors import Conflict, EngineError
from anew.model import Bytes, Digest
from anew.registry.access import Access
from anew.registry.credentials import Credential, credential
from anew.registry.wire import Answer, Ask, Body, Wire, body_of, require

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
KNOWN = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
MOST_MANIFEST: Bytes = 4 << 20  # what registries take at most, too
_MOST_TAGS = 100_000
_PAGE = 1000
_MOST_PAGES = 1000
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*\brel="?next"?')
_Result = TypeVar("_Result")

Right = Literal["pull", "push"]


@dataclass(frozen=True, slots=True)
class Described:
    """A blob or a manifest, as one text names another."""

    media: str
    digest: Digest
    size: Bytes


def described(said: object, where: str) -> Described:
    """Return how a text names something. Raises Conflict if that can't be: what is named so goes into paths."""
    one = said if isinstance(said, dict) else {}
    media, digest, size = one.get("mediaType"), one.get("digest"), one.get("size")
    if isinstance(media, str) and isinstance(digest, str) and is_digest(digest) and isinstance(size, int):
        return Described(media, digest, max(size, 0))
    raise Conflict("a manifest names something without a digest that can be checked", where=where)


@dataclass(frozen=True, slots=True)
class Text:
    """A manifest or an index as its registry has it: the bytes that count, and what they say."""

    data: bytes
    media: str
    said: Mapping[str, Any]

    @property
    def described(self) -> Described:
        """How others name it."""
        return Described(self.media, digest_bytes(self.data), len(self.data))


class Registry:
    """One repository; safe with several threads."""

    def __init__(
        self,
        repository: Repository,
        wire: Wire,
        right: Right,
        login: Callable[[Repository], Credential | None] = credential,
    ) -> None:
        self.repository = repository
        self.wire = wire
        scheme = "http" if is_loopback(repository.host) else "https"
        self.base = f"{scheme}://{repository.host}/v2/{repository.name}"
        self._origin = f"{scheme}://{repository.host}/"
        self._scopes: tuple[str, ...] = (f"repository:{repository.name}:{'pull,push' if right == 'push' else 'pull'}",)
        self._access = Access(wire, repository, lambda: login(repository))

    def __str__(self) -> str:
        return str(self.repository)

    @contextmanager
    def answer(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Iterator[Answer]:
        """Ask once, showing who we are if the registry wants to know; `url` may begin with ``/`` below the repository.

        Raises  as `Wire.answer`.
        """
        full = f"{self.base}{url}" if url.startswith("/") else url
        is_ours = full.startswith(self._origin)
        for is_last in (False, True):
            shown = self._access.headers() if is_ours else {}
            with self.wire.answer(Ask(method, full, {**(headers or {}), **shown}, body)) as found:
                is_asked = found.status == 401 and is_ours and found.ask.url.startswith(self._origin)
                if is_last or not is_asked or not self._access.learn(found, self._scopes, shown):
                    found.login = self._access.refused(shown) if is_asked else ""
                    yield found
                    return

    def tried(self, attempt: Callable[[], _Result]) -> _Result:
        """Return what `attempt` returns; see `Wire.tried`."""
        return self.wire.tried(attempt)

    def also(self, other: str) -> None:
        """Ask for the right to read another repository of this registry too, so that its blobs can be mounted."""
        scope = f"repository:{other}:pull"
        if scope not in self._scopes and other != self.repository.name:
            self._scopes = (*self._scopes, scope)

    # ------------------------------------------------------------ blobs

    def has_blob(self, digest: Digest) -> bool:
        """Say whether the repository has a blob."""
        return self.tried(lambda: self._is_there(f"/blobs/{digest}"))

    # ------------------------------------------------------------ manifests

    def has(self, wanted: str) -> bool:
        """Say whether the repository has a manifest, by digest or tag."""
        return self.tried(lambda: self._is_there(f"/manifests/{wanted}", {"Accept": ", ".join(KNOWN)}))

    def text(self, wanted: str) -> Text | None:
        """Return a manifest or an index, by digest or tag; None if there is none.

        Raises  Conflict if it is not what its digest says, or no JSON.
        """
        return self.tried(lambda: self._text(wanted))

    def put(self, wanted: str, data: bytes, media: str) -> bool:
        """Have a manifest under a digest or tag; what it refers to must be there. Idempotent.

        Returns  whether the registry says that it files it under its subject.
        Raises   Conflict if the registry took something else.
        """
        return self.tried(lambda: self._put(wanted, data, media))

    def tags(self) -> tuple[str, ...]:
        """Return all tags of the repository, sorted; () if there is no such repository."""
        found: list[str] = []
        for page in self.pages(f"/tags/list?n={_PAGE}", without={404}):
            named = (page or {}).get("tags")
            found += [one for one in named if isinstance(one, str)] if isinstance(named, list) else []
            if len(found) >= _MOST_TAGS:
                break
        return tuple(sorted(set(found)))

    def pages(
        self, url: str, headers: Mapping[str, str] | None = None, *, without: Collection[int]
    ) -> Iterator[dict[str, Any] | None]:
        """Yield the pages of a list; None where a status of `without` says that there is no such list.

        Raises  EngineError for a list that comes back to where it was, or has no end.
        """
        url, seen = f"{self.base}{url}", set[str]()
        while url:
            if url in seen or len(seen) == _MOST_PAGES:
                raise EngineError(
                    "the registry's list goes on without end",
                    where=Ask("GET", url).where,
                    hint="look at the registry's own log, and at what stands before it",
                )
            seen.add(url)
            page, url = self.tried(lambda url=url: self._page(url, headers, without))  # type: ignore[misc]
            yield page

    def _is_there(self, url: str, headers: Mapping[str, str] | None = None) -> bool:
        with self.answer("HEAD", url, headers) as found:
            if found.status != 404:
                require(found, 200)
            return found.status == 200

    def _text(self, wanted: str) -> Text | None:
        with self.answer("GET", f"/manifests/{wanted}", {"Accept": ", ".join(KNOWN)}) as found:
            if found.status == 404:
                return None
            require(found, 200)
            data, headers = found.read(MOST_MANIFEST), found.headers
        actual = digest_bytes(data)
        said = wanted if wanted.startswith(PREFIX) else headers.get("docker-content-digest", actual)
        if said.startswith(PREFIX) and said != actual:
            raise altered(
                f"{self.repository}:{wanted}" if said != wanted else f"{self.repository}@{wanted}", said, actual
            )
        text = _object(data)
        if text is None:
            raise Conflict("what the registry has there is no manifest", where=f"{self.repository} {wanted}")
        media = text.get("mediaType") or headers.get("content-type", "").partition(";")[0].strip()
        return Text(data, str(media), text)

    def _put(self, wanted: str, data: bytes, media: str) -> bool:
        with self.answer("PUT", f"/manifests/{wanted}", {"Content-Type": media}, body_of(data)) as found:
            require(found, 201, 200, 202)
            said = found.headers.get("docker-content-digest", "")
            is_filed = "oci-subject" in found.headers
        if said.startswith(PREFIX) and said != digest_bytes(data):
            raise altered(f"{self.repository} {wanted}", digest_bytes(data), said)
        return is_filed

    def _page(
        self, url: str, headers: Mapping[str, str] | None, without: Collection[int]
    ) -> tuple[dict[str, Any] | None, str]:
        with self.answer("GET", url, headers) as found:
            if found.status in without:
                return None, ""
            require(found, 200)
            return _json_of(found), _following(found)


def altered(where: str, wanted: str, actual: str) -> Conflict:
    """Return the error of bytes that are not what their digest says."""
    return Conflict(
        "what the registry has there was altered: its bytes have another digest",
        where=where,
        hint="nothing of it was taken; push it again from where it is whole, and ask who may write there",
        facts={"wanted": wanted, "actual": actual},
    )


def _json_of(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises EngineError if it is none."""
    said = _object(answer.read(MOST_MANIFEST))
    if said is None:
        raise EngineError("the registry's answer can't be read: is this a registry?", where=answer.ask.where)
    return said


def _object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object of some bytes; None if they are none that can be understood."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _following(answer: Answer) -> str:
    """Return where a list goes on; "" at its end."""
    found = _NEXT.search(answer.headers.get("link", ""))
    return answer.led(found[1]) if found else ""
