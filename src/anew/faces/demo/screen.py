"""The one live view of the demo: what is told, the phases, the weights and the load. Plain lines without a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from anew.faces.demo.story import Story, complaints
from anew.testing.load import Figures
from anew.views import GroupView, RolloutView, Status

BAR = 30  # characters that 1000 per mille fill
LINES_KEPT = 6
LEAST_WIDTH = 100
COLOURS = {"live": "green", "new": "cyan", "warm": "yellow", "leaving": "bright_black"}


@dataclass(slots=True)
class _Chapter:
    title: str
    begun: float
    ended: float = 0.0
    result: str = ""
    is_good: bool = True


class Screen:
    """Shows the demo while it runs. `figures` gives the newest figures of the load."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chapters: list[_Chapter] = []
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._status: Status | None = None
        self._said = ""
        self.figures: Callable[[], Figures] | None = None
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=8, transient=False, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.clear()
        self._live.stop()

    def begin(self, title: str) -> None:
        """Begin a chapter of the story."""
        self._chapters.append(_Chapter(title, time.monotonic()))
        self._lines.clear()
        self._plain(f"── {title}")

    def end(self, result: str, *, is_good: bool) -> None:
        """End the chapter: what became of it, and whether that is what should."""
        chapter = self._chapters[-1]
        chapter.ended, chapter.result, chapter.is_good = time.monotonic(), result, is_good
        self._plain(f"   {'✓' if is_good else '✗'} {result} ({chapter.ended - chapter.begun:.1f} s)")

    def say(self, line: str) -> None:
        """Show a line of progress."""
        self._lines.append(line)
        self._plain(f"   {line}")

    def clear(self) -> None:
        """Show no status any more: there is nothing left to have one."""
        self._status = None

    def look(self, status: Status) -> None:
        """Show a status; without a terminal a line for each phase."""
        self._status = status
        if status.rollout is not None:
            line = _phase_line(status.rollout)
            if line != self._said:
                self._said = line
                self._plain(f"   {line}{self._load_line()}")

    def _plain(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _load_line(self) -> str:
        if self.figures is None:
            return ""
        now = self.figures()
        return f"  [{now.sent} requests, {now.dropped} dropped, {_errors(now)} answered 5xx]"

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [_chapter_line(one) for one in self._chapters]
        if self._lines:
            parts.append(Text("\n".join(f"    {line}"[: self._console.width] for line in self._lines), style="dim"))
        if self._status is not None:
            parts.append(_status_panel(self._status))
        if self.figures is not None:
            parts.append(_load_panel(self.figures()))
        return Group(*parts)


def _chapter_line(chapter: _Chapter) -> Text:
    took = (chapter.ended or time.monotonic()) - chapter.begun
    mark, style = ("…", "bold") if not chapter.ended else ("✓", "green") if chapter.is_good else ("✗", "bold red")
    line = Text(f"{mark} {chapter.title}", style=style)
    line.append(f"  {took:.1f} s", style="dim")
    if chapter.result:
        line.append(f"  {chapter.result}", style="default")
    return line


def _phase_line(rollout: RolloutView) -> str:
    reason = f": {rollout.reason}" if rollout.reason else ""
    return f"{rollout.kind} to {rollout.generation} ({rollout.release}): {rollout.phase}{reason}"


def _status_panel(status: Status) -> Panel:
    table = Table.grid(padding=(0, 2))
    for service in status.services:
        for group in service.groups:
            table.add_row(*_group_row(group))
    title = _phase_line(status.rollout) if status.rollout else status.reason
    return Panel(table, title=Text(title), title_align="left", subtitle=status.edge, subtitle_align="right")


def _group_row(group: GroupView) -> tuple[RenderableType, ...]:
    colour = COLOURS[group.role]
    filled = round(group.weight * BAR / 1000)
    return (
        Text(group.name, style=colour),
        Text("█" * filled + "░" * (BAR - filled), style=colour),
        f"{group.weight / 10:5.1f} %",
        f"{group.ready}/{group.size} ready",
        f"{group.in_flight} in flight",
        group.role,
    )


def _errors(figures: Figures) -> int:
    return sum(count for status, count in figures.by_status.items() if status.startswith("5"))


def _load_panel(figures: Figures) -> Panel:
    table = Table.grid(padding=(0, 3))
    table.add_row(
        f"{figures.sent} requests",
        Text(f"{figures.dropped} dropped", style="bold red" if figures.dropped else "green"),
        f"{figures.in_flight} in flight",
        f"{figures.retried} retried",
        f"{_errors(figures)} answered 5xx",
        f"p99 {figures.milliseconds.get('p99', 0):.0f} ms",
    )
    by = "   ".join(
        f"{name}: {one.answered} ({one.errors} times 5xx)" for name, one in sorted(figures.by_release.items())
    )
    return Panel(Group(table, Text(by)), title="load", title_align="left")


def print_summary(console: Console, story: Story) -> None:
    """Print the table at the end, and what is wrong with the story if anything is."""
    table = Table(title="What became of each release", title_justify="left")
    for title in ("release", "generation", "outcome", "requests", "5xx", "time per stage", "reason"):
        table.add_column(title, justify="right" if title in {"requests", "5xx"} else "left", overflow="fold")
    for one in story.told:
        answerer = story.answerer(one.name)
        stages = "\n".join(f"{phase} {seconds:.1f} s" for phase, seconds in one.stages)
        numbers = (str(answerer.answered), str(answerer.errors))
        table.add_row(one.name, one.generation or "none", one.outcome, *numbers, stages, Text(one.reason))
    console.print(table)
    grid = Table.grid(padding=(0, 2))
    for title, value in _totals(story):
        grid.add_row(title, Text(value))
    console.print(grid)
    for complaint in complaints(story):
        console.print(Text(f"✗ {complaint}", style="bold red"))


def _totals(story: Story) -> list[tuple[str, str]]:
    figures = story.figures
    by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(figures.by_kind.items()))
    errors = ", ".join(f"{one.errors} by {name}" for name, one in sorted(figures.by_release.items()) if one.errors)
    return [
        ("requests sent", f"{figures.sent} ({by_kind})"),
        ("dropped", str(figures.dropped)),
        ("sent again on a new connection", str(figures.retried)),
        ("answered 5xx", errors or "none"),
        ("from the decision to the last request that r3 got", _milliseconds(story.rollback_ms())),
        ("from `rollback` by hand to the last request that r2 got", _milliseconds(story.by_hand_ms())),
        ("in all", f"{story.seconds:.1f} s"),
    ]


def _milliseconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0f} ms"


def console_for_people() -> Console:
    """Return a console on standard output, wide enough for the table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, LEAST_WIDTH))
