"""What is said before a rollout about its traffic: true in simulated stages."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from anew.core.forecast import forecast, sentence
from anew.core.judging import verdict
from anew.model import FULL, Policy, Probe, Sample

USUAL = Policy()
STAGES = [(weight, FULL - weight) for weight in USUAL.stages]


def passes(rate: float, failing: float, *, seed: int) -> bool:
    """Say whether a release that is as good as the old one passes with the evidence of all stages."""
    draw = random.Random(seed)

    def some(requests: float) -> Sample:
        return Sample(round(requests), sum(draw.random() < failing for _ in range(round(requests))))

    stages = [weight / FULL for weight in USUAL.stages]
    old = [some(rate * USUAL.at_most * (1 - share)) for share in stages]
    new = [some(rate * USUAL.at_most * share) for share in stages]
    return verdict(old, new, USUAL.judge).kind == "pass"


@pytest.mark.parametrize(("rate", "failing"), [(5.0, 0.0), (60.0, 0.0), (3.0, 0.01), (150.0, 0.01), (3.0, 0.05)])
def test_what_is_forecast_is_what_mostly_happens(rate: float, failing: float) -> None:
    found = forecast(USUAL, STAGES, rate, failing)
    assert sum(passes(rate, failing, seed=seed) for seed in range(20)) * 2 >= 20 * found.is_decided
    assert found.is_decided or sum(passes(rate, failing, seed=seed) for seed in range(20)) * 2 <= 20


def test_no_traffic_decides_nothing() -> None:
    found = forecast(USUAL, STAGES, 0.0, 0.0)
    assert not found.is_decided
    assert found.visible == 1.0
    assert "no requests of late" in sentence("web", USUAL, 0.0, found)
    assert not forecast(USUAL, (), 100.0, 0.0).is_decided


def test_more_traffic_sees_smaller_failure_rates() -> None:
    seen = [forecast(USUAL, STAGES, rate, 0.01).visible for rate in (1.0, 10.0, 100.0, 1000.0)]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 0.02


def test_enough_traffic_needs_no_words() -> None:
    assert not sentence("web", USUAL, 1000.0, forecast(USUAL, STAGES, 1000.0, 0.001))


def test_probes_make_up_for_missing_traffic() -> None:
    assert forecast(replace(USUAL, probes=(Probe("/", 0.1),)), STAGES, 0.0, 0.0).is_decided
    assert not forecast(replace(USUAL, probes=(Probe("/", 10.0),)), STAGES, 0.0, 0.0).is_decided


def test_without_an_acceptable_share_only_failures_tell() -> None:
    policy = replace(USUAL, judge=replace(USUAL.judge, acceptable=0.0))
    assert not forecast(policy, STAGES, 1000.0, 0.0).is_decided
    assert forecast(policy, STAGES, 1000.0, 0.01).is_decided


def test_beside_a_small_baseline_less_is_seen() -> None:
    beside = forecast(USUAL, [(weight, weight) for weight in USUAL.stages], 100.0, 0.01)
    usual = forecast(USUAL, STAGES, 100.0, 0.01)
    assert beside.requests == usual.requests
    assert beside.visible > usual.visible
