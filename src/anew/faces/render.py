"""The one renderer: errors to text and JSON, views to JSON, blocks to plain text. Nothing here writes anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anew.faces.blocks import Cell, Chart, Grid, Line, visible

if TYPE_CHECKING:
    from anew.errors import AnewError, Complaint
    from anew.faces.blocks import Block

_TIMES = frozenset({"at", "since"})  # fields of views that hold a time
_RED, _BOLD, _DIM, _PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
_STEP = "  "


def error_text(error: AnewError, *, is_coloured: bool = False) -> str:
    """Return an error as lines for people, without a newline at the end."""
    label = f"{_RED}{_BOLD}error:{_PLAIN}" if is_coloured else "error:"
    out = [f"{label} {_indented(error.what, '')}"]
    if len(error.complaints) > 1:
        for one in error.complaints:
            out += ["", *_complaint(one)]
    else:
        out += _named("where", error.where)
        out += _named("hint", error.hint)
    for name, value in error.facts.items():
        out += _named(name, value)
    return "\n".join(out)


def _complaint(one: Complaint) -> list[str]:
    return [*_named("where", one.where), *_named("what", one.what), *_named("hint", one.hint)]


def _named(name: str, value: str) -> list[str]:
    """Show a value under its name; one of several lines is indented below it, and so stays pasteable."""
    if not value:
        return []
    if "\n" not in value.rstrip("\n"):
        return [f"{_STEP}{name:<7} {visible(value.strip())}"]
    return [f"{_STEP}{name}", *(f"{_STEP * 2}{visible(part)}" for part in value.rstrip("\n").splitlines())]


def _indented(text: str, indent: str) -> str:
    return f"\n{_STEP}{indent}".join(visible(part) for part in text.splitlines()) or "(nothing was said)"


def error_json(error: AnewError) -> str:
    """Return an error as one JSON document; `errors.AnewError.from_json` takes what stands under ``error``."""
    return as_json({"error": error.as_json()})


def as_json(value: object) -> str:
    """Return views, or mappings and sequences of them, as one JSON document; times are RFC 3339."""
    return json.dumps(plain_data(value), indent=2, ensure_ascii=False)


def plain_data(value: object) -> object:
    """Return what JSON can hold of `value`."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _field(one.name, getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain_data(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_data(one) for one in value]
    return value


def _field(name: str, value: object) -> object:
    if name in _TIMES and isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return plain_data(value)


def plain(blocks: Iterable[Block]) -> str:
    """Return blocks as aligned text, one line each, without a newline at the end."""
    out: list[str] = []
    for block in blocks:
        match block:
            case Line(cells, depth):
                out.append(_STEP * depth + " ".join(cell.text for cell in cells if cell.text))
            case Grid():
                out.extend(_grid(block))
            case Chart():
                out.extend(_chart(block))
    return "\n".join(one.rstrip() for one in out)


def _chart(chart: Chart) -> list[str]:
    legend = "   ".join(f"{mark} {text}" for mark, text in chart.legend)
    return [f"{_STEP}{chart.title}", f"{_STEP}{legend}", *("".join(row) for row in chart.rows)]


def _grid(grid: Grid) -> list[str]:
    rows = [tuple(Cell(name.upper()) for name in grid.headings), *grid.rows]
    widths = [max(len(row[i].text) for row in rows) for i in range(len(grid.headings))]
    return [
        _STEP.join(
            cell.text.rjust(width) if name in grid.right else cell.text.ljust(width)
            for cell, width, name in zip(row, widths, grid.headings, strict=True)
        )
        for row in rows
    ]
