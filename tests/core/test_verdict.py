from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anew.core.evidence import Pair, gathered, total
from anew.core.intervals import rate_interval, visible_effect
from anew.core.judging import pairs, verdict
from anew.core.odds import log_total
from anew.core.verdict import BREAKER_REQUESTS, ERRORS, HOPELESS, PLENTY, SLOWNESS, has_tripped, judge
from anew.model import Judge, Sample

GOOD = Sample(1000, 0)
USUAL = Judge()
small = st.integers(0, 40)


def kind(old: Sample, new: Sample) -> str:
    return judge({ERRORS: gathered([(old, new)], USUAL)}, USUAL).kind


# ------------------------------------------------------------ the law


def exact(new: int, old: int, bad: int, ratio: float) -> Fraction:
    terms = range(max(0, bad - old), min(bad, new) + 1)
    return sum((math.comb(new, j) * math.comb(old, bad - j) * Fraction(ratio) ** j for j in terms), Fraction(0))


@given(small, small, st.data(), st.sampled_from([1.0, 1.2, 2.0, 3.6, 36.0]))
def test_the_sum_over_the_law_is_exact(new: int, old: int, data: st.DataObject, ratio: float) -> None:
    bad = data.draw(st.integers(0, new + old))
    assert math.exp(log_total(new, old, bad, ratio)) == pytest.approx(float(exact(new, old, bad, ratio)), rel=1e-9)


@pytest.mark.parametrize("ratio", [1.2, 2.4, 36.0])
def test_the_sum_over_the_law_holds_for_ten_million_requests(ratio: float) -> None:
    """Doubling all counts moves the mean share of the new group's bad events nowhere, and that is the derivative."""
    step = 1e-4

    def share(size: int) -> float:
        counts = (size, 9 * size, size // 10)
        slope = (log_total(*counts, ratio * (1 + step)) - log_total(*counts, ratio)) / math.log1p(step)
        return slope / counts[2]

    assert share(10**6) == pytest.approx(share(10**5), rel=1e-3)


@given(st.integers(1, 12), st.integers(1, 12), st.data(), st.sampled_from([1.0, 1.2]))
def test_harm_is_not_expected_to_grow_where_there_is_none(
    new: int, old: int, data: st.DataObject, ratio: float
) -> None:
    """The mean over all that can happen at a tolerated ratio of odds is at most 1: what Ville's inequality needs."""
    bad = data.draw(st.integers(0, new + old))
    weights = {
        j: math.comb(new, j) * math.comb(old, bad - j) * ratio**j for j in range(max(0, bad - old), min(bad, new) + 1)
    }
    mean = sum(
        weight * math.exp(gathered([(Sample(old, bad - j), Sample(new, j))], USUAL).harm)
        for j, weight in weights.items()
    ) / sum(weights.values())
    assert mean <= 1 + 1e-9


@given(st.integers(1, 10), st.integers(1, 10), st.sampled_from([0.005, 0.05, 0.3]), st.sampled_from([2.0, 5.0]))
def test_safety_is_not_expected_to_grow_where_there_is_none(new: int, old: int, rate: float, ratio: float) -> None:
    odds = ratio * rate / (1 - rate)
    worse = odds / (1 + odds)

    def chance(requests: int, failures: int, share: float) -> float:
        return math.comb(requests, failures) * share**failures * (1 - share) ** (requests - failures)

    mean = sum(
        chance(old, x, rate)
        * chance(new, y, worse)
        * math.exp(gathered([(Sample(old, x), Sample(new, y))], USUAL).safe)
        for x, y in product(range(old + 1), range(new + 1))
    )
    assert mean <= 1 + 1e-9


def test_a_large_window_is_judged_without_overflow() -> None:
    found = gathered([(Sample(9_000_000, 450_000), Sample(1_000_000, 50_000))], USUAL)
    assert found.harm < 0 < found.safe


# ------------------------------------------------------------ the verdict


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (GOOD, Sample(0, 0), "undecided"),
        (GOOD, Sample(1, 1), "undecided"),  # one failure is none
        (GOOD, Sample(50, 0), "undecided"),  # nor are fifty good ones enough to be sure
        (GOOD, PLENTY, "pass"),
        (GOOD, Sample(100, 2), "undecided"),
        (GOOD, Sample(100, 8), "fail"),
        (GOOD, Sample(HOPELESS, HOPELESS), "fail"),
        (GOOD, Sample(HOPELESS, HOPELESS - 1), "fail"),
        (Sample(1000, 500), Sample(1000, 510), "pass"),  # an outage of both is not the new one's fault
        (Sample(1000, 500), Sample(1000, 700), "fail"),
        (Sample(1000, 1000), Sample(HOPELESS, HOPELESS), "undecided"),
        (Sample(1000, 1000), Sample(1000, 1000), "undecided"),  # nobody is answered: there is nothing to tell apart
        (Sample(0, 0), Sample(1000, 0), "pass"),
        (Sample(0, 0), Sample(1000, 1000), "fail"),
        (Sample(0, 0), Sample(1000, 30), "undecided"),  # there is nothing to compare with
        (Sample(100_000, 100), Sample(10_000, 100), "fail"),
        (Sample(100_000, 1000), Sample(10_000, 110), "pass"),
    ],
)
def test_edges_of_the_verdict(old: Sample, new: Sample, expected: str) -> None:
    found = judge({ERRORS: gathered([(old, new)], USUAL)}, USUAL)
    assert found.kind == expected
    assert found.reason
    assert found.evidence["errors new requests"] == new.requests


