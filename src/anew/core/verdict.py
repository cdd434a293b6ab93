"""What the evidence says about a canary.

Rules

1. Three answers: pass, fail, undecided. No traffic is never a pass and never a failure.
2. A canary is compared with the old group over the same windows, never with a fixed line: an outage that hits both
   groups is not the canary's fault.
3. The answer may be asked for after every request. Whoever goes back at the first fail does so with a release that is
   as good as the old one with a chance of at most `alpha`, over the whole rollout and all criteria together: the mean
   of e-processes is one, whatever they have to do with each other.
4. It passes when each criterion by itself says so; one that is unacceptable passes with a chance of at most `beta`.
5. Two things need no comparison, and fail at once: a canary that has answered nothing well (unless the old group hardly
   does either), and, once a group has all the traffic, one that fails outright.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from anew.core.evidence import Evidence, log_mean
from anew.core.intervals import rate_interval
from anew.model import Judge, Sample, Verdict

ERRORS, SLOWNESS = "errors", "slowness"
HOPELESS = 20  # requests after which a canary that answered none of them well has failed
BREAKER_REQUESTS = 20
BREAKER_RATE = 0.5
NO_TRAFFIC = "no traffic has reached it"
NOTHING = Sample(0, 0)
MOST_TOLD = 1e9  # of an e-value, in words and in evidence
PLENTY = Sample(100_000, 0)  # after so many good requests there is no doubt

_DOES = {ERRORS: "failed", SLOWNESS: "were slow"}


def judge(criteria: Mapping[str, Evidence], standards: Judge, *, may_be_hopeless: bool = True) -> Verdict:
    """Say whether a canary is worse than the old group; may be asked at any time, at no penalty.

    Shapes   `criteria` has what is known of each criterion, over the same windows. `may_be_hopeless` is False if a part
             of the errors alone speaks against that.
    Returns  `undecided` until the evidence is enough. `evidence` holds "harm", "harm bound" and "safe bound", and of
             each criterion its e-values ("errors harm", "errors safe") and of both sides counts and the ends of the
             interval of the rate ("errors new requests", "errors new bad", "errors new low", "errors new high").
    Source   see `anew.core.evidence`.

    >>> from anew.core.evidence import gathered
    >>> judge({ERRORS: gathered([(Sample(900, 0), Sample(100, 10))], Judge())}, Judge()).kind
    'fail'
    >>> judge({ERRORS: gathered([(Sample(900, 0), Sample(0, 0))], Judge())}, Judge()).kind
    'undecided'
    """
    harm = log_mean([one.harm for one in criteria.values()]) if criteria else 0.0
    told = _facts(criteria, standards, harm)
    for name, one in criteria.items():
        if may_be_hopeless and name == ERRORS and is_hopeless(one.old, one.new):
            return Verdict("fail", f"none of its first {one.new.requests} requests was answered well", told)
    if harm >= -math.log(standards.alpha):
        worst = max(criteria, key=lambda name: criteria[name].harm)
        says = f"{_compared(worst, criteria[worst])}: worse than tolerated"
        return Verdict("fail", f"{says} (evidence {_value(harm)}; {1 / standards.alpha:g} is enough)", told)
    if not any(one.new.requests for one in criteria.values()):
        return Verdict("undecided", NO_TRAFFIC, told)
    says = "; ".join(_compared(name, one) for name, one in criteria.items())
    least = min(one.safe for one in criteria.values())
    enough = f"(evidence {_value(least)}; {1 / standards.beta:g} is enough)"
    if least >= -math.log(standards.beta):
        return Verdict("pass", f"{says}: it is not worse than acceptable {enough}", told)
    return Verdict("undecided", f"{says}: not enough to tell {enough}", told)


def is_hopeless(old: Sample, new: Sample) -> bool:
    """Say whether a canary has answered nothing well, and the old group does better than fail outright.

    >>> is_hopeless(Sample(100, 0), Sample(20, 20)), is_hopeless(Sample(100, 90), Sample(20, 20))
    (True, False)
    """
    is_old_broken = old.requests > 0 and old.failures >= BREAKER_RATE * old.requests
    return new.requests >= HOPELESS and new.failures == new.requests and not is_old_broken


def has_tripped(recent: Sample) -> bool:
    """Say whether a group that has all the traffic fails outright, in the last seconds.

    >>> has_tripped(Sample(100, 60)), has_tripped(Sample(100, 10)), has_tripped(Sample(5, 5))
    (True, False, False)
    """
    return recent.requests >= BREAKER_REQUESTS and recent.failures >= BREAKER_RATE * recent.requests


def e_value(log: float) -> float:
    """Return an e-value from its logarithm, at most `MOST_TOLD`."""
    return math.exp(min(log, math.log(MOST_TOLD)))


def _facts(criteria: Mapping[str, Evidence], standards: Judge, harm: float) -> dict[str, float]:
    told = {
        "harm": round(e_value(harm), 6),
        "harm bound": 1 / standards.alpha,
        "safe bound": 1 / standards.beta,
    }
    for name, one in criteria.items():
        told[f"{name} harm"] = round(e_value(one.harm), 6)
        told[f"{name} safe"] = round(e_value(one.safe), 6)
        for side, sample in (("old", one.old), ("new", one.new)):
            low, high = rate_interval(sample, standards.alpha)
            told |= {
                f"{name} {side} requests": float(sample.requests),
                f"{name} {side} bad": float(sample.failures),
                f"{name} {side} low": round(low, 6),
                f"{name} {side} high": round(high, 6),
            }
    return told


def _compared(name: str, one: Evidence) -> str:
    does = _DOES.get(name, f"were bad by {name}")
    now = f"{percent(one.new)} of {one.new.requests} requests {does}"
    return f"{now}, against {percent(one.old)} of {one.old.requests} before"


def percent(sample: Sample) -> str:
    """Return the part that failed, for people.

    >>> percent(Sample(1000, 3))
    '0.3 %'
    """
    return f"{100 * sample.failures / sample.requests if sample.requests else 0:.3g} %"


def _value(log: float) -> str:
    return "over a million" if log > math.log(1e6) else f"{e_value(log):,.{0 if log > math.log(100) else 1}f}"
