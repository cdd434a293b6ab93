"""How long answers took, as counts in buckets that are the wider the longer it took. Pure.

Every doubling of the time has 64 buckets of the same width; below 128 us each microsecond has its own. So the middle of
a bucket differs from what is in it by less than 1/128 of that, and a quantile by as little: 0.8 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_FINE = 6  # bits: 64 buckets for each doubling
MOST = 1 << 31  # microseconds, some 36 minutes; what takes longer is in no bucket


def highest(micros: int) -> int:
    """Return the highest time in the bucket of a time; it names the bucket.

    >>> highest(127), highest(128), highest(1_000_000)
    (127, 129, 1007615)
    """
    return micros | _width(micros) - 1


def _width(micros: int) -> int:
    return 1 << max(0, micros.bit_length() - _FINE - 1)


def buckets() -> Iterator[tuple[int, int]]:
    """Yield each bucket, from the shortest times to the longest: its lowest time, and how many more are in it."""
    lowest = 0
    while lowest < MOST:
        yield lowest, _width(lowest) - 1
        lowest += _width(lowest)


def quantile(times: Sequence[tuple[int, int]], q: float) -> float:
    """Return a time in microseconds that a part `q` of the answers did not exceed, within 1 %.

    Shapes   `times` are pairs of a bucket's highest time and a count, shortest first, as `anew.model.Counts` has them.
    Units    `q` is in [0, 1]; of n answers it asks for the ceil(q * n)-th, or the first.
    Raises   ValueError if there is no answer, or `q` is no part.

    >>> quantile([(127, 98), (1_007_615, 2)], 0.5), quantile([(127, 98), (1_007_615, 2)], 0.99)
    (127.0, 1003519.5)
    """
    total = sum(count for _, count in times)
    if not total or not 0 <= q <= 1:
        msg = f"there is no quantile {q} of {total} answers"
        raise ValueError(msg)
    left = q * total
    for bound, count in times:
        left -= count
        if left <= 0 < count:
            return bound - (_width(bound) - 1) / 2
    return float(times[-1][0])  # where rounding left a trace of the last one
