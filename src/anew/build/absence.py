"""Proof that the secrets of a build step are nowhere in what it made.

Each value is looked for as it is and as programs write such things: base64 in all three alignments, hexadecimal,
escaped for a URL or for JSON; of a value of several lines also each longer line. Looked through are names, contents,
links and attributes of files, and what is inside of files that are compressed as a whole.
"""

from __future__ import annotations

import base64
import bz2
import json
import lzma
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
_MOST_INSIDE = 256 << 20  # bytes that are looked at inside a compressed file


@dataclass(frozen=True, slots=True)
class Needle:
    """One way in which a secret may be written."""

    secret: str
    form: str  # for people: "base64"
    data: bytes


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...

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
        for form, data in _forms(value):
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
    for name, value in secrets.items():
        whole = value.decode(errors="replace")
        parts = {whole, *(one for one in whole.splitlines() if len(one) >= LEAST and not one.startswith("-----"))}
        for part in sorted(parts, key=len, reverse=True):
            line = line.replace(part, f"[{name}]")
    return line


def _lines(value: bytes) -> Iterator[str]:
    for line in value.decode(errors="replace").splitlines():
        if len(line) >= _LEAST_LINE and not line.startswith("-----"):  # the frame of a key is in every key
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
    """Yield what is inside a compressed file, as far as it can be told."""
    inside, left = inflater(), _MOST_INSIDE
    for part in parts:
        if inside.eof or left <= 0:
            return
        try:
            data = inside.decompress(part)
        except (OSError, EOFError, lzma.LZMAError, zlib.error):  # it only looked like one
            return
        left -= len(data)
        yield data


class _Gzip:
    """zlib's decompressor, with the members of a file one after the other."""

    def __init__(self) -> None:
        self._inside = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return False

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        del max_length
        out = b""
        while data:
            if self._inside.eof:
                self._inside = zlib.decompressobj(wbits=31)
            out += self._inside.decompress(data)
            data = self._inside.unused_data if self._inside.eof else b""
            if data and not data.startswith(b"\x1f\x8b"):
                break
        return out


_COMPRESSED: Sequence[tuple[bytes, Callable[[], _Inflater]]] = (
    (b"\x1f\x8b", _Gzip),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    (b"BZh", bz2.BZ2Decompressor),
)
