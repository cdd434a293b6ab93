"""Shares of many runs: their exact intervals, and percentiles where some runs never got there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

HALVINGS = 60


def interval(hits: int, of: int, level: float = 0.99) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of a share.

    >>> [round(end, 4) for end in interval(5, 1000, 0.95)]
    [0.0016, 0.0116]
    """
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _root(lambda share: at_most(hits - 1, of, share) >= 1 - tail)
    high = 1.0 if hits == of else _root(lambda share: at_most(hits, of, share) >= tail)
    return low, high


def at_most(hits: int, of: int, share: float) -> float:
    """Return the chance of so many hits or fewer."""
    if share <= 0:
        return 1.0
    yes, no = math.log(share), math.log1p(-share)
    whole = math.lgamma(of + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * yes + (of - k) * no)
        for k in range(hits + 1)
    )


def percentile(values: Sequence[float | None], share: float) -> float | None:
    """Return the value that so many of all are at most; None, which is later than any, if those did not get there.

    >>> percentile([3.0, None, 1.0, 2.0], 0.5), percentile([3.0, None, 1.0, None], 0.9)
    (2.0, None)
    """
    least = max(1, math.ceil(share * len(values)))
    known = sorted(one for one in values if one is not None)
    return known[least - 1] if least <= len(known) else None


def _root(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if is_below(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2
