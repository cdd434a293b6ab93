"""How two groups compare, drawn in characters: their rates with intervals, and the evidence on its way to its bounds.

Charts are made of ASCII marks; a terminal that has better ones shows those in their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anew.faces.blocks import Chart, alone, line, rfc3339

if TYPE_CHECKING:
    from anew.faces.blocks import Block, Tone
    from anew.views import Criterion, Judgement, Moment, Rate, Recomputed

WIDTH = 60  # columns of a chart, without its labels
RATES, EVIDENCE = 7, 5  # rows
MOST_SEEN = 240  # moments that are remembered of one criterion
OLD, NEW, BOTH, OLD_BAR, NEW_BAR = "o", "*", "=", ".", ":"
HARM, SAFE = "h", "s"
DOES = {"errors": "failed", "slowness": "were slow"}
TONES: dict[str, Tone] = {"fail": "bad", "pass": "good", "undecided": "warn"}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which moment each column of a chart shows: the last one until its time."""

    moments: tuple[Moment, ...]

    @classmethod
    def of(cls, course: Sequence[Moment]) -> _Columns:
        first, last = course[0].at, course[-1].at
        step = (last - first) / (WIDTH - 1)
        shown, at = [], 0
        for column in range(WIDTH):
            until = first + column * step + step * 1e-6
            while at + 1 < len(course) and course[at + 1].at <= until:
                at += 1
            shown.append(course[at])
        return cls((*shown[:-1], course[-1]))

    def axis(self) -> str:
        """Return the line under a chart, with a mark where a stage begins."""
        stages = [one.stage for one in self.moments]
        return "+" + "".join("+" if i and stages[i - 1] != stage else "-" for i, stage in enumerate(stages))

    def times(self) -> str:
        """Return the seconds under it, at its ends and where a stage begins, as far as there is room."""
        begun = self.moments[0].at
        text = "0 s"
        for i, (before, one) in enumerate(zip(self.moments, self.moments[1:], strict=False), 1):
            if before.stage != one.stage and i > len(text) + 1:
                text = f"{text:<{i}} stage {one.stage}"
        end = f"{self.moments[-1].at - begun:.3g} s"
        return f"{text:<{WIDTH + 1 - len(end)}}"[: WIDTH + 1 - len(end)] + end


def of_judgements(judgements: Sequence[Judgement]) -> Iterator[Block]:
    """Show how each judged service compares."""
    for one in judgements:
        yield line(f"{one.service}: {one.new} beside {one.old}: {_said(one)}", TONES[one.kind])
        yield line(one.reason, depth=1)
        for criterion in one.criteria:
            yield from _of_criterion(one, criterion)


