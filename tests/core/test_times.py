from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anew.core.times import MOST, buckets, highest, quantile

TIMES = st.lists(st.one_of(st.integers(0, 300), st.integers(0, MOST - 1)), min_size=1, max_size=60)


@given(TIMES, st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0])))
def test_a_quantile_is_right_within_one_percent(times: list[int], q: float) -> None:
    found = quantile(sorted(Counter(map(highest, times)).items()), q)
    exact = sorted(times)[max(0, math.ceil(q * len(times)) - 1)]
    assert abs(found - exact) <= exact / 100


def test_the_buckets_are_all_times_once() -> None:
    following = 0
    for lowest, more in buckets():
        assert lowest == following
        assert {highest(one) for one in (lowest, lowest + more // 2, lowest + more)} == {lowest + more}
        following = lowest + more + 1
    assert following == MOST


def test_there_is_no_quantile_of_nothing() -> None:
    for times, q in (((), 0.5), (((10, 0),), 0.5), (((10, 1),), 1.5)):
        with pytest.raises(ValueError, match="quantile"):
            quantile(times, q)
