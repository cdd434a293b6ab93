"""How the groups of a rollout compare, made from the windows that were committed with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from anew.core import control, judging
from anew.core.intervals import rate_interval, visible_effect
from anew.core.verdict import e_value
from anew.shell.evidence import samples
from anew.views import Criterion, Judgement, Moment, Rate

if TYPE_CHECKING:
    from anew.core.evidence import Evidence
    from anew.model import Generation, Judge, Member, Rollout, Sample, Window
    from anew.views import Event


def judgements(
    rollout: Rollout, generations: Mapping[int, Generation], *, is_brief: bool = False
) -> tuple[Judgement, ...]:
    """Return how each judged service of a rollout compares; if it is to be brief, of each course the last moment."""
    found = compared(rollout, generations) if rollout.windows else ()
    return tuple(_judgement(before, after, rollout, is_brief=is_brief) for before, after in found)


def compared(rollout: Rollout, generations: Mapping[int, Generation]) -> tuple[tuple[Member, Member], ...]:
    """Return with whom each service that is judged by what is counted is compared, and its new member, sorted."""
    old, new = control.sides(rollout, generations)
    found = control.controls(rollout, old, new)
    return tuple((one, new[s]) for s, one in found.items() if judging.criteria(one, new[s], {}, is_timed=False))


def rollout_ids(events: Iterable[Event], generation: str) -> tuple[int, ...]:
    """Return the numbers of the rollouts to a generation ("g3"), newest first."""
    mine = (e.facts.get("rollout", "") for e in events if e.facts.get("generation") == generation)
    return tuple(sorted({int(number) for number in mine if number}, reverse=True))


def _judgement(before: Member, after: Member, rollout: Rollout, *, is_brief: bool) -> Judgement:
    policy, windows = after.policy, rollout.windows
    is_timed = after.service in dict(rollout.slow)
    criteria = judging.criteria(before, after, samples(windows), is_timed=is_timed)
    verdict = judging.verdict_by(criteria, policy)
    first = len(windows) if is_brief else 1
    seen = range(first, len(windows) + 1)
    course = [judging.known({name: pairs[:at] for name, pairs in criteria.items()}, policy) for at in seen]
    return Judgement(
        after.service,
        before.group,
        after.group,
        verdict.kind,
        verdict.reason,
        1 / policy.judge.alpha,
        1 / policy.judge.beta,
        tuple(
            _criterion(name, windows[first - 1 :], [one[name] for one in course], judging.standards(name, policy))
            for name in course[-1]
        ),
    )


def _criterion(name: str, windows: Sequence[Window], known: Sequence[Evidence], standards: Judge) -> Criterion:
    visible = visible_effect(known[-1].old, known[-1].new, standards.tolerated, standards.alpha)
    return Criterion(
        name,
        0.0 if math.isinf(visible) else round(visible, 3),
        tuple(_moment(window, one, standards) for window, one in zip(windows, known, strict=True)),
    )


def _moment(window: Window, known: Evidence, standards: Judge) -> Moment:
    return Moment(
        window.at,
        window.stage + 1,
        _rate(known.old, standards.alpha),
        _rate(known.new, standards.alpha),
        round(e_value(known.harm), 6),
        round(e_value(known.safe), 6),
    )


def _rate(sample: Sample, alpha: float) -> Rate:
    low, high = rate_interval(sample, alpha)
    return Rate(sample.requests, sample.failures, round(low, 6), round(high, 6))
