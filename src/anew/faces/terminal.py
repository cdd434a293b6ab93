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
from anew.faces.charts import Seen, charts_of
from anew.views import Status

_STYLES = {"": "", "good": "green", "bad": "bold red", "dim": "dim", "strong": "bold", "warn": "yellow"}
BAR = "\u2588\u2591"  # what is filled, and what is not; in ASCII there are others
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
        console.print(_renderable(block, _bar_of(console)), soft_wrap=isinstance(block, Line))


def panel(status: Status, charts: Iterable[Block] = (), bar: str = BAR) -> RenderableType:
    """Return the panel that shows an environment while it changes."""
    return Panel(Group(*(_renderable(block, bar) for block in (*of_status(status), *charts))))


def _bar_of(console: Console) -> str:
    return BAR if console.encoding.lower().startswith("utf") else "#."


class Follower:
    """A panel that is drawn again with every status; the last one stays.

    While a stage is under way there are charts in it, as many as the terminal has lines for.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._seen = Seen()

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *of_what: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, status: Status) -> None:
        """Draw `status`."""
        bar = _bar_of(self._console)
        rest = self._console.height - len(self._console.render_lines(panel(status, bar=bar)))
        charts = []
        for chart in charts_of(self._seen.add(status.judgements)):
            rest -= len(chart.rows) + 2  # title and legend
            if rest < 0:
                break
            charts.append(chart)
        self._live.update(panel(status, charts, bar), refresh=True)


def _renderable(block: Block, bar: str) -> RenderableType:
    match block:
        case Line(cells, depth):
            text = Text("  " * depth)
            for i, cell in enumerate(one for one in cells if one.text):
                text.append(" " if i else "")
                text.append_text(_text(cell, bar))
            return text
        case Grid():
            return _table(block, bar)
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


def _table(grid: Grid, bar: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for name in grid.headings:
        table.add_column(name, justify="right" if name in grid.right else "left", overflow="fold")
    for row in grid.rows:
        table.add_row(*(_text(cell, bar) for cell in row))
    return table


def _text(cell: Cell, bar: str) -> Text:
    if cell.share < 0:
        return Text(cell.text, style=_STYLES[cell.tone])
    filled = max(1, round(cell.share * cell.width / 1000)) if cell.share else 0
    empty = (bar[1] * (cell.width - filled), "dim")
    return Text.assemble((bar[0] * filled, "green"), empty, f" {cell.text:>6}")
