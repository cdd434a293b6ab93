"""What is judged of a service in a rollout: its groups' windows, by each criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from anew.core.evidence import Evidence, Pair, gathered
from anew.core.measures import PROBES, end_of
from anew.core.verdict import ERRORS, judge
from anew.model import Criterion, Judge, Member, Sample, Verdict

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


def known(old: Member, new: Member, samples: Mapping[str, Sequence[Sample]]) -> dict[str, Evidence]:
    """Return what is known of each criterion by which a service is judged; nothing if it has none."""

    def of(suffix: str = "") -> tuple[Pair, ...]:
        return pairs(samples.get(old.group + suffix, ()), samples.get(new.group + suffix, ()))

    found: dict[str, Evidence] = {}
    if new.kind != "worker" or new.outcomes is not None:
        found[ERRORS] = gathered((*of(), *of(PROBES)), new.policy.judge)
    for one in new.policy.criteria:
        found[one.name] = gathered(of(end_of(one)), margins(one, new.policy.judge))
    return found


def margins(criterion: Criterion, standards: Judge) -> Judge:
    """Return the margins of a criterion: its own, and else those of the service."""
    own = {name: getattr(criterion, name) for name in ("tolerated", "unacceptable", "acceptable")}
    return replace(standards, **{name: value for name, value in own.items() if value is not None})


def of_service(old: Member, new: Member, samples: Mapping[str, Sequence[Sample]]) -> Verdict | None:
    """Return the verdict on the new group of a service; None if nothing of it is counted."""
    found = known(old, new, samples)
    return judge(found, new.policy.judge) if found else None
