"""Whether the stages of a rollout can tell anything, from the traffic there is: said before it starts.

An expectation, not a promise: requests come as they came of late, and fail as they failed; windows are taken for one,
and failures for rare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from anew.core.evidence import RARER, log_mean
from anew.core.intervals import visible_effect
from anew.core.undecided import TIMES
from anew.model import FULL, Judge, PerMille, Policy, Sample, Seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the stages of one service will have shown when they are over, if its new group is as good as the old one."""

    requests: float  # of the new group, in all stages
    length: Seconds  # of all stages
    is_decided: bool  # the evidence is enough to pass
    visible: float  # the least part of failing requests that would have been seen to be worse; 1 if none would


def forecast(policy: Policy, stages: Iterable[tuple[PerMille, PerMille]], rate: float, failing: float) -> Forecast:
    """Return what stages will show.

    Shapes  of each stage the weights of the new group and of whom it is compared with.
    Units   `rate` is requests of the service per second, `failing` the part of them that fails.

    >>> forecast(Policy(), [(10, 990), (100, 900), (500, 500)], rate=100.0, failing=0.0).is_decided
    True
    >>> forecast(Policy(), [(10, 990), (100, 900), (500, 500)], rate=0.5, failing=0.0).is_decided
    False
    """
    weights = tuple(stages)
    each = policy.at_most * (TIMES if policy.on_undecided == "extend" else 1)
    length = each * len(weights)
    new = sum(rate * each * weight / FULL for weight, _ in weights)
    old = sum(rate * each * control / FULL for _, control in weights)
    compared = sum(
        _compared(
            rate * each * failing * (weight + control) / FULL, weight / (weight + control), policy.judge.unacceptable
        )
        for weight, control in weights
        if weight and control
    )
    probes = length * sum(1 / one.every for one in policy.probes)
    rare = _rarer(new, failing, probes, policy.judge)
    safe = log_mean([compared, rare]) if policy.judge.acceptable else compared
    bad = Sample(round(old), min(round(old), round(old * failing)))
    effect = visible_effect(bad, Sample(round(new), 0), policy.judge.tolerated, policy.judge.alpha)
    odds = effect * (bad.failures + 0.5) / (bad.requests - bad.failures + 0.5)
    visible = 1.0 if math.isinf(odds) else odds / (1 + odds)
    return Forecast(new, length, safe >= -math.log(policy.judge.beta), visible)


def sentence(service: str, policy: Policy, rate: float, found: Forecast) -> str:
    """Say that the evidence will not be enough, and what to do; "" if it will."""
    if found.is_decided:
        return ""
    often = f"{rate:.2g} requests/s" if rate else "no requests"
    answers = f"about {found.requests:.0f} in all stages ({found.length:g} s at most)"
    sees = (
        f"a failure rate below {100 * found.visible:.2g} % would not be seen"
        if found.visible < 1
        else "no failure rate would be seen"
    )
    return (
        f"{service}: {often} of late, of which its new group will answer {answers}: too few to be sure, and {sees}."
        f" Write larger `stages`, a longer `at_most` or `probes`; undecided, it is: {policy.on_undecided or 'promote'}"
    )


def _compared(bad: float, share: float, ratio: float) -> float:
    """Return the logarithm of the likelihood ratio for safety that so many failures are expected to give."""
    return bad * (math.log(1 - share + share * ratio) - share * math.log(ratio))


def _rarer(requests: float, failing: float, probes: float, judge: Judge) -> float:
    """Return the logarithm of the evidence for rare failures, where all probes are answered well."""
    if not judge.acceptable:
        return 0.0
    bad = requests * failing
    good = requests - bad + probes
    return log_mean(
        [
            bad * math.log(part) + good * (math.log1p(-part * judge.acceptable) - math.log1p(-judge.acceptable))
            for part in RARER
        ]
    )
