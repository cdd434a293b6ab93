"""Blobs on their way to a registry: what is there is not sent, what broke off goes on where it stopped.

Every byte that is sent is hashed on the way, and the registry is told what it must come to. An upload that was begun is
noted, so that the next command asks the registry how far it came. Where a registry has forgotten it, the blob is sent
from its beginning.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from anew.core.digest import PREFIX
from anew.errors import Conflict, EngineError, NotFound
from anew.model import CHUNK, Bytes, Digest
from anew.registry.client import Registry, altered
from anew.registry.failures import PassingError, TooLargeError, UploadLostError
from anew.registry.notes import Notes
from anew.registry.wire import PAUSES, Answer, Body, address, require

_SMALL: Bytes = 1 << 20  # what is not worth going on with
_SLICE: Bytes = 32 << 20  # of a blob, for a registry that takes no more at once
_BEGINNINGS = 4
_LOST = frozenset({400, 404, 409, 416})
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})\Z")
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Source:
    """A blob on the disk."""

    digest: Digest
    size: Bytes
    path: Path


@dataclass(slots=True)
class _Reading:
    """One passage through a source: what is sent is hashed, also what was sent by an earlier command."""

    source: Source
    at: Bytes = 0
    _sha: hashlib._Hash = field(default_factory=hashlib.sha256)

    def part(self, begin: Bytes, end: Bytes) -> Body:
        """Return the bytes from `begin` to `end` as a body; it may be poured again."""
        return Body(end - begin, lambda send: self._pour(begin, end, send))

    def require_whole(self) -> None:
        """Raise Conflict unless all that was read has the digest that it should."""
        if self.at != self.source.size or PREFIX + self._sha.hexdigest() != self.source.digest:
            raise Conflict(
                f"blob {self.source.digest} is corrupt in the image store; it was not pushed",
                where=str(self.source.path),
                hint="`anew build` makes it again",
            )

    def _pour(self, begin: Bytes, end: Bytes, send: Callable[[bytes | memoryview], None]) -> None:
        buffer = memoryview(bytearray(CHUNK))
        with self._opened() as file:
            if self.at != begin:
                self._sha, self.at = hashlib.sha256(), 0
                self._pass(file.readinto, buffer, begin, None)
            file.seek(begin)
            before = self._sha.copy()
            try:
                self._pass(file.readinto, buffer, end, send)
            except BaseException:
                self._sha, self.at = before, begin
                raise

    def _opened(self) -> FileIO:
        try:
            return FileIO(self.source.path)
        except FileNotFoundError as cause:
            what = f"blob {self.source.digest} is missing in the image store"
            raise NotFound(what, where=str(self.source.path), hint="`anew build` makes it again") from cause

    def _pass(
        self,
        read: Callable[[memoryview], int],
        buffer: memoryview,
        end: Bytes,
        send: Callable[[bytes | memoryview], None] | None,
    ) -> None:
        while self.at < end:
            count = read(buffer[: min(len(buffer), end - self.at)])
            if not count:
                self.require_whole()
            view = buffer[:count]
            self._sha.update(view)
            if send is not None:
                send(view)
            self.at += count


@dataclass(slots=True)
class Uploads:
    """All uploads to one repository; safe with several threads, one for each blob."""

    registry: Registry
    notes: Notes
    mountable: Mapping[Digest, str]  # repositories of the same registry that had a blob
    _slice: list[Bytes] = field(default_factory=list)  # how much the registry takes at once, if it said so

    def send(self, source: Source) -> Bytes:
        """Have a blob in the repository; return how many bytes were sent. Idempotent.

        Raises  Conflict if the blob is corrupt here; EngineError if the registry can't take it.
        """
        sent = 0
        if not self.registry.has_blob(source.digest):
            for _ in range(_BEGINNINGS):
                try:
                    sent += self._sent(source)
                    break
                except UploadLostError:
                    self.notes.ended(source.digest)
                except TooLargeError as error:
                    if self._slice or source.size <= _SLICE:
                        raise
                    del error
                    self._slice.append(_SLICE)
                    self.notes.ended(source.digest)
            else:
                raise EngineError(
                    f"the registry lost the upload of a blob {_BEGINNINGS} times",
                    where=f"{self.registry} {source.digest}",
                    hint="look at the registry's own log",
                )
        self.notes.ended(source.digest)
        return sent

    def _sent(self, source: Source) -> Bytes:
        place, offset = self._resumed(source) or self._begun(source)
        if not place:
            return 0
        first, reading, pauses = offset, _Reading(source), list(PAUSES)
        while True:
            is_whole = not offset and not self._slice
            end = min(source.size, offset + self._slice[0]) if self._slice else source.size
            try:
                if is_whole or offset == source.size:
                    # All at once is what registries are fastest with; what broke off is sent in parts.
                    self._ended(place, reading, offset)
                    return source.size - first
                place, offset = self._patched(place, reading, offset, end), end
                self.notes.begun(source.digest, place)
            except PassingError as error:
                self.registry.wire.pause(error, pauses.pop(0) if pauses else _give_up(error))
                if self.registry.has_blob(source.digest):  # it was done, and only the answer was lost
                    return source.size - first
                place, now = self._status(source, place)
                pauses = list(PAUSES) if now > offset else pauses
                offset = now

    def _begun(self, source: Source) -> tuple[str, Bytes]:
        """Begin an upload; ("", 0) if the blob was mounted from another repository instead."""
        other = self.mountable.get(source.digest, "")
        query = f"?mount={source.digest}&from={other}" if other else ""

        def begin() -> str:
            with self.registry.answer("POST", f"/blobs/uploads/{query}") as found:
                if found.status == 201 and other:
                    return ""
                require(found, 202)
                return _place(found)

        place = self.registry.tried(begin)
        if place:
            self.notes.begun(source.digest, place)
        return place, 0

    def _resumed(self, source: Source) -> tuple[str, Bytes] | None:
        place = self.notes.place(source.digest) if source.size > _SMALL else ""
        if not place.startswith(("http://", "https://")) or address(place) is None:
            return None
        try:
            return self._status(source, place)
        except UploadLostError:
            self.notes.ended(source.digest)
            return None

    def _status(self, source: Source, place: str) -> tuple[str, Bytes]:
        """Ask how far an upload came. Raises UploadLostError if the registry does not know."""

        def ask() -> tuple[str, Bytes]:
            with self.registry.answer("GET", place) as found:
                if found.status not in {200, 204}:
                    if found.status >= 500 or found.status == 429:
                        require(found)
                    raise UploadLostError
                told = _RANGE.match(found.headers.get("range", ""))
                last = int(told[1]) if told else 0
                offset = last + 1 if last else 0  # "0-0" may be one byte or none: none is safe
                if offset > source.size:
                    raise UploadLostError
                return found.location() or place, offset

        return self.registry.tried(ask)

    def _patched(self, place: str, reading: _Reading, begin: Bytes, end: Bytes) -> str:
        headers = {"Content-Type": _OCTETS}
        if begin or end < reading.source.size:
            headers["Content-Range"] = f"{begin}-{end - 1}"
        with self.registry.answer("PATCH", place, headers, reading.part(begin, end)) as found:
            if found.status in _LOST:
                raise UploadLostError
            require(found, 202, 201, 204)
            return _place(found)

    def _ended(self, place: str, reading: _Reading, begin: Bytes) -> None:
        """Send what is left, and tell the registry that this was all, and what it is."""
        digest, size = reading.source.digest, reading.source.size
        if begin and reading.at != size:  # an earlier command had sent all of it
            reading.part(size, size).pour(lambda _: None)
        if begin:
            reading.require_whole()
        url = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        with self.registry.answer("PUT", url, {"Content-Type": _OCTETS}, reading.part(begin, size)) as found:
            status = found.status
            if status not in _LOST:
                require(found, 201, 204)
            said = found.headers.get("docker-content-digest", digest)
        reading.require_whole()
        if status in _LOST:
            raise UploadLostError
        if said != digest:
            raise altered(str(self.registry), digest, said)


def _place(answer: Answer) -> str:
    if not answer.location():
        raise EngineError("the registry does not say where an upload goes on", where=answer.ask.where)
    return answer.location()


def _give_up(error: PassingError) -> float:
    raise error
