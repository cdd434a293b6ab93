"""What windows of counts say for and against a new group: two e-processes, which may be looked at whenever one likes.

Rules

1. An e-process begins at 1, and as long as its hypothesis holds it is expected to grow at no look. So the chance that
   it ever reaches 1/a is at most a, however often one looks (Ville's inequality).
2. *Harm* is evidence against "the odds that a request of the new group fails are at most `tolerated` times the old
   group's". It is the mean over several larger ratios, so that small and great effects are found without knowing which.
3. *Safe* is evidence against "the odds are at least `unacceptable` times the old group's, and at least a share of
   `acceptable` fails". It is the mean of two: one compares the groups, one counts the new group alone. For where
   nothing fails there is nothing to compare.
4. In each window both groups lived in the same world; windows are multiplied and never added up across times. A window
   without failures moves the comparison nowhere: silence is no harm.

Source  Lindon and Malek, Anytime-Valid Inference for Multinomial Count Data, arXiv 2011.03567; Ramdas and others,
        Game-Theoretic Statistics and Safe Anytime-Valid Inference, arXiv 2210.01948. The mixtures are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from anew.core.odds import log_total
from anew.model import Judge, Sample

EFFECTS = (1.3, 1.7, 2.5, 5.0, 15.0, 60.0)  # times the tolerated ratio
RARER = (0.02, 0.2, 0.5)  # times the acceptable share
REMEMBERED = 4096  # windows

Pair = tuple[Sample, Sample]  # what the old and the new group did in one window


@dataclass(frozen=True, slots=True)
class Evidence:
    """What all windows together say; `harm` and `safe` are natural logarithms of e-values."""

    old: Sample
    new: Sample
    harm: float = 0.0
    safe: float = 0.0


def gathered(windows: Sequence[Pair], judge: Judge) -> Evidence:
    """Return what the windows say together.

    Shapes   windows in any order, for they are multiplied. Of `judge` only the margins count.
    Raises   ValueError if a count is negative or failures exceed requests.

    >>> bad = gathered([(Sample(900, 1), Sample(100, 8))], Judge())
    >>> round(math.exp(bad.harm)) > 100, math.exp(bad.safe) < 1
    (True, True)
    """
    old, new = total(one for one, _ in windows), total(one for _, one in windows)
    logs = [0.0] * (len(EFFECTS) + 1)
    for window in windows:
        for at, one in enumerate(_likelihoods(window, judge)):
            logs[at] += one
    harm = log_mean(logs[:-1])
    safe = log_mean([logs[-1], _rarer(new, judge.acceptable)]) if judge.acceptable else logs[-1]
    return Evidence(old, new, harm, safe)


def course(windows: Sequence[Pair], judge: Judge) -> tuple[Evidence, ...]:
    """Return what was known after each window."""
    return tuple(gathered(windows[: at + 1], judge) for at in range(len(windows)))


@lru_cache(maxsize=REMEMBERED)
def _likelihoods(window: Pair, judge: Judge) -> tuple[float, ...]:
    """Return the logarithm of one window's likelihood ratio for each effect, and last that for safety."""
    old, new = window
    bad = old.failures + new.failures
    if not bad or not old.requests or not new.requests:
        return (0.0,) * (len(EFFECTS) + 1)

    def of(ratio: float) -> float:
        return new.failures * math.log(ratio) - log_total(new.requests, old.requests, bad, ratio)

    tolerated = of(judge.tolerated)
    harms = tuple(of(judge.tolerated * effect) - tolerated for effect in EFFECTS)
    return (*harms, of(1.0) - of(judge.unacceptable))


def _rarer(sample: Sample, acceptable: float) -> float:
    """Return the logarithm of the evidence that fewer than `acceptable` of the requests fail."""
    good = sample.requests - sample.failures
    return log_mean(
        [
            sample.failures * math.log(part) + good * (math.log1p(-part * acceptable) - math.log1p(-acceptable))
            for part in RARER
        ]
    )


def total(samples: Iterable[Sample]) -> Sample:
    """Return the sum of `samples`.

    Raises  ValueError if a count is negative or failures exceed requests.
    """
    requests = failures = 0
    for one in samples:
        if not 0 <= one.failures <= one.requests:
            msg = f"{one.failures} failures of {one.requests} requests is no count"
            raise ValueError(msg)
        requests += one.requests
        failures += one.failures
    return Sample(requests, failures)


def log_mean(logs: Sequence[float]) -> float:
    """Return the logarithm of the mean of numbers given by their logarithms.

    >>> round(log_mean([0.0, 0.0]), 6)
    0.0
    """
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(one - largest) for one in logs) / len(logs))