def test_no_evidence_is_undecided() -> None:
    assert verdict([], [], USUAL).kind == "undecided"
    assert judge({}, USUAL).kind == "undecided"


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=20))
def test_silence_is_neither_a_pass_nor_a_failure(windows: list[tuple[int, int]]) -> None:
    old = [Sample(good + bad, bad) for good, bad in windows]
    assert verdict(old, [], USUAL).kind == "undecided"
    assert verdict(old, [Sample(0, 0)] * len(old), USUAL).kind == "undecided"


def test_a_rush_between_windows_is_not_held_against_the_new_group() -> None:
    """Added up, the new group fails in 5.5 %, the old one in 1.9 %: it had its traffic in the bad hour."""
    windows = [(Sample(9000, 90), Sample(100, 1)), (Sample(1000, 100), Sample(1000, 100))]
    assert judge({ERRORS: gathered(windows, USUAL)}, USUAL).kind != "fail"
    added = gathered([(Sample(10_000, 190), Sample(1100, 101))], USUAL)
    assert judge({ERRORS: added}, USUAL).kind == "fail"


@given(st.lists(st.tuples(small, small, small, small), max_size=8))
def test_the_order_of_windows_does_not_matter(counts: list[tuple[int, ...]]) -> None:
    windows: list[Pair] = [(Sample(a + b, b), Sample(c + d, d)) for a, b, c, d in counts]
    shuffled = sorted(windows, key=repr)
    assert gathered(windows, USUAL).harm == pytest.approx(gathered(shuffled, USUAL).harm)


@given(st.integers(100, 5000), st.integers(0, 200), st.integers(100, 2000), st.integers(0, 90), st.integers(1, 50))
@example(1000, 0, 100, 7, 1)
def test_more_failures_are_more_harm_and_less_safety(old: int, bad: int, new: int, failures: int, more: int) -> None:
    before = gathered([(Sample(old, min(bad, old)), Sample(new, failures))], USUAL)
    after = gathered([(Sample(old, min(bad, old)), Sample(new, min(new, failures + more)))], USUAL)
    assert after.harm >= before.harm - 1e-6
    assert after.safe <= before.safe + 1e-6


