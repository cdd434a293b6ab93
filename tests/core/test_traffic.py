from __future__ import annotations

import typing
from dataclasses import replace

import pytest

from anew.core.traffic import changed, declaration, guarded, is_set, judged, stage_count, stage_weight, wanted_weights
from anew.core.world import Allotment, GroupState, Seen, World
from anew.model import Declaration, EdgeGroup, EdgeReading, Generation, Member, Phase, Policy, Rollout, Target
from anew.testing.groups import group_of
from anew.testing.worlds import ENVIRONMENT, NOW, PREVIEW_PORT, SCOPE


def member(group: str, **policy: object) -> Member:
    service = group.partition("-")[0]
    return Member(service, group, 1, Policy(**policy), hosts=(f"{service}.test",))  # type: ignore[arg-type]


OLD = {"api": member("api-g1"), "web": member("web-g1"), "gone": member("gone-g1")}
NEW = {"api": member("api-g1"), "web": member("web-g2"), "fresh": member("fresh-g2")}
READY = Seen(is_alive=True, is_ready=True, since=NOW - 5)


def world(**changes: object) -> World:
    """Return a world in which web-g1 serves and web-g2 is new; each has one ready instance, known to the edge."""
    allotments = tuple(Allotment(f"{g}-0", g, 0, 20_000 + n) for n, g in enumerate(("web-g1", "web-g2")))
    generations = {n: Generation(n, f"r{n}", "", (member(f"web-g{n}"),)) for n in (1, 2)}
    groups = tuple(EdgeGroup(a.group, "web", "/healthz", (Target(a.name, a.port),)) for a in allotments)
    told = Declaration(ENVIRONMENT.host, ENVIRONMENT.port, PREVIEW_PORT, (), groups)
    plain = World(
        now=NOW,
        scope=SCOPE,
        environment=ENVIRONMENT,
        preview_port=PREVIEW_PORT,
        wish=1,
        wish_kind="rollout",
        serving=1,
        generations={1: generations[1], 2: replace(generations[2], warm_until=NOW + 5)},
        groups={a.group: GroupState(group_of("web", a.group), 1) for a in allotments},
        allotments=allotments,
        seen={a.name: READY for a in allotments},
        edge=EdgeReading(is_up=True, declaration=told, weights={"web": {"web-g1": 1000}}),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_only_services_on_different_groups_are_compared() -> None:
    assert changed(OLD, NEW) == ("web",)
    assert stage_count(OLD, NEW) == 3
    assert stage_count({}, NEW) == 0
    assert stage_count(OLD, OLD) == 0


@pytest.mark.parametrize(
    ("stage", "weight"),
    [(0, 10), (1, 100), (2, 500), (3, 500)],
)
def test_the_weight_of_a_stage(stage: int, weight: int) -> None:
    assert stage_weight(member("web-g2"), stage) == weight


def test_the_control_is_left_to_the_old_group() -> None:
    assert stage_weight(member("web-g2", stages=(1000,), control=20), 0) == 980


def test_a_service_without_stages_waits_for_full_while_others_have_theirs() -> None:
    assert stage_weight(member("web-g2", stages=(), control=50), 0) == 0
    old = {"web": member("web-g1"), "api": member("api-g1")}
    new = {"web": member("web-g2", stages=(100,)), "api": member("api-g2", stages=())}
    assert wanted_weights(old, new, "stage", 0) == {
        "web": {"web-g2": 100, "web-g1": 900},
        "api": {"api-g2": 0, "api-g1": 1000},
    }
    assert judged(old, new) == ("web",)


def test_the_weights_of_each_phase() -> None:
    before = {"api": {"api-g1": 1000}, "web": {"web-g1": 1000}, "gone": {"gone-g1": 1000}, "fresh": {}}
    after = {"api": {"api-g1": 1000}, "web": {"web-g2": 1000}, "gone": {}, "fresh": {"fresh-g2": 1000}}
    for phase in typing.get_args(Phase):
        if phase != "stage":
            expected = after if phase in {"full", "warm", "done"} else before
            assert wanted_weights(OLD, NEW, phase) == expected
    staged = {**before, "web": {"web-g2": 100, "web-g1": 900}, "fresh": {"fresh-g2": 1000}}
    assert wanted_weights(OLD, NEW, "stage", 1) == staged


def test_nothing_is_raised_that_is_not_ready_and_known_to_the_edge() -> None:
    wanted = {"web": {"web-g2": 1000}}
    assert guarded(world(), wanted) == wanted
    unready = world(seen={"web-g1-0": READY})
    assert guarded(unready, wanted) == {"web": {"web-g1": 1000}}
    ready = world()
    assert ready.edge.declaration is not None
    only_old = replace(ready.edge.declaration, groups=ready.edge.declaration.groups[:1])
    untold = replace(ready, edge=replace(ready.edge, declaration=only_old))
    assert guarded(untold, wanted) == {"web": {"web-g1": 1000}}


def test_zero_weights_are_no_weights() -> None:
    assert is_set(world(), {"web": {"web-g1": 1000, "web-g2": 0}})
    assert not is_set(world(), {"web": {"web-g2": 1000}})
    assert not is_set(world(), {})


def test_the_edge_is_told_of_what_is_ready_and_keeps_what_it_knows() -> None:
    assert [t.name for g in declaration(world()).groups for t in g.targets] == ["web-g1-0", "web-g2-0"]
    hung = replace(READY, is_ready=False)
    assert [t.name for g in declaration(world(seen={"web-g1-0": hung})).groups for t in g.targets] == ["web-g1-0"]


def test_what_drains_goes_on_serving_while_nothing_else_can() -> None:
    draining = tuple(replace(a, draining=NOW - 1) for a in world().allotments)
    targets = {t.name: t.is_draining for g in declaration(world(allotments=draining)).groups for t in g.targets}
    assert targets == {"web-g1-0": False, "web-g2-0": True}  # web-g2 has no traffic


def test_routes_belong_to_who_serves() -> None:
    assert [(r.host, r.service) for r in declaration(world()).routes] == [("web.test", "web")]


def test_the_edge_is_told_by_what_the_newest_generation_knows_its_clients() -> None:
    rollout = Rollout(1, "rollout", 1, 2, "stage", NOW)
    ways = {1: "address", 2: "header:X-User"}
    generations = {n: Generation(n, f"r{n}", "", (member(f"web-g{n}", sticky=how),)) for n, how in ways.items()}
    assert declaration(world()).sticky == ()
    assert declaration(world(generations=generations)).sticky == (("web", "address"),)
    assert declaration(world(generations=generations, rollout=rollout)).sticky == (("web", "header:X-User"),)
    plain = {**generations, 2: Generation(2, "r2", "", (member("web-g2"),))}
    assert declaration(world(generations=plain, rollout=rollout)).sticky == ()
