"""Blocks on a terminal, by Rich: colours, bars, and a panel that follows a rollout. Imported only for one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from anew.faces.blocks import Block, Cell, Chart, Grid, Line, of_status
from anew.views import Status

_STYLES = {"": "", "good": "green", "bad": "bold red", "dim": "dim", "strong": "bold", "warn": "yellow"}
_BAR = 20  # characters
_MARKS = {  # of charts: how a mark looks where the encoding has more than ASCII, and its style
    "*": ("\u25cf", "bold cyan"),
    "o": ("\u25cb", ""),
    "=": ("\u25c9", "bold"),
    ":": ("\u250a", "cyan"),
    ".": ("\u00b7", ""),
    "h": ("\u25b2", "bold red"),
    "s": ("\u25a0", "green"),
    "-": ("\u2500", "dim"),
    "+": ("\u253c", "dim"),
}


def show(blocks: Iterable[Block], console: Console | None = None) -> None:
    """Print blocks on `console`, by default that of standard output; honours NO_COLOR."""
    console = console or Console(highlight=False)
    for block in blocks:
        console.print(_renderable(block), soft_wrap=isinstance(block, Line))


def panel(status: Status) -> RenderableType:
    """Return the panel that shows an environment while it changes."""
    return Panel(Group(*(_renderable(block) for block in of_status(status))))


class Follower:
    """A panel that is drawn again with every status; the last one stays."""

    def __init__(self) -> None:
        self._live = Live(console=Console(highlight=False), auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *of_what: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, status: Status) -> None:
        """Draw `status`."""
        self._live.update(panel(status), refresh=True)


def _renderable(block: Block) -> RenderableType:
    match block:
        case Line(cells, depth):
            text = Text("  " * depth)
            for i, cell in enumerate(one for one in cells if one.text):
                text.append(" " if i else "")
                text.append_text(_text(cell))
            return text
        case Grid():
            return _table(block)
        case Chart():
            return _Picture(block)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A chart, in marks that the encoding of the terminal has."""

    chart: Chart

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"  {self.chart.title}")
        legend = Text(" ")
        for marks, text in self.chart.legend:
            legend.append_text(Text(" ")).append_text(_marked(marks, is_ascii=options.ascii_only)).append(f" {text}  ")
        legend.rstrip()
        yield legend
        for label, marks, right in self.chart.rows:
            picture = _marked(marks, is_ascii=options.ascii_only)
            yield Text.assemble((label, "dim"), picture, (right, "dim"), no_wrap=True)


def _marked(marks: str, *, is_ascii: bool) -> Text:
    found = ((mark, *_MARKS.get(mark, (mark, ""))) for mark in marks)
    return Text.assemble(*((mark if is_ascii else better, style) for mark, better, style in found))


def _table(grid: Grid) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for name in grid.headings:
        table.add_column(name, justify="right" if name in grid.right else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _text(cell: Cell) -> Text:
    if cell.share < 0:
        return Text(cell.text, style=_STYLES[cell.tone])
    filled = max(1, round(cell.share * _BAR / 1000)) if cell.share else 0
    empty = ("\u2591" * (_BAR - filled), "dim")
    return Text.assemble(("\u2588" * filled, "green"), empty, f" {cell.text:>6}")
