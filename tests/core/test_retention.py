from __future__ import annotations

from dataclasses import replace
from typing import Literal

from anew.core.retention import expired, needed, way_back
from anew.core.staffing import sizes
from anew.core.world import World
from anew.model import Environment, Generation, Member, Policy, Rollout
from anew.testing.worlds import NOW, PREVIEW_PORT, SCOPE


def generation(number: int, outcome: Literal["", "promoted", "rolled back"] = "promoted", size: int = 1) -> Generation:
    members = (Member("web", f"web-g{number}", size, Policy()), Member("api", "api-g1", size, Policy()))
    return Generation(number, f"r{number}", "", members, previous=number - 1, outcome=outcome)


def world(*generations: Generation, serving: int = 1, **changes: object) -> World:
    plain = World(
        now=NOW,
        scope=SCOPE,
        environment=Environment("local", keep=2),
        preview_port=PREVIEW_PORT,
        wish=serving,
        wish_kind="rollout",
        serving=serving,
        generations={g.number: g for g in generations},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_what_serves_what_moves_and_what_is_warm_is_needed() -> None:
    warm = replace(generation(1), warm_until=NOW + 1)
    cold = replace(generation(2), warm_until=NOW)
    ones = (warm, cold, generation(3), generation(4))
    assert needed(world(*ones, serving=3)) == (1, 3)
    going = Rollout(1, "rollout", 3, 4, "stage", NOW)
    assert needed(world(*ones, serving=3, rollout=going)) == (1, 3, 4)
    assert needed(world(*ones, serving=3, rollout=replace(going, phase="rolling back"))) == (1, 3)
    assert needed(world(*ones, serving=4, rollout=replace(going, phase="rolling back"))) == (1, 3)


def test_a_shared_group_has_the_larger_size_until_all_traffic_is_moved() -> None:
    ones = (generation(1, size=3), generation(2, size=1))
    going = Rollout(1, "rollout", 1, 2, "stage", NOW)
    assert sizes(world(*ones, rollout=going)) == {"web-g1": 3, "web-g2": 1, "api-g1": 3}
    assert sizes(world(*ones, serving=2, rollout=replace(going, phase="warm")))["api-g1"] == 1


def test_the_way_back_skips_what_failed_and_what_is_retired() -> None:
    ones = {
        1: generation(1),
        2: replace(generation(2), is_retired=True),
        3: generation(3, "rolled back"),
        4: generation(4, ""),
        5: generation(5),
    }
    assert way_back(ones, 5) == 1
    assert way_back(ones, 1) == 0
    assert way_back(ones, 9) == 0


def test_the_way_back_ends_where_it_goes_in_a_circle() -> None:
    ones = {n: replace(generation(n, "rolled back"), previous=3 - n) for n in (1, 2)}
    assert way_back(ones, 1) == 0


def test_the_newest_that_served_are_kept() -> None:
    ones = (generation(1), generation(2), generation(3, "rolled back"), generation(4), generation(5))
    assert expired(world(*ones, serving=5)) == (1, 2, 3)
    assert expired(world(replace(ones[0], warm_until=NOW + 1), *ones[1:], serving=5)) == (2, 3)
    assert expired(world(*ones, serving=1, wish=2)) == (3,)


def test_what_was_sealed_and_never_begun_is_not_kept_for_good() -> None:
    assert expired(world(generation(1), generation(2, ""), generation(3), serving=3)) == (2,)
    assert expired(world(generation(1), generation(2, ""), generation(3), serving=3, wish=2)) == ()


def test_a_failure_newer_than_all_that_served_is_remembered() -> None:
    assert expired(world(generation(1), generation(2, "rolled back"))) == ()
