"""Fisher's non-central hypergeometric law: where bad events fall if one side's odds are a multiple of the other's.

Of two groups with `new` and `old` requests, `bad` of which failed in all, the number of those that the new one had
depends only on the ratio of the two odds of failing. How often requests fail at all cancels: a rush, a quiet night or
an outage that hits both changes nothing.

Only terms above `NEGLIGIBLE`, as parts of the largest, are summed, so the cost grows with the root of the bad events.
"""

from __future__ import annotations

import math

NEGLIGIBLE = math.exp(-40)  # no sum of floats is changed by all that is left out


def log_total(new: int, old: int, bad: int, ratio: float) -> float:
    """Return the logarithm of the sum over j of C(new, j) C(old, bad - j) ratio^j.

    Shapes  `new`, `old` and `bad` are counts, `bad` at most `new + old`; `ratio` is at least 1.
    Error   below 1e-6, absolute, for counts up to 10^7.
    Source  Fisher's non-central hypergeometric distribution; its mode as in Liao and Rosen, The American Statistician
            55 (2001), 366.

    >>> round(math.exp(log_total(2, 3, 2, 1.0)))  # all pairs out of five
    10
    """
    if ratio == 1:
        return _log_choose(new + old, bad)
    least, most = max(0, bad - old), min(bad, new)
    mode = min(most, max(least, _mode(new, old, bad, ratio)))
    largest = _log_choose(new, mode) + _log_choose(old, bad - mode) + mode * math.log(ratio)
    return largest + math.log(1.0 + _above(new, old, bad, ratio, mode) + _below(new, old, bad, ratio, mode))


def _mode(new: int, old: int, bad: int, ratio: float) -> int:
    """Return where a term is no smaller than the one before for the last time, within one."""
    a = ratio - 1
    b = ratio * (new + bad + 2) + old - bad
    c = ratio * (new + 1) * (bad + 1)
    return int(2 * c / (b + math.sqrt(b * b - 4 * a * c)))


def _above(new: int, old: int, bad: int, ratio: float, mode: int) -> float:
    """Return the sum of the terms above the mode, as parts of the term there; behind the last one they are 0."""
    left, rest, number, spare = float(new - mode), float(bad - mode), mode + 1.0, old - bad + mode + 1.0
    total, term = 0.0, ratio
    while term > NEGLIGIBLE:
        term *= left * rest / (number * spare)
        total += term
        term *= ratio
        left -= 1.0
        rest -= 1.0
        number += 1.0
        spare += 1.0
    return total


def _below(new: int, old: int, bad: int, ratio: float, mode: int) -> float:
    left, rest, number, spare = new - mode + 1.0, bad - mode + 1.0, float(mode), float(old - bad + mode)
    total, term = 0.0, 1 / ratio
    while term > NEGLIGIBLE:
        term *= number * spare / (left * rest)
        total += term
        term /= ratio
        left += 1.0
        rest += 1.0
        number -= 1.0
        spare -= 1.0
    return total


def _log_choose(among: int, some: int) -> float:
    return math.lgamma(among + 1) - math.lgamma(some + 1) - math.lgamma(among - some + 1)
