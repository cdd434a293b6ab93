"""What could be known by now: rates with intervals that hold at every look, and the least effect that could be seen."""

from __future__ import annotations

import math
from collections.abc import Callable

from anew.core.evidence import EFFECTS, log_mean
from anew.model import Sample

STEPS = 40  # halvings of an interval
MOST = 1000.0  # times the old group's odds; more is no effect, but an outage


def rate_interval(sample: Sample, alpha: float) -> tuple[float, float]:
    """Return an interval of the failure rate that contains it at all looks together with probability 1 - `alpha`.

    Units    rates are shares, 0 to 1; without requests the interval is all of it.
    Source   Robbins' mixture with a Beta(1/2, 1/2) prior, Annals of Mathematical Statistics 41 (1970), 1397.

    >>> low, high = rate_interval(Sample(1000, 10), 0.01)
    >>> round(low, 4), round(high, 4)
    (0.002, 0.0286)
    """
    requests, failures = sample.requests, sample.failures
    if not requests:
        return 0.0, 1.0
    bound = math.log(1 / alpha)
    mixture = _log_beta(failures + 0.5, requests - failures + 0.5) - _log_beta(0.5, 0.5)

    def is_inside(rate: float) -> bool:
        likelihood = _times_log(failures, rate) + _times_log(requests - failures, 1 - rate)
        return mixture - likelihood < bound

    middle = failures / requests
    low = 0.0 if is_inside(0.0) else _edge(is_inside, middle, 0.0)
    high = 1.0 if is_inside(1.0) else _edge(is_inside, middle, 1.0)
    return low, high


def visible_effect(old: Sample, new: Sample, tolerated: float, alpha: float) -> float:
    """Return the least ratio of odds that would have been called harm by now; infinity if none below `MOST` would.

    It is what a group of that ratio is expected to show over as many requests, with the old group's failure rate. All
    windows are taken for one, and failures for rare.
    """
    if not new.requests or not old.requests:
        return math.inf
    rate = (old.failures + 0.5) / (old.requests + 1)
    bound = math.log(1 / alpha)
    if expected_harm(old.requests, new.requests, rate, tolerated, MOST) < bound:
        return math.inf
    low, high = math.log(tolerated), math.log(MOST)
    for _ in range(STEPS // 2):
        middle = (low + high) / 2
        if expected_harm(old.requests, new.requests, rate, tolerated, math.exp(middle)) < bound:
            low = middle
        else:
            high = middle
    return math.exp(high)


def expected_harm(old: int, new: int, rate: float, tolerated: float, ratio: float) -> float:
    """Return about what the logarithm of harm is once these requests were made, if the odds have that ratio."""
    share = new / (old + new)
    odds = ratio * rate / (1 - rate)
    bad_new = new * odds / (1 + odds)
    bad = bad_new + old * rate
    least = 1 - share + share * tolerated
    logs = [
        bad_new * math.log(effect) - bad * math.log((1 - share + share * tolerated * effect) / least)
        for effect in EFFECTS
    ]
    return log_mean(logs)


def _edge(is_inside: Callable[[float], bool], inside: float, outside: float) -> float:
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        if is_inside(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _times_log(count: int, part: float) -> float:
    if not count:
        return 0.0
    return count * math.log(part) if part > 0 else -math.inf


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
