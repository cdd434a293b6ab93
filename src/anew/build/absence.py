"""Proof that the secrets of a build step are nowhere in what it made.

Each value is looked for without the blanks around it, as it is and as programs write such things: base64 in all three
alignments, hexadecimal, escaped for a URL or for JSON; of a value of several lines also each longer line, and each that
is one word with digits in it. Looked through are names, contents, links and attributes of files, and what is inside of
files that are compressed as a whole.
"""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote_from_bytes, quote_plus

from anew.build.entries import Entry, chunks
from anew.build.listing import text
from anew.errors import EngineError, SpecError

LEAST = 8  # bytes of a value: what is shorter is found anywhere by chance
_LEAST_LINE = 20  # of a line of a value
_WORD = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[^\s\"',:=()<>\[\]{}]{8,}=*")  # a line that no other file has by chance
_MOST_INSIDE = 256 << 20  # bytes that are looked at inside a compressed file
_PIECE = 1 << 18  # of it at once, however well it is compressed
_COMPRESSED_PIECE = 1 << 14


@dataclass(frozen=True, slots=True)
class Needle:
    """One way in which a secret may be written."""

    secret: str
    form: str  # for people: "base64"
    data: bytes


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


def needles(secrets: Mapping[str, bytes], where: str) -> tuple[Needle, ...]:
    """Return what to look for.

    Raises  SpecError for a value that is so short that its absence can't be proved.
    """
    found: dict[bytes, Needle] = {}
    for name, value in secrets.items():
        if len(value) < LEAST:
            raise SpecError(
                f"the secret {name} has {len(value)} bytes, too few to prove that it is not in the image",
                where=where,
                hint=f"use one of {LEAST} bytes or more",
            )
        # Programs leave out the line break at the end of a file; what has the blanks around the rest has the rest.
        bare = value.strip()
        for form, data in _forms(bare if len(bare) >= LEAST else value):
            found.setdefault(data, Needle(name, form, data))
    return tuple(found.values())


def require_absence(entries: Sequence[Entry], wanted: Sequence[Needle], where: str) -> None:
    """Raise EngineError that names a path where one of the secrets is, unless there is none."""
    for entry in entries if wanted else ():
        needle = _in_entry(entry, wanted)
        if needle is not None:
            raise found_in(f"/{text(entry.path)}", needle, where)


def in_bytes(data: bytes, wanted: Sequence[Needle]) -> Needle | None:
    """Return the first needle that is in `data`."""
    return next((one for one in wanted if one.data in data), None)


def found_in(place: str, needle: Needle, where: str) -> EngineError:
    """Return the error about a secret that got into `place`."""
    return EngineError(
        f"the secret {needle.secret} is in {place}, {needle.form}",
        where=where,
        hint="let the step remove it, or not write it; nothing of what the step made was kept",
        facts={"path": place},
    )


def masked(line: str, secrets: Mapping[str, bytes]) -> str:
    """Return a line of a step's output without the secrets that it was lent."""
    parts: dict[str, str] = {}
    for name, value in secrets.items():
        whole = value.decode(errors="replace")
        for part in (whole, *(one for one in whole.splitlines() if len(one) >= LEAST and not one.startswith("-----"))):
            parts.setdefault(part, name)
    for part in sorted(parts, key=len, reverse=True):  # one secret may be the beginning of another
        line = line.replace(part, f"[{parts[part]}]")
    return line


def _lines(value: bytes) -> Iterator[str]:
    for line in value.decode(errors="replace").splitlines():
        # The frame of a key is in every key, and short lines like "[default]" are in files of others, too.
        if not line.startswith("-----") and (len(line) >= _LEAST_LINE or _WORD.fullmatch(line)):
            yield line


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "as it is", value
    for shift in range(3):
        yield "as base64", _base64(value, shift)
        yield "as base64 for URLs", _base64(value, shift).translate(bytes.maketrans(b"+/", b"-_"))
    yield "in hexadecimal", value.hex().encode()
    yield "in hexadecimal", value.hex().upper().encode()
    escaped = quote_from_bytes(value, safe="")
    for one in (escaped, quote_from_bytes(value, safe="/"), quote_plus(value), _small(escaped)):
        yield "escaped for a URL", one.encode()
    try:
        plain = value.decode()
    except UnicodeDecodeError:
        return
    yield "escaped for JSON", json.dumps(plain)[1:-1].encode()
    yield "escaped for JSON", json.dumps(plain, ensure_ascii=False)[1:-1].encode()
    yield "in UTF-16", plain.encode("utf-16-le")
    if "\n" in plain:
        yield from (("as one of its lines", line.encode()) for line in _lines(value))


