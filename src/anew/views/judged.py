"""Answers about what was judged: how two groups compare, window after window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, slots=True)
class Rate:
    """What one group did until then, and between which shares (0 to 1) the true part of the bad ones lies."""

    requests: int
    bad: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known at the end of a window: of both groups, and the two e-values."""

    at: float
    stage: int  # from 1
    old: Rate
    new: Rate
    harm: float
    safe: float


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that two groups are compared by; `course` has each window's end, oldest first."""

    name: str  # "errors"
    visible: float  # the least ratio of odds that would have been called harm by now; 0: none would
    course: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the verdict was from the end of a window on."""

    at: float
    stage: int  # from 1
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What was said of a service when a stage was left, and what is said of the same windows now."""

    stage: int  # from 1
    kind: str  # at that time
    again: Kind
    reason: str  # of the latter
    is_same: bool


@dataclass(frozen=True, slots=True)
class Recomputed:
    """The verdict on one service, made again from the windows that were kept."""

    generation: str
    service: str
    group: str
    windows: int
    answers: tuple[Answer, ...]  # each time that it changed
    decisions: tuple[Decided, ...]
    is_same: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the new group of a service compares with the old one."""

    service: str
    old: str  # group
    new: str
    kind: Kind
    reason: str
    harm_bound: float  # of the mean of all criteria's e-values: from there on it is harm
    safe_bound: float  # of the least of them: from there on it is safe
    criteria: tuple[Criterion, ...]
