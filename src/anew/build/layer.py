"""The canonical layer: a tar archive whose bytes depend on nothing but its entries.

Rules: entries sorted bytewise by path, parents before children; times in whole seconds, clamped to the epoch;
numeric owners and no names; devices 0:0 unless it is one; extended attributes sorted, in a pax header that is
written only where ustar can't say it; never compressed, so that blob digest and diff id are one.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Self

from anew.build.entries import Entry, chunks
from anew.build.epoch import EPOCH, clamped
from anew.build.listing import Node, node
from anew.core.digest import PREFIX
from anew.errors import Conflict, SpecError
from anew.model import CHUNK, Bytes, Digest

BLOCK = 512
_DEPTH = 8  # chunks that may wait for the hashing thread
_RECORD = 20 * BLOCK  # archives end on a multiple of this, as every tar writes them
_NAME = 100  # bytes that ustar has for a name
_OCTAL_7 = 0o7777777  # the largest owner that ustar can say
_OCTAL_11 = 0o77777777777  # the largest size
_TYPES = MappingProxyType(
    {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}
)


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer that was written: its digest, its size in bytes, and what is in it."""

    digest: Digest
    size: Bytes
    nodes: tuple[Node, ...]


class _Sink:
    """Writes to a file and takes the digest in a second thread: SHA-256 is the slowest part of packing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = bytearray()
        self._sha = hashlib.sha256()
        self._queue: queue.Queue[bytes | None] = queue.Queue(_DEPTH)
        self._thread = threading.Thread(target=self._consume, name="layer digest", daemon=True)
        self.size = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._queue.put(None)
        self._thread.join()

    def _consume(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._sha.update(chunk)

    def write(self, data: bytes) -> None:
        self._buffer += data
        self.size += len(data)
        if len(self._buffer) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        chunk = bytes(self._buffer)
        self._buffer.clear()
        self._file.write(chunk)
        self._queue.put(chunk)

    def finish(self) -> Digest:
        """Write what is left and return the digest of everything."""
        self._flush()
        self._queue.put(None)
        self._thread.join()
        return PREFIX + self._sha.hexdigest()


def pack(entries: Sequence[Entry], file: BinaryIO) -> Packed:
    """Write the canonical layer of `entries`, in whatever order they come, to `file`.

    Raises  Conflict if a file's content is not what its entry says: it changed meanwhile.
    """
    contents: dict[bytes, str] = {}
    nodes: list[Node] = []
    with _Sink(file) as sink:
        for entry in sorted(entries, key=lambda e: e.path):
            sink.write(header(entry))
            if entry.kind == "file":
                contents[entry.path] = _copy(entry, sink)
            nodes.append(node(entry, contents.get(entry.link if entry.kind == "hardlink" else entry.path, "")))
        sink.write(bytes(2 * BLOCK))
        sink.write(bytes(-sink.size % _RECORD))
        return Packed(sink.finish(), sink.size, tuple(nodes))


def _copy(entry: Entry, sink: _Sink) -> str:
    sha, size = hashlib.sha256(), 0
    for chunk in chunks(entry):
        size += len(chunk)
        if size > entry.size:
            break
        sha.update(chunk)
        sink.write(chunk)
    if size != entry.size or (entry.expected and sha.hexdigest() != entry.expected):
        raise Conflict(
            f"{entry.path.decode(errors='replace')!r} changed while it was being packed",
            where=str(entry.content),
            hint="build again when nothing writes to it",
        )
    sink.write(bytes(-size % BLOCK))
    return sha.hexdigest()


def header(entry: Entry) -> bytes:
    """Return the one or two headers of an entry: a pax header where needed, then ustar.

    Raises  SpecError for an attribute whose name no archive can hold.
    """
    path = entry.path + b"/" if entry.kind == "dir" else entry.path
    has_plain_names = _fits(path) and _fits(entry.link) and not entry.xattrs
    if has_plain_names and max(entry.uid, entry.gid) <= _OCTAL_7 and entry.size <= _OCTAL_11:
        return _ustar(entry, path)  # nearly all are like this
    records: dict[str, bytes] = {}
    if not _fits(path):
        records["path"] = path
    if not _fits(entry.link):
        records["linkpath"] = entry.link
    records |= {k: str(v).encode() for k, v in (("uid", entry.uid), ("gid", entry.gid)) if v > _OCTAL_7}
    if entry.size > _OCTAL_11:
        records["size"] = str(entry.size).encode()
    for name, _ in entry.xattrs:
        if "=" in name:
            raise SpecError(
                f"{entry.path.decode(errors='replace')!r} has an attribute {name!r}: `=` ends a name in an archive",
                hint="remove the attribute, or name it otherwise: see `man setfattr`",
            )
    records |= {f"SCHILY.xattr.{name}": value for name, value in entry.xattrs}
    if not all(_is_utf8(records.get(name, b"")) for name in ("path", "linkpath")):
        records["hdrcharset"] = b"BINARY"
    pax = b"".join(_record(name, records[name]) for name in sorted(records))
    return (_pax(pax) if pax else b"") + _ustar(entry, path[:_NAME])


def _fits(name: bytes) -> bool:
    return len(name) <= _NAME and name.isascii()


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _record(name: str, value: bytes) -> bytes:
    rest = b" " + name.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
    # The length counts its own digits: adding them may add one more.
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _pax(data: bytes) -> bytes:
    name = b"././@PaxHeader"
    return (
        _block(name, _Fields(mode=0o644, uid=0, gid=0, size=len(data), mtime=EPOCH), b"x")
        + data
        + bytes(-len(data) % BLOCK)
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int


def _ustar(entry: Entry, name: bytes) -> bytes:
    fields = _Fields(
        mode=entry.mode,
        uid=entry.uid if entry.uid <= _OCTAL_7 else 0,
        gid=entry.gid if entry.gid <= _OCTAL_7 else 0,
        size=entry.size if entry.size <= _OCTAL_11 else 0,
        mtime=clamped(entry.mtime),
    )
    return _block(name, fields, _TYPES[entry.kind], entry.link[:_NAME], entry.device)


def _block(name: bytes, fields: _Fields, kind: bytes, link: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    before = name.ljust(_NAME, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        fields.mode,
        fields.uid,
        fields.gid,
        fields.size,
        fields.mtime,
    )
    after = (
        kind
        + link.ljust(_NAME, b"\0")
        + b"ustar\x0000"
        + bytes(64)  # no names of owner and group
        + b"%07o\0%07o\0" % device
        + bytes(155 + 12)  # no prefix: long names stand in pax headers
    )
    # The sum counts its own field as eight spaces.
    total = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % total + after
