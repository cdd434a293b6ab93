"""What is slow: frozen before the first stage from the old group's answers, and judged like a failure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small import generation, going, member, world

from anew.core.judging import criteria, standards, verdict_by
from anew.core.slowness import LEAST, thresholds, timed
from anew.core.verdict import ERRORS, SLOWNESS
from anew.core.world import World
from anew.model import Judge, Member, Policy, Sample

USUAL = Judge(slow=0.95)
OLD, NEW = (Member("web", f"web-g{n}", 2, Policy(), (), (), "http") for n in (1, 2))


def preview(**judge: float) -> World:
    policy = Policy(judge=replace(USUAL, **judge))
    new = member("web-g2", policy=policy)
    return world(generation(1, member("web-g1")), generation(2, new), rollout=going("preview"))


def test_the_threshold_is_the_quantile_of_the_old_group() -> None:
    found = thresholds(preview(), {"web-g1": [(100, 950), (1_000, 50)], "web-g2": [(5, 1000)]})
    assert [service for service, _ in found] == ["web"]
    assert found[0][1] == pytest.approx(100, rel=0.01)


def test_too_few_answers_tell_no_threshold() -> None:
    assert thresholds(preview(), {"web-g1": [(100, LEAST - 1)]}) == ()
    assert thresholds(preview(), {}) == ()


def test_who_says_never_is_judged_by_no_time() -> None:
    assert timed(preview()) == ("web",)
    assert timed(preview(slow=0.0)) == timed(preview(slow=Judge().slow)) == ()
    assert thresholds(preview(slow=0.0), {"web-g1": [(100, 1000)]}) == ()


def judged(old: Sample, new: Sample, *, is_timed: bool = True) -> str:
    return verdict_by(
        criteria(OLD, NEW, {"web-g1": [old], "web-g2": [new]}, is_timed=is_timed), Policy(judge=USUAL)
    ).kind


def test_a_release_that_is_slow_more_often_fails() -> None:
    old, new = Sample(9000, 0, slow=450), Sample(1000, 0, slow=150)
    assert judged(old, new) == "fail"
    assert judged(old, new, is_timed=False) == "pass"


def test_a_release_that_is_as_slow_as_the_old_one_passes() -> None:
    assert judged(Sample(18_000, 0, slow=900), Sample(2000, 0, slow=100)) == "pass"


def test_a_time_in_which_both_are_faster_than_ever_is_no_doubt() -> None:
    assert judged(Sample(9000, 0), Sample(1500, 0)) == "pass"


def test_a_time_in_which_both_are_slow_is_not_held_against_the_new_one() -> None:
    assert judged(Sample(9000, 0, slow=5400), Sample(1000, 0, slow=600)) == "pass"


def test_what_is_acceptable_goes_with_the_criterion() -> None:
    assert standards(SLOWNESS, Policy(judge=USUAL)).acceptable == pytest.approx(0.05)
    assert standards(ERRORS, Policy(judge=USUAL)) == USUAL
