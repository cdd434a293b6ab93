"""How the groups of a rollout compare, made from the windows that were committed with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from anew.core import judging, traffic
from anew.core.evidence import course
from anew.core.intervals import rate_interval, visible_effect
from anew.core.verdict import e_value
from anew.shell.evidence import NOTHING, samples
from anew.views import Criterion, Judgement, Moment, Rate

if TYPE_CHECKING:
    from anew.core.evidence import Evidence, Pair
    from anew.model import Generation, Judge, Member, Rollout, Sample, Window
    from anew.views import Event


def judgements(rollout: Rollout, generations: Mapping[int, Generation], *, last: int = 0) -> tuple[Judgement, ...]:
    """Return how each judged service of a rollout compares; of each course only the `last` moments, 0: all."""
    windows = rollout.windows
    found = compared(rollout, generations) if windows else ()
    return tuple(_judgement(before, after, rollout, last) for before, after in found)


def compared(rollout: Rollout, generations: Mapping[int, Generation]) -> tuple[tuple[Member, Member], ...]:
    """Return the old and the new member of each service that is judged by its requests, sorted by service."""
    old, new = ({m.service: m for m in generations[n].members} if n else {} for n in (rollout.old, rollout.new))
    return tuple((old[s], new[s]) for s in traffic.judged(old, new) if new[s].kind in traffic.LISTENING)


def rollout_ids(events: Iterable[Event], generation: str) -> tuple[int, ...]:
    """Return the numbers of the rollouts to a generation ("g3"), newest first."""
    mine = (e.facts.get("rollout", "") for e in events if e.facts.get("generation") == generation)
    return tuple(sorted({int(number) for number in mine if number}, reverse=True))


def _judgement(before: Member, after: Member, rollout: Rollout, last: int) -> Judgement:
    standards, windows = after.policy.judge, rollout.windows
    is_timed = after.service in dict(rollout.slow)
    criteria = judging.criteria(before, after, samples(windows), is_timed=is_timed)
    verdict = judging.verdict_by(criteria, after.policy)
    return Judgement(
        after.service,
        before.group,
        after.group,
        verdict.kind,
        verdict.reason,
        1 / standards.alpha,
        1 / standards.beta,
        tuple(
            _criterion(name, pairs, windows, judging.standards(name, after.policy), last)
            for name, pairs in criteria.items()
        ),
    )


def _criterion(name: str, pairs: Sequence[Pair], windows: Sequence[Window], standards: Judge, last: int) -> Criterion:
    silent = [(NOTHING, NOTHING)] * (len(windows) - len(pairs))  # nobody has counted anything
    known = course((*pairs, *silent), standards)
    visible = visible_effect(known[-1].old, known[-1].new, standards.tolerated, standards.alpha)
    moments = zip(windows[-last:], known[-last:], strict=True)
    return Criterion(
        name,
        0.0 if math.isinf(visible) else round(visible, 3),
        tuple(_moment(window, one, standards) for window, one in moments),
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
