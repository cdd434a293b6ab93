"""Where counts are read that are not the edge's. Each source turns what is cumulative there into what is new here.

Rules

1. What can't be read is no evidence, and never a failure: it is told, and the next reading goes on from the last good
   one.
2. Nothing that is read is believed to be small, whole or fast.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from anew.core import exposition
from anew.core.measures import Sent, Written
from anew.core.world import LOOPBACK
from anew.errors import AnewError
from anew.model import OUTCOMES, Bytes, Counts, Sample, Seconds
from anew.shell.fetching import Call, NoAnswer

LONGEST: Bytes = 1 << 18  # of a file or an answer
OUTCOMES_EVERY: Seconds = 1.0
PATIENCE: Seconds = 5.0  # for an answer
OK = 200
FAILED = 500  # from this status on an answer is a failure

OpenFolder = Callable[[str, str], int]  # instance, path → a descriptor; see `ports.Inspection.folder`


class Unread(Exception):  # noqa: N818 - it is an answer, and says why there is none
    """Why nothing could be counted."""


class Source(Protocol):
    """One thing that is read again and again."""

    keys: tuple[str, ...]  # of what it counts
    every: Seconds

    def read(self) -> Mapping[str, Sample]:
        """Return what was counted since the last reading, by key.

        Blocks  some seconds at most. Raises Unread.
        """
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


@dataclass(slots=True)
class Since:
    """What is new in cumulative counts.

    `is_whole`: they began with what is looked at, so all of them are new. `has_parts`: they are a sum of others.
    """

    is_whole: bool
    has_parts: bool = False
    last: Counts | None = None

    def take(self, now: Counts) -> Sample:
        """Return what is new. Counts that fell are those of a program that was started again, and began at nothing.

        Of a sum nobody can tell: a part may just be missing, and come back. Nothing of it is new until it has passed
        what it was.
        """
        before, self.last = self.last, now
        if before is None:
            return _sample(Counts(), now) if self.is_whole else Sample(0, 0)
        has_fallen = now.failures < before.failures or _good(now) < _good(before)
        if has_fallen and self.has_parts:
            self.last = before
            return Sample(0, 0)
        return _sample(Counts() if has_fallen else before, now)


@dataclass(slots=True)
class OutcomesFile:
    """What one instance writes down of how its work ended."""

    measure: Written
    open_folder: OpenFolder
    since: Since
    every: Seconds = OUTCOMES_EVERY
    folder: int = -1
    keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Note what it counts."""
        self.keys = (self.measure.key,)

    def read(self) -> Mapping[str, Sample]:
        """Return what came since the last reading; also, once, of an instance that has ended."""
        said = self.measure.outcomes
        try:
            if self.folder < 0:
                self.folder = self.open_folder(self.measure.instance, OUTCOMES)
            text = content(self.folder, said.file)
            return {self.measure.key: self.since.take(exposition.counts(text, said.good, said.bad))}
        except AnewError as cause:
            raise Unread(cause.what) from cause
        except FileNotFoundError as cause:
            raise Unread(f"{self.measure.instance} has not written {said.path}") from cause
        except (OSError, ValueError) as cause:
            why = (cause.strerror if isinstance(cause, OSError) else "") or cause
            raise Unread(f"{said.path} of {self.measure.instance}: {why}") from cause

    def close(self) -> None:
        """Let go of its folder."""
        if self.folder >= 0:
            os.close(self.folder)
            self.folder = -1


@dataclass(slots=True)
class Probes:
    """Requests to both groups of a service; an answer below 500 is good, and none in time is bad.

    Where the edge itself does not answer, neither group was asked.
    """

    measure: Sent
    patience: Seconds = PATIENCE
    every: Seconds = field(init=False)
    keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Note what it counts."""
        self.keys, self.every = self.measure.keys, self.measure.every

    def read(self) -> Mapping[str, Sample]:
        """Ask both at once; the next pair is sent when both have answered."""
        url = f"http://{LOOPBACK}:{self.measure.port}{self.measure.path}"
        calls: list[Call] = []
        try:
            for host in self.measure.hosts:
                calls.append(Call.to(url, self.patience, host))  # noqa: PERF401 - what was begun is to be ended
        except NoAnswer as cause:
            for one in calls:
                one.close()
            raise Unread(f"the edge can't be asked at its previews: {cause}") from cause
        return {key: Sample(1, int(_is_bad(one))) for key, one in zip(self.measure.keys, calls, strict=True)}

    def close(self) -> None:
        """Let go of nothing: no call outlives a reading."""


@dataclass(slots=True)
class OutcomesPage:
    """What one instance answers of how its work ended."""

    measure: Written
    since: Since
    patience: Seconds = PATIENCE
    every: Seconds = OUTCOMES_EVERY
    keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Note what it counts."""
        self.keys = (self.measure.key,)

    def read(self) -> Mapping[str, Sample]:
        """Return what came since the last reading."""
        said, who = self.measure.outcomes, f"{self.measure.outcomes.metrics} of {self.measure.instance}"
        try:
            status, body = Call.to(self.measure.url, self.patience).answer()
            if status != OK:
                raise Unread(f"{who}: status {status}")
            counted = exposition.counts(body.decode("utf-8"), said.good, said.bad)
        except (NoAnswer, ValueError) as cause:
            raise Unread(f"{who}: {cause}") from cause
        return {self.measure.key: self.since.take(counted)}

    def close(self) -> None:
        """Let go of nothing: no call outlives a reading."""


def _is_bad(call: Call) -> bool:
    try:
        return call.status() >= FAILED
    except NoAnswer:
        return True


def content(folder: int, name: str) -> str:
    """Return what stands in a file that a stranger wrote.

    Raises  OSError if it can't be opened, a link too; ValueError if it is no file, too long, or no text.
    """
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(fd, "rb") as file:  # noqa: PTH123 - it is open
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no file")
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} bytes")
    return data.decode("utf-8")


def _sample(before: Counts, now: Counts) -> Sample:
    return Sample(now.requests - before.requests, now.failures - before.failures)


def _good(counts: Counts) -> int:
    return counts.requests - counts.failures
