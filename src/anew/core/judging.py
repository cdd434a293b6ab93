"""What is judged of a service in a rollout: its groups' windows, by each criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from anew.core.evidence import Pair, gathered
from anew.core.verdict import ERRORS, SLOWNESS, judge
from anew.model import Judge, Member, Sample, Verdict

Samples = Mapping[str, Sequence[Sample]]  # the windows of each group, oldest first
Compared = Mapping[str, Sequence[Pair]]  # by criterion

_NOTHING = Sample(0, 0)


def pairs(old: Sequence[Sample], new: Sequence[Sample]) -> tuple[Pair, ...]:
    """Return what both groups did in each window; one that is not told of did nothing.

    >>> pairs([Sample(9, 1)], [])
    ((Sample(requests=9, failures=1, slow=0), Sample(requests=0, failures=0, slow=0)),)
    """
    return tuple(zip_longest(old, new, fillvalue=_NOTHING))


def criteria(old: Member, new: Member, samples: Samples, *, is_timed: bool) -> dict[str, tuple[Pair, ...]]:
    """Return what two groups did in each window, by the name of each criterion; nothing if nothing is counted.

    `is_timed` says whether it was known what is slow.
    """
    if new.kind == "worker" and new.outcomes is None:
        return {}
    both = pairs(samples.get(old.group, ()), samples.get(new.group, ()))
    found = {ERRORS: both}
    if is_timed:
        found[SLOWNESS] = tuple((_slow(before), _slow(after)) for before, after in both)
    return found


def standards(name: str, said: Judge) -> Judge:
    """Return by which margins a criterion is judged.

    What is slow is a time that the old group's answers exceeded in the part `1 - slow` of all cases; no more than that
    is good, whatever the old group does now.
    """
    return replace(said, acceptable=1 - said.slow) if name == SLOWNESS else said


def verdict_by(compared: Compared, said: Judge) -> Verdict:
    """Return the verdict on a new group from what `criteria` returns, or the first windows of it."""
    return judge({name: gathered(windows, standards(name, said)) for name, windows in compared.items()}, said)


def answers(compared: Compared, said: Judge) -> tuple[Verdict, ...]:
    """Return the verdict after each window."""
    count = max(map(len, compared.values()), default=0)
    return tuple(
        verdict_by({name: windows[:at] for name, windows in compared.items()}, said) for at in range(1, count + 1)
    )


def verdict(old: Sequence[Sample], new: Sequence[Sample], said: Judge) -> Verdict:
    """Return the verdict on errors alone, from the windows of both groups, oldest first."""
    return verdict_by({ERRORS: pairs(old, new)}, said)


def _slow(sample: Sample) -> Sample:
    return Sample(sample.requests, min(sample.slow, sample.requests))