def _base64(value: bytes, shift: int) -> bytes:
    """Return the digits of a value in base64 that are its own, where `shift` bytes of a group of three precede it."""
    digits = base64.b64encode(b"\0" * shift + value)
    first = (0, 2, 3)[shift]  # digits that depend on what stands before
    spare = (len(value) + shift) % 3
    return digits[first:] if not spare else digits[first : -(4 - spare)]


def _small(escaped: str) -> str:
    """Return an escaped text with escapes in small letters."""
    out, rest = "", escaped
    while "%" in rest:
        before, _, rest = rest.partition("%")
        out, rest = f"{out}{before}%{rest[:2].lower()}", rest[2:]
    return out + rest


def _in_entry(entry: Entry, wanted: Sequence[Needle]) -> Needle | None:
    names = b"\0".join((entry.path, entry.link, *(value for _, value in entry.xattrs)))
    found = in_bytes(names, wanted)
    if found is not None or entry.kind != "file":
        return found
    found = _in_stream(chunks(entry), wanted)
    if found is not None:
        return found
    head = next(chunks(entry), b"")
    for mark, inflater in _COMPRESSED:
        if head.startswith(mark):
            return _in_stream(_inflated(chunks(entry), inflater), wanted)
    return None


def _in_stream(parts: Iterator[bytes], wanted: Sequence[Needle]) -> Needle | None:
    # Programs break long lines, of base64 above all: what is left without the breaks is looked through as well.
    overlap, rest = 2 * max(len(one.data) for one in wanted), b""
    for part in parts:
        window = rest + part
        found = in_bytes(window, wanted) or in_bytes(window.translate(None, b"\r\n"), wanted)
        if found is not None:
            return found
        rest = window[-overlap:]
    return None


def _inflated(parts: Iterator[bytes], inflater: Callable[[], _Inflater]) -> Iterator[bytes]:
    """Yield what is inside a compressed file, as far as it can be told: several streams one after the other."""
    inside, is_new, left = inflater(), True, _MOST_INSIDE
    for part in _cut(parts):
        data = part
        while left > 0:
            data = data.lstrip(b"\0") if is_new else data  # what pads the end of a stream
            if not data and inside.needs_input:
                break
            try:
                found = inside.decompress(data, _PIECE)
            except (OSError, EOFError, lzma.LZMAError, zlib.error):  # it only looked like one
                return
            left -= len(found)
            yield found
            data, is_new = inside.unused_data, inside.eof
            if inside.eof:
                inside = inflater()


def _cut(parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield from (part[at : at + _COMPRESSED_PIECE] for at in range(0, len(part), _COMPRESSED_PIECE))


class _Gzip:
    """zlib's decompressor, with what the others have."""

    def __init__(self) -> None:
        self._inside = zlib.decompressobj(wbits=31)
        self._is_full = False  # there may be more, also without input

    @property
    def eof(self) -> bool:
        return self._inside.eof

    @property
    def needs_input(self) -> bool:
        return not (self._inside.eof or self._is_full)

    @property
    def unused_data(self) -> bytes:
        return self._inside.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        found = self._inside.decompress(self._inside.unconsumed_tail + data, max(max_length, 0))
        self._is_full = len(found) == max_length
        return found


_COMPRESSED: Sequence[tuple[bytes, Callable[[], _Inflater]]] = (
    (b"\x1f\x8b", _Gzip),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    (b"BZh", bz2.BZ2Decompressor),
)
