from __future__ import annotations

from dataclasses import replace

import pytest
from small import generation, going, member, world

from anew.core.decide import decide
from anew.core.doors import FOLLOWS, called, listeners, of_callers, pin
from anew.core.steps import Drain, Enter, Shift
from anew.core.traffic import declaration
from anew.core.world import World
from anew.model import FULL, Generation, Phase

BOTH = (
    generation(1, member("api-g1"), member("web-g1", "api")),
    generation(2, member("api-g2"), member("web-g2", "api")),
)
PHASES: tuple[Phase, ...] = ("prepare", "preview", "stage", "full", "warm", "rolling back")


def reached(ones: World) -> dict[str, str]:
    """Return whom each door leads to."""
    return {one.name: one.group for one in declaration(ones).listeners}


@pytest.mark.parametrize("phase", PHASES)
def test_generations_do_not_meet_in_any_phase(phase: Phase) -> None:
    running = {"api-g1": 1, "web-g1": 1, "api-g2": 1, "web-g2": 1}
    ones = world(*BOTH, rollout=going(phase), running=running)
    assert reached(ones) == {"web-g1>api": "api-g1", "web-g2>api": "api-g2"}


def test_a_caller_that_both_share_follows_the_weights() -> None:
    new = generation(2, member("api-g2"), member("web-g1", "api"), outcome="")
    ones = world(BOTH[0], new, rollout=going("stage"))
    assert reached(ones) == {"web-g1>api": FOLLOWS}
    assert reached(world(BOTH[0], new)) == {"web-g1>api": "api-g1"}


def test_a_generation_that_is_only_warm_has_no_say() -> None:
    now = world(*BOTH).now
    first = generation(1, member("api-g1"), member("web-g1", "api"), warm_until=now + 60)
    second = generation(2, member("api-g2"), member("web-g1", "api"))
    third = generation(3, member("api-g3"), member("web-g3", "api"), outcome="")
    ones = world(first, second, third, serving=2, rollout=going("stage", old=2, new=3))
    assert reached(ones)["web-g1>api"] == "api-g2"


def test_who_calls_what_is_handed_over_follows_the_weights() -> None:
    old = generation(1, member("db-g1", is_alone=True), member("web-g1", "db"))
    new = generation(2, member("db-g2", is_alone=True), member("web-g2", "db"), outcome="")
    ones = world(old, new, rollout=going("stage"), running={"db-g1": 1, "web-g1": 1, "web-g2": 1})
    assert reached(ones) == {"web-g1>db": FOLLOWS, "web-g2>db": FOLLOWS}
    assert reached(world(old)) == {"web-g1>db": "db-g1"}


def test_callers_leave_before_their_callees() -> None:
    running = {"api-g1": 1, "web-g1": 1, "api-g2": 1, "web-g2": 1}
    ones = world(*BOTH, running=running)
    assert called(ones) == {"api-g1", "api-g2"}
    assert decide(ones).steps == (Drain("web-g2-0"),)
    left = world(*BOTH, running={**running, "web-g2": 0})
    assert decide(left).steps == (Drain("api-g2-0"),)


def test_a_caller_whose_callee_is_gone_reaches_nobody() -> None:
    ones = world(*BOTH, running={"api-g1": 1, "web-g1": 1, "web-g2": 1})
    assert pin(ones, ones.groups["web-g2"].group, "api", {"api-g1"}) is None
    assert reached(ones) == {"web-g1>api": "api-g1"}


def test_doors_of_jobs_are_there_before_they_run() -> None:
    job = generation(1, member("api-g1"), member("nightly-g1", "api", kind="job"))
    assert reached(world(job)) == {"nightly-g1>api": "api-g1"}


@pytest.mark.parametrize(("phase", "port"), [("stage", 6000), ("full", 6001), ("rolling back", 6000)])
def test_a_public_port_belongs_to_who_has_the_traffic(phase: Phase, port: int) -> None:
    old = generation(1, member("cache-g1", kind="tcp", port=6000))
    new = generation(2, member("cache-g2", kind="tcp", port=6001), outcome="")
    (public,) = [one for one in declaration(world(old, new, rollout=going(phase))).listeners if "public" in one.name]
    assert (public.port, public.group, public.is_tcp) == (port, FOLLOWS, True)


def test_a_tcp_group_has_a_preview_of_its_own() -> None:
    ones = world(generation(1, member("cache-g1", kind="tcp")))
    assert [(one.name, one.group) for one in listeners(ones, ["cache-g1"])] == [("preview>cache-g1", "cache-g1")]
    assert of_callers(declaration(ones)) == ()


def test_traffic_moves_only_where_callers_are_told() -> None:
    running = {"api-g1": 1, "web-g1": 1, "api-g2": 1, "web-g2": 1}
    told = world(*BOTH, rollout=going("preview"), running=running)
    assert [type(step) for step in decide(told).steps] == [Enter, Shift]
    assert told.edge.declaration is not None
    untold = replace(told, edge=replace(told.edge, declaration=replace(told.edge.declaration, listeners=())))
    assert [type(step) for step in decide(untold).steps] == [Enter]


def test_nothing_begins_while_something_else_has_traffic() -> None:
    strange = {"api": {"api-g1": FULL}, "web": {"web-g1": 900, "web-g2": 100}}
    ones = world(*BOTH, running={"api-g1": 1, "web-g1": 1, "api-g2": 1, "web-g2": 1}, weights=strange)
    wished = replace(ones, wish=_third(ones).number, generations={**ones.generations, 3: _third(ones)})
    assert decide(wished).steps[0] == Shift({"api": {"api-g1": FULL}, "web": {"web-g1": FULL}})


def _third(ones: World) -> Generation:
    return replace(ones.generations[1], number=3, outcome="")
