"""Schedules: what the spec accepts, the library that runs them accepts too, and what that accepts is only refused where
people mean something else."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from anew.core.spec.cron import schedule

SPANS = (59, 23, 30, 11, 7)  # from the first to the last value of each field
VALUES = st.one_of(
    st.integers(0, 61).map(str),
    st.sampled_from(["00", "07", "sun", "SAT", "Fri", "jan", "DEC", "foo", "", "-1", "1.5", "999", "٣"]),
)
RANGES = st.one_of(st.just("*"), VALUES, st.tuples(VALUES, VALUES).map("-".join))
STEPS = st.one_of(st.integers(0, 70).map(str), st.sampled_from(["", "2/2", "*", "-1"]))
TERMS = st.one_of(RANGES, st.tuples(RANGES, STEPS).map("/".join))
ENTRIES = st.lists(TERMS, min_size=1, max_size=3).map(",".join)
MOSTLY_STARS = st.one_of(st.just("*"), ENTRIES)
START = datetime(2024, 1, 1, tzinfo=UTC)


def is_accepted(text: str) -> bool:
    try:
        schedule(text)
    except PydanticCustomError:
        return False
    return True


def is_run(text: str) -> bool:
    try:
        CronSim(text, START)
    except CronSimError:
        return False
    return True


def has_long_step(text: str) -> bool:
    return any(
        int(step) > most
        for part, most in zip(text.split(), SPANS, strict=False)
        for step in re.findall(r"/([0-9]+)", part)
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(MOSTLY_STARS, min_size=5, max_size=5).map(" ".join))
@example("* * 30 2 *")
@example("* * 30 2 mon")
@example("* * 30 2 */2")
@example("* * 31 4,6,9,11 *")
@example("* * 31 4/3 *")
@example("* * */2 2 *")
@example("0 0 29 feb *")
@example("*/60 * * * *")
@example("5/15 * * * 0-7")
@example("* * * * 1,")
def test_what_is_accepted_is_what_can_be_run_but_for_steps_that_leave_their_field(text: str) -> None:
    if len(text.split()) == 5:
        assert is_accepted(text) == (is_run(text) and not has_long_step(text))


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(*(st.tuples(st.integers(0, most), st.integers(0, most), st.integers(1, most)) for most in SPANS)),
    st.lists(st.sampled_from(["{0}", "{0}-{1}", "{0}-{1}/{2}", "*/{2}", "{0}/{2}", "{0},{1}", "*"]), min_size=5),
)
def test_every_right_form_is_accepted_and_comes_to_a_next_run(
    numbers: tuple[tuple[int, int, int], ...], forms: list[str]
) -> None:
    firsts = (0, 0, 1, 1, 0)
    text = " ".join(
        form.format(min(a, b) + first, max(a, b) + first, step)
        for form, (a, b, step), first in zip(forms, numbers, firsts, strict=False)
    )
    assert is_accepted(text) == is_run(text)
    if is_accepted(text):
        assert next(CronSim(schedule(text), START)) > START


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=20), st.text(alphabet="0123456789*/-,LW# \t\nadefjmnost@?", max_size=25)))
@example("0 3 * * \u017fun")  # an old letter s, which some take for the new one
@example("0 3 L * *")
@example("0 3 * * mon#1")
@example("0 3 1W * *")
@example("30 0 3 * * *")
@example("@daily")
def test_nothing_is_accepted_that_can_not_be_run(text: str) -> None:
    assert is_run(text) or not is_accepted(text)


@pytest.mark.parametrize("text", ["0 3 L * *", "0 3 * * 5L", "0 3 * * mon#1", "0 0 3 * * *", "@daily", "*/90 * * * *"])
def test_what_only_some_crons_know_is_refused(text: str) -> None:
    assert not is_accepted(text)


def test_blanks_make_no_difference() -> None:
    assert schedule("  0\t3  * *   MON-fri ") == "0 3 * * MON-fri"
