"""How others judge a canary, made again from what they document: Kayenta's judge, Flagger's ticks, Argo's analysis.

Each takes series of points, oldest first, in which None stands for "no data", and says after how many points it takes
the canary back, or None if it never does.

Source  Kayenta: NetflixACAJudge with its defaults, as used on its own baseline group; Flagger: `analysis` of a Canary;
        Argo Rollouts: a metric of an AnalysisTemplate. All settings are named here.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from statistics import NormalDist

Series = Sequence[float | None]

CONFIDENCE = 0.98
TOLERANCE = 0.25  # of the shift that is estimated, not of the baseline
CLOSE = 1e-4  # how near the ends of an interval are found
MARGINAL = 75  # below it, a score ends the canary
NOISE = 1e-5  # of constant values

FAILED_TICKS = 5
FAILURE_LIMIT = 3
ERROR_LIMIT = 4  # consecutive ones


def standardised(experiment: Sequence[float], control: Sequence[float], shift: float = 0.0) -> float:
    """Return Mann and Whitney's statistic of shifted values, as a standard normal one, corrected for ties and steps.

    >>> round(standardised([10, 20, 30, 40], [1, 2, 3, 4]), 4)
    2.1651
    """
    moved, ordered = [one - shift for one in experiment], sorted(control)
    m, n = len(moved), len(ordered)
    wins = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in moved) / 2
    tied = sum(times**3 - times for times in Counter([*moved, *ordered]).values() if times > 1)
    variance = m * n / 12 * (m + n + 1 - tied / ((m + n) * (m + n - 1)))
    above = wins - m * n / 2
    if variance <= 0:
        return 0.0
    return (above - math.copysign(0.5, above) if above else 0.0) / math.sqrt(variance)


def root(experiment: Sequence[float], control: Sequence[float], quantile: float) -> float:
    """Return the shift after which the statistic is no more than a quantile."""
    low, high = min(experiment) - max(control), max(experiment) - min(control)
    if standardised(experiment, control, low) <= quantile:
        return low
    if standardised(experiment, control, high) >= quantile:
        return high
    while high - low > CLOSE:
        middle = (low + high) / 2
        value = standardised(experiment, control, middle) - quantile
        if value == 0:
            return middle
        low, high = (middle, high) if value > 0 else (low, middle)
    return (low + high) / 2


def is_high(experiment: Sequence[float], control: Sequence[float]) -> bool:
    """Say whether Kayenta classifies a metric of which more is worse as high."""
    if sorted(experiment) == sorted(control):
        return False
    if len(set(experiment)) == 1 == len(set(control)):
        experiment, control = _noisy(experiment), _noisy(control)
    quantile = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    if standardised(experiment, control) <= quantile:
        return False  # the interval contains zero, so its lower end is above no bound
    lower = root(experiment, control, quantile)
    base = sum(control) / len(control)
    is_more = base == 0 or sum(experiment) / len(experiment) / base >= 1
    return lower > TOLERANCE * abs(root(experiment, control, 0.0)) and is_more


def kayenta(experiment: Series, control: Series, every: int) -> int | None:
    """Return when a canary with one metric ends: judged after `every` points, on all of them so far."""
    for end in range(every, len(experiment) + 1, every):
        new = [one for one in experiment[:end] if one is not None]
        old = [one for one in control[:end] if one is not None]
        score = 0 if not new or not old or is_high(new, old) else 100  # a metric without data spoils the score
        if score < MARGINAL:
            return end
    return None


def flagger(values: Series, is_good: Callable[[float], bool]) -> int | None:
    """Return when the last tick that it forgives is over: one without data has failed, too."""
    failed = 0
    for at, value in enumerate(values, 1):
        failed += value is None or not is_good(value)
        if failed >= FAILED_TICKS:
            return at
    return None


def argo(values: Series, is_good: Callable[[float], bool]) -> int | None:
    """Return after which measurement the metric has failed, or erred too often without a measurement between."""
    failed = errors = 0
    for at, value in enumerate(values, 1):
        errors = errors + 1 if value is None else 0
        failed += value is not None and not is_good(value)
        if failed > FAILURE_LIMIT or errors > ERROR_LIMIT:
            return at
    return None


def _noisy(values: Sequence[float]) -> list[float]:
    random = Random(0)
    return [one + random.gauss(0, NOISE * abs(one)) for one in values]
