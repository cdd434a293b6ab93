"""Random counts with exact laws: a table of the law is made once, and each draw is one search in it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from random import Random

NEGLIGIBLE = 1e-19  # as a part of the most likely count: less than `Random.random` can tell apart
REMEMBERED = 2**17  # tables

Table = tuple[int, list[float]]  # the least count that ever comes, and the chance of each or a lower one from there on


def binomial(random: Random, tries: int, share: float) -> int:
    """Return how many times in so many it happens."""
    least, table = binomial_table(tries, share)
    return least + bisect_left(table, random.random())


def poisson(random: Random, mean: float) -> int:
    """Return how many events there are."""
    least, table = poisson_table(mean)
    return least + bisect_left(table, random.random())


def among(random: Random, some: int, part: int, whole: int) -> int:
    """Return how many of `some` out of `whole` are in a part of it."""
    out = 0
    for left in range(whole, whole - some, -1):
        if random.random() * left < part - out:
            out += 1
    return out


@lru_cache(maxsize=REMEMBERED)
def binomial_table(tries: int, share: float) -> Table:
    """Return the law of `binomial`."""
    if not tries or share <= 0:
        return 0, [1.0]
    odds = share / (1 - share)
    return _table(min(tries, int((tries + 1) * share)), lambda count: (tries - count + 1) / count * odds, tries)


@lru_cache(maxsize=REMEMBERED)
def poisson_table(mean: float) -> Table:
    """Return the law of `poisson`."""
    return _table(int(mean), lambda count: mean / count)


def _table(mode: int, step: Callable[[int], float], most: float = math.inf) -> Table:
    """Return a law from how many times as likely each count is as the one before."""
    below, above = [], [1.0]
    least, chance = mode, 1.0
    while least > 0 and (chance := chance / step(least)) > NEGLIGIBLE:
        below.append(chance)
        least -= 1
    count, chance = mode + 1, 1.0
    while count <= most and (chance := chance * step(count)) > NEGLIGIBLE:
        above.append(chance)
        count += 1
    parts = [*reversed(below), *above]
    whole = math.fsum(parts)
    sums = [one / whole for one in accumulate(parts)]
    # The last one is where every draw ends that is larger than all: the sum of floats need not be 1.
    return least, [*sums[:-1], 1.0]