class Seen:
    """What was judged in the statuses of a stage, of which each knows only its own moment."""

    def __init__(self) -> None:
        self._courses: dict[tuple[str, str], tuple[Moment, ...]] = {}

    def add(self, judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
        """Return these judgements with the moments that were seen before."""
        return tuple(
            replace(one, criteria=tuple(self._longer(one.new, criterion) for criterion in one.criteria))
            for one in judgements
        )

    def _longer(self, group: str, criterion: Criterion) -> Criterion:
        course = self._courses.get((group, criterion.name), ())
        if len(course) >= MOST_SEEN:
            course = course[::2]
        course = self._courses[group, criterion.name] = (*course, *criterion.course)
        return replace(criterion, course=course)


def charts_of(judgements: Sequence[Judgement]) -> Iterator[Chart]:
    """Draw each criterion of each judged service."""
    for one in judgements:
        for criterion in one.criteria:
            yield from _charts(one, criterion)


def of_recomputed(found: Sequence[Recomputed]) -> Iterator[Block]:
    """Show the verdicts that were made again, and how they compare with those of the time."""
    for one in found:
        yield line(f"{one.generation} {one.service}: {one.windows} windows of {one.group}", "strong")
        for answer in one.answers:
            where = f"{rfc3339(answer.at)}  stage {answer.stage}: {answer.kind}"
            yield line(f"{where}: {answer.reason}", TONES[answer.kind], depth=1)
        for was in one.decisions:
            if was.kind == was.again:
                yield line(f"stage {was.stage}: {was.kind}, the same", "good", depth=1)
            elif was.is_same:
                yield line(f"stage {was.stage}: {was.kind} at the time, {was.again} by what was counted alone", depth=1)
            else:
                differs = f"stage {was.stage}: {was.kind} at the time, {was.again} now: {was.reason}"
                yield line(differs, "bad", depth=1)
        if not one.decisions:
            yield line("nothing was decided by it yet", "dim", depth=1)


def _said(one: Judgement) -> str:
    return {"pass": "it passes", "fail": "it fails", "undecided": "undecided"}[one.kind]


def _of_criterion(one: Judgement, criterion: Criterion) -> Iterator[Block]:
    yield from _charts(one, criterion)
    yield from _crossings(one, criterion)
    if criterion.visible:
        times = f"{criterion.visible:.{0 if criterion.visible >= 10 else 1}f}"  # 467, 2.3
        seen = f"by now, harm shows from about {times} times the odds of {one.old} on"
    else:
        seen = "by now, no harm could have shown"
    yield line(f"{criterion.name}: {seen}", "dim", depth=1)


def _charts(one: Judgement, criterion: Criterion) -> Iterator[Chart]:
    if len({moment.at for moment in criterion.course}) > 1:
        columns = _Columns.of(criterion.course)
        yield _rates(one, criterion, columns)
        yield _evidence(one, criterion.name, columns)


def _crossings(one: Judgement, criterion: Criterion) -> Iterator[Block]:
    """Say when which bound was first reached."""
    bounds: tuple[tuple[str, float, Callable[[Moment], float], Tone], ...] = (
        ("harm", alone(one), lambda moment: moment.harm, "bad"),
        ("safe", one.safe_bound, lambda moment: moment.safe, "good"),
    )
    begun = criterion.course[0].at
    for name, bound, value, tone in bounds:
        found = next((moment for moment in criterion.course if value(moment) >= bound), None)
        if found is not None:
            when = f"after {found.at - begun:.3g} s, in stage {found.stage}"
            counted = f"with {found.new.requests} requests of {one.new}"
            yield line(f"{criterion.name}: {name} reached {bound:g} {when}, {counted}", tone, depth=1)


def _rates(one: Judgement, criterion: Criterion, columns: _Columns) -> Chart:
    """Draw both rates, with the interval of the old one in even columns and of the new one in odd ones."""
    top = _top(criterion.course)
    grid = [[" "] * WIDTH for _ in range(RATES)]

    def row(share: float) -> int:
        return RATES - 1 - min(RATES - 1, round(share / top * (RATES - 1)))

    for column, moment in enumerate(columns.moments):
        side, mark = (moment.new, NEW_BAR) if column % 2 else (moment.old, OLD_BAR)
        for at in range(row(side.high), row(side.low) + 1):
            grid[at][column] = mark
        old, new = row(rate(moment.old)), row(rate(moment.new))
        if moment.old.requests:
            grid[old][column] = OLD
        if moment.new.requests:
            grid[new][column] = BOTH if old == new and moment.old.requests else NEW
    labels = {0: percent(top), RATES // 2: percent(top / 2), RATES - 1: "0 %"}
    rows = tuple((f"{labels.get(at, ''):>8} |", "".join(marks), "") for at, marks in enumerate(grid))
    return Chart(
        f"{criterion.name}: part of the requests that {DOES.get(criterion.name, 'were bad')} until then",
        ((NEW, one.new), (OLD, one.old), (BOTH, "both"), (NEW_BAR + OLD_BAR, "where they truly may be")),
        (*rows, *_foot(columns)),
    )


def _evidence(one: Judgement, name: str, columns: _Columns) -> Chart:
    """Draw both e-values on a logarithmic axis of their own each, so that both bounds are the uppermost row."""
    grid = [[" "] * WIDTH for _ in range(EVIDENCE + 1)]
    grid[0] = ["-"] * WIDTH

    def row(value: float, bound: float) -> int:
        part = math.log(max(value, 1e-300)) / math.log(bound)
        return EVIDENCE if part < 0 else EVIDENCE - 1 - min(EVIDENCE - 1, math.floor(part * (EVIDENCE - 1) + 1e-9))

    for column, moment in enumerate(columns.moments):
        harm, safe = row(moment.harm, alone(one)), row(moment.safe, one.safe_bound)
        grid[safe][column] = SAFE
        grid[harm][column] = BOTH if harm == safe else HARM
    ends = tuple(
        (f"{bound(alone(one), at):>8} |", "".join(marks), f"| {bound(one.safe_bound, at)}")
        for at, marks in enumerate(grid)
    )
    return Chart(
        f"{name}: evidence, each step up a multiple; at the uppermost line it is enough",
        (
            (HARM, f"harm (left), {alone(one):g} is enough"),
            (SAFE, f"safe (right), {one.safe_bound:g} is enough"),
            (BOTH, "both"),
        ),
        (*ends, *_foot(columns)),
    )


def bound(most: float, row: int) -> str:
    """Return the label of a row of evidence, of which the uppermost is `most`.

    >>> [bound(100.0, row) for row in range(6)]
    ['100', '32', '10', '3.2', '1', '< 1']
    """
    return "< 1" if row == EVIDENCE else f"{most ** (1 - row / (EVIDENCE - 1)):.2g}" if row else f"{most:g}"


def _foot(columns: _Columns) -> tuple[tuple[str, str, str], ...]:
    return (" " * 9, columns.axis(), ""), (" " * 9 + columns.times(), "", "")


def _top(course: Sequence[Moment]) -> float:
    """Return the share at the top: all that is known in the end has room, and most of how it came to that."""
    last = course[-1]
    later = course[len(course) // 4 :]
    highest = max(last.old.high, last.new.high, *(rate(side) for one in later for side in (one.old, one.new)))
    power = 10.0 ** math.floor(math.log10(max(highest, 1e-6)))
    return float(min(1.0, next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= highest * 0.999)))


def rate(side: Rate) -> float:
    """Return the part of the requests that were bad."""
    return side.bad / side.requests if side.requests else 0.0


def percent(share: float) -> str:
    """Write a share.

    >>> percent(0.004), percent(0.1234)
    ('0.4 %', '12.3 %')
    """
    return f"{100 * share:.3g} %"
