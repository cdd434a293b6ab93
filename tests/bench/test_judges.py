from __future__ import annotations

import math
from random import Random

import pytest
from figures.canaries import HORIZON, Scene, in_turn, seconds
from figures.chance import binomial, binomial_table, poisson
from figures.follow import followed, joined, judged
from figures.judges import FAILED_TICKS, argo, flagger, is_high, kayenta, root, standardised
from figures.shares import interval, percentile

from anew.model import Judge

CONTROL = [float(n) for n in range(1, 11)]


def test_an_interval_of_the_shift_is_that_of_r() -> None:
    """`wilcox.test(c(10, 20, 30, 40), 1:4, conf.int=TRUE, exact=FALSE)` says 6 to 39, around 22.5."""
    experiment, control = [10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]
    ends = [root(experiment, control, quantile) for quantile in (1.959964, 0.0, -1.959964)]
    assert ends == pytest.approx([6, 22.5, 39], abs=1e-3)


def test_ties_make_the_statistic_larger_than_it_would_be() -> None:
    """`wilcox.test(c(2, 2, 3, 3), c(1, 2, 2, 2))`: 14 of 16, and three ties of 5, 1 and 2."""
    variance = 16 / 12 * (9 - (5**3 - 5 + 2**3 - 2) / (8 * 7))
    assert standardised([2, 2, 3, 3], [1, 2, 2, 2]) == pytest.approx((13 - 8 - 0.5) / math.sqrt(variance))
    assert standardised([1, 1], [1, 1]) == 0


def test_kayenta_passes_a_burst_that_it_says_is_large() -> None:
    """Seven of ten points a hundred times as high: its margin is a part of the very shift that it found."""
    experiment = [one * 100 if at < 7 else one for at, one in enumerate(CONTROL)]
    assert root(experiment, CONTROL, 2.326) > 0
    assert not is_high(experiment, CONTROL)
    assert is_high([one + 20 for one in CONTROL], CONTROL)
    assert not is_high(CONTROL, [one + 20 for one in CONTROL])


def test_kayenta_flags_points_of_one_law_hardly_ever() -> None:
    random = Random(1)
    flagged = sum(
        is_high([random.gauss(0, 1) for _ in range(60)], [random.gauss(0, 1) for _ in range(60)]) for _ in range(1500)
    )
    assert flagged <= 12  # one look; more than 0.8 % would be six times what was measured


def test_kayenta_ends_at_the_first_bad_look_and_without_data() -> None:
    worse = [one + 20 for one in CONTROL]
    assert kayenta([*CONTROL, *worse, *worse], CONTROL * 3, 10) == 30
    assert kayenta(worse, CONTROL, 5) == 5
    assert kayenta(CONTROL, CONTROL, 5) is None
    assert kayenta([None] * 10, CONTROL, 5) == 5
    assert kayenta([3.0] * 10, [2.0] * 10, 5) == 5  # constants, with noise


def test_flagger_counts_failed_ticks_and_silence() -> None:
    good, bad = 99.5, 98.0
    assert flagger([bad, good] * 4 + [bad], lambda rate: rate >= 99) == 9
    assert flagger([bad] * (FAILED_TICKS - 1) + [good] * 50, lambda rate: rate >= 99) is None
    assert flagger([None] * 6, lambda rate: rate >= 99) == FAILED_TICKS


def test_argo_forgives_some_failures_and_more_errors() -> None:
    assert argo([0.0, 1.0] * 4, bool) == 7
    assert argo([0.0] * 3 + [1.0] * 7, bool) is None
    assert argo([None] * 4 + [1.0] + [None] * 4, bool) is None
    assert argo([None] * 5, bool) == 5


@pytest.mark.parametrize(("among", "share"), [(1, 0.5), (10, 0.01), (900, 0.01), (10_000, 0.3)])
def test_counts_that_are_drawn_have_their_mean_and_variance(among: int, share: float) -> None:
    random, draws = Random(2), 20_000
    drawn = [binomial(random, among, share) for _ in range(draws)]
    mean, variance = among * share, among * share * (1 - share)
    assert sum(drawn) / draws == pytest.approx(mean, abs=4 * math.sqrt(variance / draws))
    assert sum((one - mean) ** 2 for one in drawn) / draws == pytest.approx(variance, rel=0.1)


def test_the_tails_of_a_law_are_exact() -> None:
    least, table = binomial_table(40, 0.1)
    exact = sum(math.comb(40, k) * 0.1**k * 0.9 ** (40 - k) for k in range(13))
    assert table[12 - least] == pytest.approx(exact, rel=1e-12)
    assert binomial_table(0, 0.1) == (0, [1.0])


def test_events_that_are_drawn_have_their_mean() -> None:
    random = Random(3)
    assert sum(poisson(random, 0.5) for _ in range(20_000)) / 20_000 == pytest.approx(0.5, abs=0.02)
    assert sum(poisson(random, 90.0) for _ in range(20_000)) / 20_000 == pytest.approx(90, abs=0.3)


def test_requests_are_dealt_out_by_weight() -> None:
    dealt = in_turn(100, (0.01, 0.5))
    assert {new for stage, _, new in dealt if stage == 0} == {1}
    assert sum(new for _, _, new in dealt) == pytest.approx(HORIZON / 2 * 51, abs=1)
    assert {old + new for _, old, new in dealt} == {100}


@pytest.mark.parametrize(
    "scene",
    [
        Scene(100, 0.01, (0.01, 0.5), is_drifting=True),
        Scene(5, 0.01, times=20),
        Scene(100, 0.05, times=1.5, is_drifting=True),
        Scene(20, 0.05, lasts=0.5),
    ],
)
def test_sums_say_what_all_windows_say(scene: Scene) -> None:
    made = seconds(scene, Random(4))[:260]
    assert judged(made, Judge()) == followed(made, Judge())


def test_windows_are_joined_within_a_stage() -> None:
    one = (0, 1, 0, 1, 0)
    assert joined([one] * 3) == [(0, 2, 0, 2, 0), one]


def test_the_interval_of_a_share_is_exact() -> None:
    assert interval(0, 300, 0.99)[0] == 0
    assert interval(0, 300, 0.99)[1] == pytest.approx(1 - 0.005 ** (1 / 300), rel=1e-6)
    low, high = interval(50, 100, 0.95)
    assert (low, high) == pytest.approx((0.3983, 0.6017), abs=1e-4)


def test_who_never_gets_there_is_later_than_all() -> None:
    assert percentile([1.0, None, 2.0, None], 0.5) == 2
    assert percentile([1.0, None, None, None], 0.5) is None
