"""anew's verdict on a canary after each second, from sums that are carried on; what it says is what `judging` says.

The keeper takes all windows again at every look. Here each adds its part to sums, and only when windows are joined are
those made again. A part depends on the failures of both groups together, so few are different, and they are remembered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import add
from typing import Literal

from anew.core.evidence import EFFECTS, RARER, log_mean
from anew.core.judging import verdict
from anew.core.odds import log_total
from anew.core.verdict import HOPELESS, is_hopeless
from anew.model import Counts, Judge, Rollout, Sample
from anew.shell.evidence import MOST, Evidence

REMEMBERED = 2**18

Second = tuple[int, int, int, int, int]  # stage, requests and failures of the old group, and those of the new one
Kind = Literal["pass", "fail", "undecided"]


class Follower:
    """What is known of one criterion so far."""

    def __init__(self, judge: Judge, most: float = MOST) -> None:
        self.judge = judge
        self.most = most  # windows
        self.slopes = (*map(math.log, EFFECTS), -math.log(judge.unacceptable))
        rate = judge.acceptable
        self.rarer = [(math.log(part), math.log1p(-part * rate) - math.log1p(-rate)) for part in RARER]
        self.windows: list[Second] = []
        self.mine = 0  # windows of the last stage
        self.sums = [0.0] * len(self.slopes)
        self.compared = 0  # failures of the new group in windows in which there is something to compare
        self.old = self.old_bad = self.new = self.new_bad = 0
        self.is_news = False  # only then can harm have grown

    def add(self, second: Second) -> None:
        """Take what happened in a second as a window of its own."""
        _, old, old_bad, new, new_bad = second
        self.windows.append(second)
        self.old += old
        self.old_bad += old_bad
        self.new += new
        self.new_bad += new_bad
        self.is_news = new_bad > 0
        self._count(second)
        self.mine = self.mine + 1 if self.windows[-2:-1] and self.windows[-2][0] == second[0] else 1
        if self.mine > self.most:  # those of stages that were left stay as they were
            self.windows[-self.mine :] = joined(self.windows[-self.mine :])
            self.mine = (self.mine + 1) // 2
            self.sums, self.compared, self.is_news = [0.0] * len(self.slopes), 0, True
            for window in self.windows:
                self._count(window)

    def harm(self) -> float:
        """Return the logarithm of the evidence of harm."""
        return log_mean(self._harms())

    def may_harm(self, least: float) -> bool:
        """Say whether harm may have reached a bound: no mean is more than the largest."""
        return max(self._harms()) >= least

    def is_safe(self) -> bool:
        """Say whether the evidence of safety is enough."""
        compared = self.compared * self.slopes[-1] - self.sums[-1]
        least = -math.log(self.judge.beta)
        if not self.judge.acceptable:
            return compared >= least
        good, bad = self.new - self.new_bad, self.new_bad
        alone = [bad * bad_part + good * good_part for bad_part, good_part in self.rarer]
        if compared < least and max(alone) < least:
            return False
        return log_mean([compared, log_mean(alone)]) >= least

    def _harms(self) -> list[float]:
        bad = self.compared
        return [bad * slope - one for slope, one in zip(self.slopes[:-1], self.sums, strict=False)]

    def is_hopeless(self) -> bool:
        """Say whether nothing was answered well."""
        if self.new_bad < self.new or self.new < HOPELESS:
            return False
        return is_hopeless(Sample(self.old, self.old_bad), Sample(self.new, self.new_bad))

    def _count(self, window: Second) -> None:
        _, old, old_bad, new, new_bad = window
        bad = old_bad + new_bad
        if bad and old and new:
            self.compared += new_bad
            judge = self.judge
            self.sums = list(map(add, self.sums, _totals(new, old, bad, judge.tolerated, judge.unacceptable)))


def has_failed(followers: Sequence[Follower], judge: Judge) -> bool:
    """Say whether the verdict is a fail; the first criterion is of errors. Harm has grown only where there is news."""
    least = -math.log(judge.alpha)
    if not any(one.is_news for one in followers):
        return False
    if any(one.may_harm(least) for one in followers) and log_mean([one.harm() for one in followers]) >= least:
        return True
    return followers[0].is_hopeless()


def has_passed(followers: Sequence[Follower]) -> bool:
    """Say whether the verdict is a pass, if it is no fail."""
    return followers[0].new > 0 and all(one.is_safe() for one in followers)


def joined(windows: Sequence[Second]) -> list[Second]:
    """Join each window with the next one of its stage.

    >>> joined([(0, 9, 1, 1, 0), (0, 9, 0, 1, 1), (0, 9, 0, 1, 0), (1, 9, 0, 9, 0)])
    [(0, 18, 1, 2, 1), (0, 9, 0, 1, 0), (1, 9, 0, 9, 0)]
    """
    out: list[Second] = []
    is_joined = True
    for one in windows:
        last = out[-1] if out else one
        if not is_joined and last[0] == one[0]:
            out[-1] = (one[0], last[1] + one[1], last[2] + one[2], last[3] + one[3], last[4] + one[4])
            is_joined = True
        else:
            out.append(one)
            is_joined = False
    return out


@lru_cache(maxsize=REMEMBERED)
def _totals(new: int, old: int, bad: int, tolerated: float, unacceptable: float) -> tuple[float, ...]:
    """Return what a window takes from the logarithm of each likelihood ratio, whoever had the failures."""
    least = log_total(new, old, bad, tolerated)
    harms = [log_total(new, old, bad, tolerated * effect) - least for effect in EFFECTS]
    return (*harms, log_total(new, old, bad, 1.0) - log_total(new, old, bad, unacceptable))


def judged(seconds: Sequence[Second], judge: Judge) -> list[Kind]:
    """Return the verdict after each second, as the keeper comes to it: from counters, and all windows each time."""
    evidence, out = Evidence(), []
    counts = {"old": Counts(), "new": Counts()}
    rollout = Rollout(1, "rollout", 1, 2, "stage", 0.0)
    evidence.take(0.0, None, counts)
    for at, (stage, old, old_bad, new, new_bad) in enumerate(seconds, 1):
        if stage != rollout.stage:
            rollout = Rollout(
                1, "rollout", 1, 2, "stage", at - 1.0, stage, windows=tuple(evidence.windows), counts=_told(counts)
            )
        counts = {
            "old": Counts(counts["old"].requests + old, counts["old"].failures + old_bad),
            "new": Counts(counts["new"].requests + new, counts["new"].failures + new_bad),
        }
        evidence.take(float(at), rollout, counts)
        samples = evidence.samples()
        out.append(verdict(samples.get("old", ()), samples.get("new", ()), judge).kind)
    return out


def _told(counts: Mapping[str, Counts]) -> tuple[tuple[str, int, int], ...]:
    return tuple((name, one.requests, one.failures) for name, one in counts.items())


def followed(seconds: Sequence[Second], judge: Judge) -> list[Kind]:
    """Return the verdict after each second, from sums."""
    follower = Follower(judge)
    out: list[Kind] = []
    for second in seconds:
        follower.add(second)
        follower.is_news = True  # also where nothing new can have made harm grow
        out.append("fail" if has_failed([follower], judge) else "pass" if has_passed([follower]) else "undecided")
    return out
