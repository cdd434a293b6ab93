from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anew.core.verdict import BREAKER_REQUESTS, ENOUGH, HOPELESS, has_tripped, judge, total
from anew.model import Sample

GOOD = Sample(1000, 0)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (GOOD, Sample(0, 0), "undecided"),
        (GOOD, Sample(ENOUGH - 1, 0), "undecided"),
        (GOOD, Sample(ENOUGH, 0), "pass"),
        (GOOD, Sample(ENOUGH, 1), "pass"),  # exactly the margin is no excess
        (GOOD, Sample(ENOUGH, 2), "fail"),
        (GOOD, Sample(HOPELESS - 1, HOPELESS - 1), "undecided"),
        (GOOD, Sample(HOPELESS, HOPELESS), "fail"),
        (GOOD, Sample(HOPELESS, HOPELESS - 1), "undecided"),
        (Sample(1000, 500), Sample(1000, 510), "pass"),  # an outage of both is not the new one's fault
        (Sample(1000, 500), Sample(1000, 600), "fail"),
        (Sample(1000, 1000), Sample(HOPELESS, HOPELESS), "undecided"),
        (Sample(1000, 1000), Sample(1000, 1000), "pass"),
        (Sample(0, 0), Sample(1000, 0), "pass"),
        (Sample(0, 0), Sample(1000, 1000), "fail"),
    ],
)
def test_edges_of_the_verdict(old: Sample, new: Sample, kind: str) -> None:
    verdict = judge([old], [new])
    assert verdict.kind == kind
    assert verdict.reason
    assert verdict.evidence["new_requests"] == new.requests


def test_no_evidence_is_undecided() -> None:
    assert judge([], []).kind == "undecided"


def test_windows_add_up() -> None:
    assert judge([Sample(500, 0)] * 2, [Sample(25, 0)] * 2).kind == "pass"
    assert total([Sample(1, 1), Sample(2, 0)]) == Sample(3, 1)


@pytest.mark.parametrize("bad", [Sample(1, 2), Sample(-1, -1), Sample(5, -1)])
def test_a_count_that_is_none_is_refused(bad: Sample) -> None:
    with pytest.raises(ValueError, match="is no count"):
        judge([GOOD], [bad])


def test_unequal_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="must be the same"):
        judge([GOOD, GOOD], [GOOD])


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


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 100))
def test_more_failures_never_turn_a_fail_into_a_pass(requests: int, failures: int, more: int) -> None:
    failures = min(failures, requests)
    before = judge([GOOD], [Sample(requests, failures)]).kind
    after = judge([GOOD], [Sample(requests, min(requests, failures + more))]).kind
    assert not (before == "fail" and after == "pass")
