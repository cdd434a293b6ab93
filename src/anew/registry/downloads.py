"""Blobs on their way from a registry into a file: every byte is hashed, what broke off goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from io import UnsupportedOperation
from typing import BinaryIO

from anew.core.digest import PREFIX
from anew.errors import Conflict, NotFound
from anew.model import CHUNK, Bytes
from anew.registry.client import Described, Registry, altered
from anew.registry.failures import PassingError
from anew.registry.wire import PAUSES, Answer, require

_TELL: Bytes = 8 << 20
_BEGINS = re.compile(r"bytes ([0-9]{1,18})-")


@dataclass(slots=True)
class _Partial:
    """A file that grows; its hash is that of all that is in it."""

    file: BinaryIO
    at: Bytes = 0
    sha: hashlib._Hash = field(default_factory=hashlib.sha256)
    told: Bytes = 0  # up to where the kernel was told to write it to the disk

    def begin_again(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.at, self.told, self.sha = 0, 0, hashlib.sha256()

    def add(self, view: memoryview) -> None:
        self.file.write(view)
        self.sha.update(view)
        self.at += len(view)
        if self.at - self.told > _TELL:
            self._tell()

    def _tell(self) -> None:
        """Let the kernel begin to write to the disk: at the end there is less to wait for."""
        with suppress(OSError, UnsupportedOperation):  # a file that has no disk
            os.posix_fadvise(self.file.fileno(), self.told, self.at - self.told, os.POSIX_FADV_DONTNEED)
        self.told = self.at


def fetch(registry: Registry, blob: Described, file: BinaryIO) -> Bytes:
    """Have all of a blob in `file`, which may hold a beginning of it; return how many bytes came over the wire.

    Raises  NotFound if the registry lacks it; Conflict if its bytes are others; then nothing is left in the file.
    """
    partial = _resumed(blob, file)
    fetched = 0
    for is_last in (not partial.at, True):
        fetched += _filled(registry, blob, partial)
        if PREFIX + partial.sha.hexdigest() == blob.digest:
            return fetched
        actual = PREFIX + partial.sha.hexdigest()
        partial.begin_again()  # what an earlier command left may have been wrong
        if is_last:
            break
    raise altered(f"{registry} blob {blob.digest}", blob.digest, actual)


def _resumed(blob: Described, file: BinaryIO) -> _Partial:
    partial = _Partial(file)
    buffer = memoryview(bytearray(CHUNK))
    file.seek(0)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        partial.sha.update(buffer[:count])
        partial.at += count
    if partial.at > blob.size:
        partial.begin_again()
    return partial


def _filled(registry: Registry, blob: Described, partial: _Partial) -> Bytes:
    pauses, fetched = list(PAUSES), 0
    while partial.at < blob.size:
        before = partial.at
        try:
            with registry.answer("GET", f"/blobs/{blob.digest}", _range(partial)) as found:
                _begun(found, blob, partial)
                _read(found, blob, partial)
        except PassingError as error:
            if partial.at > before:
                pauses = list(PAUSES)
            if not pauses:
                raise
            registry.wire.pause(error, pauses.pop(0))
        finally:
            fetched += max(0, partial.at - before)
    return fetched


def _range(partial: _Partial) -> dict[str, str]:
    return {"Range": f"bytes={partial.at}-"} if partial.at else {}


def _begun(found: Answer, blob: Described, partial: _Partial) -> None:
    if found.status == 404:
        raise NotFound(
            "the registry lacks a blob that its manifest names",
            where=f"{found.ask.where}",
            hint="push it again from where it is whole",
            facts={"digest": blob.digest},
        )
    if found.status == 416:
        partial.begin_again()
        raise PassingError("the registry can't go on there", where=found.ask.where, hint="try again")
    require(found, 200, 206)
    length = found.headers.get("content-length", "")
    if found.status == 200 and length.isdecimal() and int(length) != blob.size:
        raise _other_size(found, blob)
    told = _BEGINS.match(found.headers.get("content-range", ""))
    if partial.at and (found.status == 200 or told is None or int(told[1]) != partial.at):
        partial.begin_again()
        if found.status == 206:
            raise PassingError("the registry goes on elsewhere", where=found.ask.where, hint="try again")


def _read(found: Answer, blob: Described, partial: _Partial) -> None:
    buffer = memoryview(bytearray(CHUNK))
    while count := found.read_into(buffer):
        if partial.at + count > blob.size:
            raise _other_size(found, blob)
        partial.add(buffer[:count])
    if partial.at < blob.size:
        raise PassingError("the connection broke off", where=found.ask.where, hint="try again: what was moved stays")


def _other_size(found: Answer, blob: Described) -> Conflict:
    return Conflict(
        "a blob of the registry has another size than its manifest says",
        where=found.ask.where,
        hint="nothing of it was taken; push it again from where it is whole",
        facts={"digest": blob.digest, "size": str(blob.size)},
    )