def test_several_criteria_share_one_alpha() -> None:
    """What one criterion alone would just call harm is half as much beside one that says nothing."""
    bad = gathered([(GOOD, Sample(100, 6))], USUAL)
    alpha = 1.01 * math.exp(-bad.harm)
    quiet = gathered([], USUAL)
    strict = replace(USUAL, alpha=alpha)
    assert judge({ERRORS: bad}, strict).kind == "fail"
    assert judge({ERRORS: bad, SLOWNESS: quiet}, strict).kind == "undecided"


def test_each_criterion_has_to_be_safe() -> None:
    safe, unknown = gathered([(GOOD, PLENTY)], USUAL), gathered([(GOOD, Sample(50, 0))], USUAL)
    assert judge({ERRORS: safe, SLOWNESS: safe}, USUAL).kind == "pass"
    assert judge({ERRORS: safe, SLOWNESS: unknown}, USUAL).kind == "undecided"


def test_the_worst_criterion_is_named() -> None:
    slow = gathered([(Sample(1000, 50), Sample(500, 200))], USUAL)
    found = judge({ERRORS: gathered([(GOOD, Sample(500, 0))], USUAL), SLOWNESS: slow}, USUAL)
    assert found.kind == "fail"
    assert found.reason.startswith("40 % of 500 requests were slow, against 5 % of 1000 before")


@pytest.mark.parametrize("bad", [Sample(1, 2), Sample(-1, -1), Sample(5, -1)])
def test_a_count_that_is_none_is_refused(bad: Sample) -> None:
    with pytest.raises(ValueError, match="is no count"):
        gathered([(GOOD, bad)], USUAL)


def test_a_group_that_is_not_told_of_did_nothing() -> None:
    assert pairs([GOOD], []) == ((GOOD, Sample(0, 0)),)
    assert total([Sample(1, 1), Sample(2, 0)]) == Sample(3, 1)


@pytest.mark.parametrize(
    ("recent", "expected"),
    [
        (Sample(BREAKER_REQUESTS - 1, BREAKER_REQUESTS - 1), False),
        (Sample(BREAKER_REQUESTS, BREAKER_REQUESTS // 2), True),
        (Sample(BREAKER_REQUESTS, BREAKER_REQUESTS // 2 - 1), False),
        (Sample(0, 0), False),
    ],
)
def test_the_breaker(recent: Sample, *, expected: bool) -> None:
    assert has_tripped(recent) is expected


# ------------------------------------------------------------ intervals


@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([0.01, 0.05]))
def test_an_interval_contains_the_rate_that_was_seen(requests: int, share: float, alpha: float) -> None:
    sample = Sample(requests, round(requests * share))
    low, high = rate_interval(sample, alpha)
    assert 0 <= low <= (sample.failures / requests if requests else 0.5) <= high <= 1


def test_intervals_shrink_as_requests_come() -> None:
    widths = [high - low for n in (10, 100, 1000, 10_000) for low, high in [rate_interval(Sample(n, n // 10), 0.01)]]
    assert widths == sorted(widths, reverse=True)
    assert rate_interval(Sample(0, 0), 0.01) == (0.0, 1.0)


def test_the_effect_that_could_be_seen_is_one_that_is_called_harm() -> None:
    old = Sample(90_000, 900)
    effect = visible_effect(old, Sample(10_000, 0), USUAL.tolerated, USUAL.alpha)
    assert 1.2 < effect < 2
    odds = effect * 900 / 89_100
    as_bad = Sample(10_000, math.ceil(10_000 * odds / (1 + odds)) + 3)
    assert kind(old, as_bad) == "fail"
    assert kind(old, Sample(10_000, round(as_bad.failures * 0.8))) != "fail"


def test_without_traffic_no_effect_could_be_seen() -> None:
    assert visible_effect(GOOD, Sample(0, 0), 1.2, 0.01) == math.inf
    assert visible_effect(GOOD, Sample(1, 0), 1.2, 0.01) == math.inf
