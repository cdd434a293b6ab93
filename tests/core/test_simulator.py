"""Whole lives of environments: with faults and without, with an operator and without, from many seeds."""

from __future__ import annotations

import os

import pytest

from anew.testing.scenes import NONE, ROUGH
from anew.testing.simulator import simulate

IS_COMPLETE = os.environ.get("ANEW_REQUIRE_ALL") == "1"
LIVES = 90 if IS_COMPLETE else 12  # of about five rollouts each; `script/prove simulator` lives thousands
START = int(os.environ.get("ANEW_SEED", "0"))
SEEDS = range(START, START + LIVES)


def test_good_releases_are_kept_and_bad_ones_taken_back() -> None:
    ends: dict[str, int] = {}
    for seed in SEEDS:
        report = simulate(seed, faults=NONE, may_act=False)
        assert not report.violations, seed
        for end, number in report.ends.items():
            ends[end] = ends.get(end, 0) + number
    assert ends["rollout done"] > LIVES
    assert ends["rollout rolled back"] > LIVES // 2


def test_an_operator_may_abort_promote_roll_back_and_up_at_any_time() -> None:
    ends: dict[str, int] = {}
    for seed in SEEDS:
        report = simulate(seed, faults=NONE)
        assert not report.violations, seed
        for end, number in report.ends.items():
            ends[end] = ends.get(end, 0) + number
    assert ends["rollback done"] > LIVES // 4


def test_faults_break_no_invariant_and_all_is_well_after_the_last() -> None:
    crashes = setbacks = 0
    for seed in SEEDS:
        report = simulate(seed, faults=ROUGH)
        assert not report.violations, seed
        crashes, setbacks = crashes + report.crashes, setbacks + report.setbacks
    assert crashes > LIVES
    assert setbacks > LIVES


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_gives_the_same_life(seed: int) -> None:
    assert simulate(seed, faults=ROUGH) == simulate(seed, faults=ROUGH)
