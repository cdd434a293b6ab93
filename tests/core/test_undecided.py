"""A stage whose time is over and whose verdict is undecided: what becomes of it, and that no wait is without an end."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from small import generation, going, member, world

from anew.core.decide import decide
from anew.core.progress import Happening, look
from anew.core.steps import Enter
from anew.core.undecided import ANSWER, TIMES, chosen, settled
from anew.core.verdict import PLENTY
from anew.core.world import World
from anew.model import Environment, OnUndecided, Policy, Sample
from anew.testing.worlds import NOW

AT_MOST = 60.0
LITTLE = Sample(3, 0)  # no evidence for a verdict
WAYS: tuple[OnUndecided, ...] = get_args(OnUndecided)
OVER = NOW + AT_MOST
ENDS: dict[OnUndecided, float] = {  # when a stage of NOW is taken back for want of evidence
    "extend": NOW + TIMES * AT_MOST,
    "rollback": OVER,
    "ask": OVER + ANSWER,
}


def staged(way: OnUndecided, other: OnUndecided | None = None, *, new: Sample = LITTLE) -> World:
    """Return a world in a first stage: of `web`, and where `other` is said of `api` too. `new` came to new groups."""
    ways = {"web": way} | ({"api": other} if other else {})
    policies = {s: Policy((100, 500), at_most=AT_MOST, on_undecided=one) for s, one in ways.items()}
    generations = [
        generation(n, *(member(f"{s}-g{n}", policy=policies[s]) for s in ways), outcome=outcome)
        for n, outcome in ((1, "promoted"), (2, ""))
    ]
    groups = [f"{service}-g{number}" for service in ways for number in (1, 2)]
    return world(
        *generations,
        rollout=going("stage"),
        running=dict.fromkeys(groups, 1),
        weights={s: {f"{s}-g1": 900, f"{s}-g2": 100} for s in ways},
        samples={name: (new if name.endswith("-g2") else Sample(1000, 0),) for name in groups},
    )


def at(now: float, one: World) -> Happening:
    assert one.rollout is not None
    return look(replace(one, now=now), one.rollout)


@pytest.mark.parametrize("way", WAYS)
def test_until_its_time_is_over_every_stage_waits(way: OnUndecided) -> None:
    found = at(OVER - 1.0, staged(way))
    assert (found.event, found.until) == (None, OVER)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("now", [NOW + 11.0, OVER, OVER + 30.0])
def test_a_verdict_that_passes_goes_on_and_one_that_fails_goes_back(way: OnUndecided, now: float) -> None:
    assert at(now, staged(way, new=PLENTY)).event == "passed"
    assert at(now, staged(way, new=Sample(100, 50))).event == "failed"


def test_what_is_undecided_and_healthy_is_promoted_to_the_next_stage() -> None:
    found = at(OVER, staged("promote"))
    assert (found.event, "it is healthy" in found.reason) == ("passed", True)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "promote"])
def test_what_waits_goes_back_in_the_end(way: OnUndecided) -> None:
    one = staged(way)
    if way != "rollback":
        found = at(OVER, one)
        assert (found.event, found.until) == (None, ENDS[way])
        assert at(ENDS[way] - 0.1, one).event is None
    steps = decide(replace(one, now=ENDS[way])).steps
    assert [step.phase for step in steps if isinstance(step, Enter)] == ["rolling back"]


def test_who_is_asked_is_told_both_commands() -> None:
    reason = at(OVER, staged("ask")).reason
    assert "`anew promote -e local`" in reason
    assert "`anew rollback -e local`" in reason
    assert "goes back after 24 h" in reason


@pytest.mark.parametrize(("asked", "phase"), [("promote", "full"), ("abort", "rolling back")])
def test_an_answer_ends_the_wait(asked: str, phase: str) -> None:
    one = staged("ask")
    steps = decide(replace(one, now=OVER + 3600.0, rollout=replace(going("stage"), asked=asked))).steps  # type: ignore[arg-type]
    assert [step.phase for step in steps if isinstance(step, Enter)] == [phase]


def test_an_extension_says_how_long_it_may_last() -> None:
    reason = at(OVER, staged("extend")).reason
    assert "waits for more evidence, 600 s in all at most" in reason
    assert "web-g2: 0 % of 3 requests failed" in reason


@pytest.mark.parametrize("other", WAYS)
@pytest.mark.parametrize("way", WAYS)
def test_of_several_services_the_first_whose_patience_is_over_takes_all_back(
    way: OnUndecided, other: OnUndecided
) -> None:
    one = staged(way, other)
    ends = [ENDS[name] for name in (way, other) if name in ENDS]
    if not ends:
        assert at(OVER, one).event == "passed"
        return
    assert at(min(ends) - 0.1, one).event is None
    assert at(min(ends), one).event == "late"


def test_a_service_that_has_passed_holds_nobody() -> None:
    one = staged("promote", "rollback")
    has_passed = replace(one, samples={**one.samples, "api-g2": (PLENTY,)})
    assert at(OVER, has_passed).event == "passed"
    assert at(OVER, one).event == "late"


def test_an_extended_worker_passes_when_nothing_has_died_for_as_long_as_a_stage() -> None:
    policy = Policy((500,), at_most=AT_MOST, on_undecided="extend")
    members = [member(f"mailer-g{n}", kind="worker", size=2, policy=policy) for n in (1, 2)]
    one = world(
        generation(1, members[0]),
        generation(2, members[1], outcome=""),
        rollout=going("stage"),
        running={"mailer-g1": 1, "mailer-g2": 1},
    )
    died = replace(one.groups["mailer-g2"], deaths=(NOW + 50.0,), outcome="exit code 1")
    one = replace(one, groups={**one.groups, "mailer-g2": died})
    assert at(OVER, one).event is None
    assert at(NOW + 50.0 + AT_MOST, one).event is None
    assert at(NOW + 50.1 + AT_MOST, one).event == "last"


@pytest.mark.parametrize(
    ("service", "environment", "name", "wanted"),
    [
        ("", "", "local", "promote"),
        ("", "", "production", "extend"),
        ("", "ask", "local", "ask"),
        ("", "rollback", "production", "rollback"),
        ("promote", "rollback", "production", "promote"),
        ("ask", "", "local", "ask"),
    ],
)
def test_a_service_says_it_before_its_environment(
    service: OnUndecided, environment: OnUndecided, name: str, wanted: OnUndecided
) -> None:
    policy, place = Policy(on_undecided=service), Environment(name, on_undecided=environment)
    assert chosen(policy, place) == wanted
    assert settled(policy, place) == Policy(on_undecided=wanted)
    assert settled(settled(policy, place), Environment("local")) == Policy(on_undecided=wanted)
