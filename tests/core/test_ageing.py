"""How old heads are, and which environments still take them."""

from __future__ import annotations

import doctest

import pytest

from anew.core import ageing
from anew.core.ageing import Aged, aged, exceeded, sentence
from anew.core.spec.parse import parse
from anew.model import HeadTime, OsAge

DAY = 86400.0
SPEC = """
project: shop
os: {base: {debian: bookworm}}
services: {web: {os: base, command: [/x]}}
%s
environments: {local: {}, other: {max_os_age: %s}}
"""


def test_the_examples_in_docstrings_are_true() -> None:
    assert doctest.testmod(ageing).failed == 0


def test_heads_are_told_once_each_oldest_first() -> None:
    base, other = HeadTime("base", 10 * DAY), HeadTime("other", 5 * DAY)
    times = [("web", base), ("api", base), ("cache", other), ("own", HeadTime())]
    assert aged(times, 0.0, 20 * DAY) == (
        Aged("other", 15 * DAY, ("cache",)),
        Aged("base", 10 * DAY, ("api", "web")),
    )


def test_a_head_of_which_nobody_knows_when_is_as_old_as_its_release_at_least() -> None:
    times = [("web", HeadTime("base", 0.0))]
    (one,) = aged(times, 5 * DAY, 20 * DAY)
    assert one == Aged("base", 15 * DAY, ("web",), is_at_least=True)
    assert sentence(one, 10 * DAY) == "the head base (web) is at least 15 days old, more than 10 days"
    assert aged(times, 0.0, 20 * DAY) == ()


def test_a_clock_that_went_back_makes_nothing_old() -> None:
    (one,) = aged([("web", HeadTime("base", 9 * DAY))], 0.0, DAY)
    assert one.age == 0.0


@pytest.mark.parametrize(
    ("age", "bound", "kind"),
    [
        (30 * DAY, OsAge(30 * DAY), ""),
        (30 * DAY + 1, OsAge(30 * DAY), "warn"),
        (30 * DAY, OsAge(refuse=20 * DAY), "refuse"),
        (30 * DAY, OsAge(10 * DAY, 40 * DAY), "warn"),
        (9999 * DAY, OsAge(), ""),
    ],
)
def test_a_bound_is_exceeded_by_what_is_above_it(age: float, bound: OsAge, kind: str) -> None:
    assert exceeded(age, bound)[0] == kind


def test_what_an_environment_says_is_said_instead_of_the_project() -> None:
    spec = parse(SPEC % ("max_os_age: {warn: 20d, refuse: 40d}", "10d"))
    assert [one.max_os_age for one in spec.environments] == [OsAge(20 * DAY, 40 * DAY), OsAge(10 * DAY)]
    spec = parse(SPEC % ("", "{refuse: 36h}"))
    assert [one.max_os_age for one in spec.environments] == [OsAge(), OsAge(refuse=1.5 * DAY)]
