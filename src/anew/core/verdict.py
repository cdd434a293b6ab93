"""What the evidence says about a canary.

Rules

1. Three answers: pass, fail, undecided. No traffic is never a pass and never a failure.
2. A canary is compared with the old group over the same windows, never with a fixed line: an outage that hits both
   groups is not the canary's fault.
3. The breaker has no old group to compare with; it acts only on a group that fails outright.
"""

from __future__ import annotations

from collections.abc import Sequence

from anew.model import Sample, Verdict

ENOUGH = 50  # requests of the canary before it can pass, or fail by its rate
MARGIN = 0.02  # the error rate may exceed the old group's by this much
HOPELESS = 20  # requests after which a canary that answered none of them well has failed
BREAKER_REQUESTS = 20
BREAKER_RATE = 0.5


def judge(baseline: Sequence[Sample], canary: Sequence[Sample]) -> Verdict:
    """Say whether `canary` fails more often than `baseline`.

    Shapes   both sequences cover the same windows, oldest first, equal lengths.
    Units    requests and failures are counts.
    Returns  `undecided` until the canary has answered `ENOUGH` requests; `evidence` holds the counts and the excess.
    Raises   ValueError if a count is negative, failures exceed requests, or the lengths differ.

    >>> judge([Sample(1000, 1)], [Sample(1000, 200)]).kind
    'fail'
    >>> judge([Sample(1000, 1)], [Sample(0, 0)]).kind
    'undecided'
    """
    if len(baseline) != len(canary):
        msg = f"{len(baseline)} windows of the old group, {len(canary)} of the new: they must be the same"
        raise ValueError(msg)
    old, new = total(baseline), total(canary)
    excess = _rate(new) - _rate(old)
    evidence = {
        "old_requests": float(old.requests),
        "old_failures": float(old.failures),
        "new_requests": float(new.requests),
        "new_failures": float(new.failures),
        "excess": round(excess, 6),
    }
    says = f"{_percent(new)} of {new.requests} requests failed, against {_percent(old)} of {old.requests} before"
    if excess > MARGIN and (new.requests >= ENOUGH or (new.requests >= HOPELESS and new.failures == new.requests)):
        return Verdict("fail", says, evidence)
    if new.requests >= ENOUGH:
        return Verdict("pass", says, evidence)
    if new.requests == 0:
        return Verdict("undecided", "no traffic has reached it", evidence)
    return Verdict("undecided", f"{new.requests} of the {ENOUGH} requests that a verdict needs", evidence)


def has_tripped(recent: Sample) -> bool:
    """Say whether a group that has all the traffic fails outright, in the last seconds.

    >>> has_tripped(Sample(100, 60)), has_tripped(Sample(100, 10)), has_tripped(Sample(5, 5))
    (True, False, False)
    """
    return recent.requests >= BREAKER_REQUESTS and recent.failures >= BREAKER_RATE * recent.requests


def total(samples: Sequence[Sample]) -> Sample:
    """Return the sum of `samples`.

    Raises  ValueError if a count is negative or failures exceed requests.
    """
    for one in samples:
        if not 0 <= one.failures <= one.requests:
            msg = f"{one.failures} failures of {one.requests} requests is no count"
            raise ValueError(msg)
    return Sample(sum(s.requests for s in samples), sum(s.failures for s in samples))


def _rate(sample: Sample) -> float:
    return sample.failures / sample.requests if sample.requests else 0.0


def _percent(sample: Sample) -> str:
    return f"{100 * _rate(sample):.3g} %"
