"""What is judged of a service in a rollout: its groups' windows, by each criterion."""

from __future__ import annotations

from collections.abc import Sequence
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


def verdict(old: Sequence[Sample], new: Sequence[Sample], standards: Judge) -> Verdict:
    """Return the verdict on a new group from the windows of both groups, oldest first."""
    return judge({ERRORS: gathered(pairs(old, new), standards)}, standards)
