"""Two releases or generations in one view: in plain words, what changed and what it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from anew.faces.blocks import Block, Tone, line, rfc3339, short
from anew.model.comparison import Change, Comparison, FileChange, ImageComparison, ServiceComparison

_T = TypeVar("_T")
_SHOWN = 10  # of one list; `--all` and JSON show the rest
_TONES: dict[str, Tone] = {"equal": "dim", "changed": "strong", "added": "good", "removed": "bad"}
_LONG = 60  # characters of a value, beyond which before and after stand in lines of their own


def of_comparison(found: Comparison, *, is_all: bool) -> Iterator[Block]:
    """Show two releases or generations; long lists are cut short unless `is_all`."""
    most = 0 if is_all else _SHOWN
    yield line(f"{_side(found.before.name, found.before.release)} → {_side(found.after.name, found.after.release)}")
    for side in (found.before, found.after):
        yield line(f"{side.name}: release {short(side.digest)}, {rfc3339(side.at)}", "dim", depth=1)
    if found.is_equal:
        yield line("they are equal: the same images, run in the same way", "good")
    for note in found.notes:
        yield line(note, "warn")
    for service in found.services:
        yield from _service(service, most)


def _side(name: str, release: str) -> str:
    return name if name == release else f"{name} ({release})"


def _service(one: ServiceComparison, most: int) -> Iterator[Block]:
    said = {"equal": "as before", "added": "is new", "removed": "is gone", "changed": "changed"}[one.became]
    yield line(f"{one.service} {said}", _TONES[one.became])
    yield from _changes("runs otherwise", one.settings, most)
    if one.image is not None:
        yield from _image(one.image, most)
    elif one.became == "changed":
        yield line("the very same image", depth=1)


def _image(one: ImageComparison, most: int) -> Iterator[Block]:
    same = ", with the same files" if one.is_same_tree else ""
    yield line(f"image {short(one.before)} → {short(one.after)}{same}", depth=1)
    yield from _changes("made from", one.inputs, most)
    yield from _changes(_counted(len(one.packages), "package", "moved"), one.packages, most)
    yield from _files(_counted(len(one.copied), "copied file", "changed"), one.copied, most)
    if one.files:
        yield line(f"{_counted(len(one.files), 'path')} of the image changed", depth=1)
        by_origin = sorted(one.files, key=lambda file: file.origin)
        for origin, files in groupby(by_origin, key=lambda file: file.origin):
            yield from _files(f"from {origin or 'nobody knows where'}", tuple(files), most, depth=2)
    for why in one.unknown:
        yield line(why, "warn", depth=1)


def _counted(number: int, noun: str, verb: str = "") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}{f' {verb}' if verb else ''}"


def _changes(title: str, changes: Sequence[Change], most: int) -> Iterator[Block]:
    if not changes:
        return
    yield line(title, depth=1)
    for one in _first(changes, most):
        before, after = one.before or "(none)", one.after or "(none)"
        if len(before) + len(after) > _LONG or "\n" in before + after:
            yield line(one.name, depth=2)
            yield from (line(f"- {text}", "bad", depth=3) for text in one.before.splitlines())
            yield from (line(f"+ {text}", "good", depth=3) for text in one.after.splitlines())
        else:
            yield line(f"{one.name}: {before} → {after}", depth=2)
    yield from _more(changes, most, 2)


def _files(title: str, files: Sequence[FileChange], most: int, depth: int = 1) -> Iterator[Block]:
    if not files:
        return
    count = f": {len(files)}" if depth > 1 else ""
    yield line(f"{title}{count}", depth=depth)
    yield from (line(f"/{one.path}: {one.what}", depth=depth + 1) for one in _first(files, most))
    yield from _more(files, most, depth + 1)


def _first(every: Sequence[_T], most: int) -> Sequence[_T]:
    return every[:most] if most else every


def _more(every: Sequence[object], most: int, depth: int) -> Iterator[Block]:
    if most and len(every) > most:
        yield line(f"and {len(every) - most} more; `--all` shows them", "dim", depth=depth)
