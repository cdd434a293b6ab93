from __future__ import annotations

from dataclasses import replace

import pytest

from anew.core.placement import FORGIVEN, SLOWEST, clear, next_launch, place
from anew.core.steps import Allot, Drain, Launch, Retire, Stop
from anew.core.world import Allotment, GroupState, Seen, World
from anew.model import Declaration, EdgeGroup, EdgeReading, Policy, Target
from anew.testing.groups import group_of
from anew.testing.worlds import ENVIRONMENT, NOW, PREVIEW_PORT, SCOPE

GROUP = "web-g1"
READY = Seen(is_alive=True, is_ready=True, since=NOW - 5)
UNREADY = Seen(is_alive=True, is_ready=False, since=NOW - 5)
HUNG = Seen(is_alive=True, is_ready=False, since=NOW - 500)
DEAD = Seen(is_alive=False, is_ready=False, ended="exit code 1")


def world(*states: Seen | None, deaths: tuple[float, ...] = (), draining: frozenset[int] = frozenset()) -> World:
    """Return a world with one group that has no traffic, its instances in `states`, by ordinal."""
    allotments = tuple(
        Allotment(f"{GROUP}-{n}", GROUP, n, 20_000 + n, NOW - 10 if n in draining else 0.0)
        for n, _ in enumerate(states)
    )
    return World(
        now=NOW,
        scope=SCOPE,
        environment=ENVIRONMENT,
        preview_port=PREVIEW_PORT,
        wish=1,
        wish_kind="rollout",
        serving=1,
        generations={},
        groups={GROUP: GroupState(group_of("web", GROUP), len(states), deaths)},
        allotments=allotments,
        seen={a.name: s for a, s in zip(allotments, states, strict=True) if s is not None},
    )


def behind_edge(plain: World, *, is_told: bool, in_flight: int) -> World:
    """Let the edge know all instances; `is_told`: that they drain as well."""
    targets = tuple(Target(a.name, a.port, is_draining=is_told and bool(a.draining)) for a in plain.allotments)
    told = Declaration("", 0, 0, (), (EdgeGroup(GROUP, "web", "/", targets),))
    flying = {a.name: in_flight for a in plain.allotments}
    return replace(plain, edge=EdgeReading(is_up=True, declaration=told, in_flight=flying))


@pytest.mark.parametrize(
    ("deaths", "wait"),
    [
        ((), 0.0),
        ((0.0,), 0.0),
        ((10.0, 0.0), 1.0),
        ((20.0, 10.0, 0.0), 2.0),
        ((5.0, 4.0, 3.0, 2.0, 1.0), 7.0),
        (tuple(float(n) for n in range(9, -1, -1)), SLOWEST),
        ((FORGIVEN, FORGIVEN + 1), 0.0),
        ((-50.0, -60.0), 0.0),  # the clock stepped back: deaths in the future slow nothing
    ],
)
def test_a_group_that_keeps_dying_is_replaced_ever_more_slowly(deaths: tuple[float, ...], wait: float) -> None:
    ones = world(deaths=tuple(NOW - ago for ago in deaths))
    assert next_launch(ones, GROUP, 1) == NOW + wait
    placed = place(ones, GROUP, 1, Policy())
    assert placed.steps == (() if wait else (Allot(GROUP, 0),))
    assert placed.waits == ((NOW + wait,) if wait else ())


@pytest.mark.parametrize(("size", "deaths", "wait"), [(8, 8, 0.0), (8, 9, 1.0), (8, 11, 4.0), (100, 64, SLOWEST)])
def test_what_ends_all_instances_at_once_is_one_accident(size: int, deaths: int, wait: float) -> None:
    ones = world(READY, deaths=(NOW,) * deaths)
    assert next_launch(ones, GROUP, size) == NOW + wait


def test_an_ordinal_is_committed_before_it_is_launched() -> None:
    assert place(world(), GROUP, 2, Policy()).steps == (Allot(GROUP, 0), Allot(GROUP, 1))
    assert place(world(None, None), GROUP, 2, Policy()).steps == (
        Launch(f"{GROUP}-0", GROUP),
        Launch(f"{GROUP}-1", GROUP),
    )


def test_the_dead_one_gets_a_successor() -> None:
    steps = place(world(READY, DEAD), GROUP, 2, Policy()).steps
    assert steps == (Retire(f"{GROUP}-1", "died, exit code 1", is_death=True), Allot(GROUP, 2))


def test_of_too_many_the_ready_ones_stay() -> None:
    assert place(world(UNREADY, READY, READY), GROUP, 2, Policy()).steps == (Drain(f"{GROUP}-0"),)
    assert place(world(READY, READY, READY), GROUP, 1, Policy()).steps == (Drain(f"{GROUP}-1"), Drain(f"{GROUP}-2"))


def test_one_hung_instance_at_a_time_is_replaced() -> None:
    steps = place(world(HUNG, HUNG), GROUP, 2, Policy()).steps
    assert steps == (Drain(f"{GROUP}-0"), Allot(GROUP, 2))


def test_what_is_slow_is_waited_for() -> None:
    assert place(world(UNREADY), GROUP, 1, Policy(ready=60.0)).waits == (NOW + 55.0,)


def test_nothing_is_stopped_before_the_edge_knows_and_nothing_is_in_flight() -> None:
    leaving = world(READY, draining=frozenset({0}))
    policy = Policy(drain=30.0, grace=3.0)
    assert clear(behind_edge(leaving, is_told=False, in_flight=0), GROUP, policy).steps == ()
    waiting = clear(behind_edge(leaving, is_told=True, in_flight=1), GROUP, policy)
    assert (waiting.steps, waiting.waits) == ((), (NOW + 20.0,))
    stop = (Stop(f"{GROUP}-0", 3.0),)
    assert clear(behind_edge(leaving, is_told=True, in_flight=0), GROUP, policy).steps == stop
    assert clear(behind_edge(leaving, is_told=True, in_flight=1), GROUP, Policy(drain=10.0, grace=3.0)).steps == stop


def test_what_never_started_is_only_forgotten() -> None:
    retired = (Retire(f"{GROUP}-0", "never started", is_death=False),)
    assert clear(world(None), GROUP, Policy()).steps == retired
    assert clear(world(None, draining=frozenset({0})), GROUP, Policy()).steps == retired


def test_what_was_stopped_is_no_death() -> None:
    steps = clear(world(DEAD, draining=frozenset({0})), GROUP, Policy()).steps
    assert steps == (Retire(f"{GROUP}-0", "stopped, exit code 1", is_death=False),)
