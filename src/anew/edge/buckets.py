"""Weights as a thousand buckets. Pure.

A request draws a bucket, and the bucket names the group. Buckets move from one group to another in order, lowest
first, and only as many as the change of weight asks for: so a change by w moves exactly w buckets, and a bucket that
moved to the new group stays there while its weight grows. A bucket that nobody has is not in the map at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from anew.model import FULL, PerMille

Buckets = tuple[str, ...]  # by number, the group that has it; "" if none has
EMPTY: Buckets = ("",) * FULL


def moved(buckets: Buckets, weights: Mapping[str, PerMille]) -> Buckets:
    """Return `buckets` after as few moves as give each group its weight.

    Raises  ValueError if the weights are negative, or sum neither to 1000 nor to 0.

    >>> halves = moved(moved(EMPTY, {"web-g1": 1000}), {"web-g1": 500, "web-g2": 500})
    >>> halves[0], halves[499], halves[500]
    ('web-g2', 'web-g2', 'web-g1')
    """
    total = sum(weights.values())
    if total not in {0, FULL} or min(weights.values(), default=0) < 0:
        msg = f"weights must sum to {FULL} or to 0: {dict(weights)}"
        raise ValueError(msg)
    if not total:
        return EMPTY
    has = Counter(buckets)
    surplus = {group: count - weights.get(group, 0) for group, count in has.items()}
    takers = (group for group in sorted(weights) for _ in range(weights[group] - has[group]))
    out = list(buckets)
    for number, group in enumerate(buckets):
        if surplus[group] > 0:
            surplus[group] -= 1
            out[number] = next(takers)
    return tuple(out)


def without(buckets: Buckets, known: Iterable[str]) -> Buckets:
    """Return `buckets` without those of groups that are not `known`."""
    names = frozenset(known)
    return tuple(group if group in names else "" for group in buckets)


def weights_of(buckets: Buckets) -> dict[str, PerMille]:
    """Return how many buckets each group has; groups without any are left out."""
    return {group: count for group, count in sorted(Counter(buckets).items()) if group}


def lines(buckets: Buckets) -> list[str]:
    """Return the entries of the map, ``12 web-g2`` each.

    >>> lines(("web-g1", "", "web-g1"))
    ['0 web-g1', '2 web-g1']
    """
    return [f"{number} {group}" for number, group in enumerate(buckets) if group]


def text(buckets: Buckets) -> str:
    """Return the map as a file."""
    return "".join(f"{line}\n" for line in lines(buckets))


def parsed(entries: Iterable[Sequence[str]]) -> Buckets:
    """Return the buckets of map entries, each (number, group); what is no bucket is ignored.

    >>> parsed([("0", "web-g1")])[:2]
    ('web-g1', '')
    """
    out = list(EMPTY)
    for entry in entries:
        if len(entry) == 2 and entry[0].isdecimal() and int(entry[0]) < FULL:
            out[int(entry[0])] = entry[1]
    return tuple(out)
