"""What is judged of a service in a rollout: its groups' windows, by each criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from anew.core.evidence import Pair, gathered
from anew.core.verdict import ERRORS, judge
from anew.model import Judge, Sample, Verdict

_NOTHING = Sample(0, 0)


def pairs(old: Sequence[Sample], new: Sequence[Sample]) -> tuple[Pair, ...]:
    """Return what both groups did in each window; one that is not told of did nothing.

    >>> pairs([Sample(9, 1)], [])
    ((Sample(requests=9, failures=1), Sample(requests=0, failures=0)),)
    """
    return tuple(zip_longest(old, new, fillvalue=_NOTHING))


def criteria(samples: Mapping[str, Sequence[Sample]], old: str, new: str) -> dict[str, tuple[Pair, ...]]:
    """Return what two groups did in each window, by the name of each criterion that they are compared by.

    >>> criteria({"web-g1": [Sample(9, 1)]}, "web-g1", "web-g2")["errors"]
    ((Sample(requests=9, failures=1), Sample(requests=0, failures=0)),)
    """
    return {ERRORS: pairs(samples.get(old, ()), samples.get(new, ()))}


def verdict_by(compared: Mapping[str, Sequence[Pair]], standards: Judge) -> Verdict:
    """Return the verdict on a new group from what `criteria` returns, or the first windows of it."""
    return judge({name: gathered(windows, standards) for name, windows in compared.items()}, standards)


def answers(compared: Mapping[str, Sequence[Pair]], standards: Judge) -> tuple[Verdict, ...]:
    """Return the verdict after each window."""
    count = max(map(len, compared.values()), default=0)
    return tuple(
        verdict_by({name: windows[:at] for name, windows in compared.items()}, standards) for at in range(1, count + 1)
    )


def verdict(old: Sequence[Sample], new: Sequence[Sample], standards: Judge) -> Verdict:
    """Return the verdict on a new group from the windows of both groups, oldest first."""
    return verdict_by({ERRORS: pairs(old, new)}, standards)
