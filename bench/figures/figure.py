"""What a measurement found: figures with a median, a worst value and maybe a goal and a peer, as plain values."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should not exceed; None: nothing was promised. `ratio` is to the median of its peer."""

    median: float | None = None
    worst: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """Values of one thing, all in `unit`; `peer` holds what stands for comparison, measured in turn in the same run."""

    name: str
    unit: str
    values: tuple[float, ...]
    goal: Goal = Goal()
    peer_name: str = ""
    peer: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The middle of all values."""
        return statistics.median(self.values)

    @property
    def worst(self) -> float:
        """The largest value."""
        return max(self.values)

    @property
    def ratio(self) -> float | None:
        """How many times the peer's median this median is; None without a peer."""
        return self.median / statistics.median(self.peer) if self.peer else None

    @property
    def is_met(self) -> bool:
        """Say whether the goal is met; a figure without one meets it."""
        median, worst = self.goal.median, self.goal.worst
        if self.goal.ratio is not None and (self.ratio is None or self.ratio > self.goal.ratio):
            return False
        return (median is None or self.median <= median) and (worst is None or self.worst <= worst)


@dataclass(frozen=True, slots=True)
class Count:
    """One number that was counted, and what was asked of it."""

    name: str
    value: str
    asked: str = ""
    is_met: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """What needs columns of its own: a title, what the columns are, and rows of cells."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """All that one measurement found; `method` says how, in a few sentences that stay true however often it runs."""

    name: str  # of the script
    title: str
    method: str
    figures: tuple[Figure, ...] = ()
    counts: tuple[Count, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def is_met(self) -> bool:
        """Say whether every goal is met."""
        return all(one.is_met for one in self.figures) and all(one.is_met for one in self.counts)
