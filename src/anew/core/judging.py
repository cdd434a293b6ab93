"""What is judged of a service in a rollout: its groups' windows, by each criterion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from anew.core.evidence import Evidence, Pair, gathered, total
from anew.core.measures import PROBES, end_of, end_of_outcomes
from anew.core.verdict import ERRORS, SLOWNESS, is_hopeless, judge
from anew.model import Judge, Member, Policy, Sample, Verdict

Samples = Mapping[str, Sequence[Sample]]  # the windows of each group, oldest first
Compared = Mapping[str, Sequence[Pair]]  # by criterion

PROBES_ALONE = PROBES.removeprefix("/")
OUTCOMES = "outcomes"  # the criterion of those that a service says itself
_NOTHING = Sample(0, 0)


def pairs(old: Sequence[Sample], new: Sequence[Sample]) -> tuple[Pair, ...]:
    """Return what both groups did in each window; one that is not told of did nothing.

    >>> pairs([Sample(9, 1)], [])
    ((Sample(requests=9, failures=1, slow=0), Sample(requests=0, failures=0, slow=0)),)
    """
    return tuple(zip_longest(old, new, fillvalue=_NOTHING))


def criteria(old: Member, new: Member, samples: Samples, *, is_timed: bool) -> dict[str, tuple[Pair, ...]]:
    """Return what two groups did in each window, by the name of each criterion; nothing if nothing is counted.

    `is_timed` says whether it was known what is slow. Probes are part of the errors, and told by themselves.
    """

    def of(end: str = "") -> tuple[Pair, ...]:
        return pairs(samples.get(old.group + end, ()), samples.get(new.group + end, ()))

    found: dict[str, tuple[Pair, ...]] = {}
    if new.kind != "worker" or new.outcomes is not None:
        found[ERRORS] = of()
    if new.policy.probes:
        found[PROBES_ALONE] = of(PROBES)
    if is_timed:
        found[SLOWNESS] = tuple((_slow(before), _slow(after)) for before, after in of())
    return found | {name: of(end) for name, end in own(new)}


def own(member: Member) -> Iterator[tuple[str, str]]:
    """Yield what a service says that it is judged by besides: names, and how their keys end."""
    if member.outcomes is not None and member.kind != "worker":
        yield OUTCOMES, end_of_outcomes(member)
    for one in member.policy.criteria:
        yield one.name, end_of(one)


def standards(name: str, policy: Policy) -> Judge:
    """Return by which margins a criterion is judged: its own, and else those of the service.

    What is slow is a time that the old group's answers exceeded in the part `1 - slow` of all cases; no more than that
    is good, whatever the old group does now.
    """
    if name == SLOWNESS:
        return replace(policy.judge, acceptable=1 - policy.judge.slow)
    own = next((one for one in policy.criteria if one.name == name), None)
    said = {field: getattr(own, field) for field in ("tolerated", "unacceptable", "acceptable")} if own else {}
    return replace(policy.judge, **{field: value for field, value in said.items() if value is not None})


def known(compared: Compared, policy: Policy) -> dict[str, Evidence]:
    """Return the evidence of each criterion from what `criteria` returns."""
    found = {}
    for name, windows in compared.items():
        # Traffic and probes are other requests: their tables are multiplied, and never added to each other.
        more = compared.get(PROBES_ALONE, ()) if name == ERRORS else ()
        if name != PROBES_ALONE:
            found[name] = gathered((*windows, *more), standards(name, policy))
    return found


def verdict_by(compared: Compared, policy: Policy) -> Verdict:
    """Return the verdict on a new group from what `criteria` returns, or the first windows of it."""
    # Traffic and probes are each compared with their like: of both together, the old group has more of what works.
    kinds = [compared[name] for name in (ERRORS, PROBES_ALONE) if name in compared]
    sums = [(total(old for old, _ in ones), total(new for _, new in ones)) for ones in kinds]
    may = all(is_hopeless(old, new) for old, new in sums if new.requests)
    return judge(known(compared, policy), policy.judge, may_be_hopeless=may)


def answers(compared: Compared, policy: Policy) -> tuple[Verdict, ...]:
    """Return the verdict after each window."""
    count = max(map(len, compared.values()), default=0)
    return tuple(
        verdict_by({name: windows[:at] for name, windows in compared.items()}, policy) for at in range(1, count + 1)
    )


def verdict(old: Sequence[Sample], new: Sequence[Sample], said: Judge) -> Verdict:
    """Return the verdict on errors alone, from the windows of both groups, oldest first."""
    return judge({ERRORS: gathered(pairs(old, new), said)}, said)


def _slow(sample: Sample) -> Sample:
    return Sample(sample.requests, min(sample.slow, sample.requests))
