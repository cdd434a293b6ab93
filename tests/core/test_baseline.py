from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from anew.core import judging
from anew.core.control import apart, baselines, controls, late_stage, watched, weights
from anew.core.decide import decide
from anew.core.doors import pin
from anew.core.preview import assume, preview, wait
from anew.core.staffing import sizes
from anew.core.steps import Allot, Begin, Enter, Forget, Shift
from anew.core.world import GroupState, World
from anew.model import EdgeReading, Generation, Judge, Kind, Member, Phase, Policy, Rollout, Sample, Task
from anew.testing.groups import group_for
from anew.testing.worlds import ENVIRONMENT, NOW, PREVIEW_PORT, SCOPE

FRESH = Policy(stages=(10, 500), baseline="fresh")


def member(group: str, policy: Policy = FRESH, size: int = 1, **more: object) -> Member:
    service = group.partition("-")[0]
    return Member(service, group, size, policy, **({"hosts": (f"{service}.test",)} | more))  # type: ignore[arg-type]


def rollout(phase: Phase = "stage", stage: int = 0, kind: str = "rollout") -> Rollout:
    return Rollout(1, kind, 1, 2, phase, NOW, stage=stage, begun=NOW)  # type: ignore[arg-type]


def world(old: list[Member], new: list[Member], **changes: object) -> World:
    """Return a world in which g1 serves with all its instances, and g2 is wanted."""
    generations = {
        1: Generation(1, "r1", "", tuple(old), outcome="promoted"),
        2: Generation(2, "r2", "", tuple(new), previous=1),
    }
    kinds: dict[str, Kind] = {m.service: m.kind for m in new}
    groups = {m.group: GroupState(group_for(m, kinds, 40_000 + 10 * n)) for n, m in enumerate([*old, *new])}
    empty = World(
        now=NOW,
        scope=SCOPE,
        environment=ENVIRONMENT,
        preview_port=PREVIEW_PORT,
        wish=1,
        wish_kind="rollout",
        serving=0,
        generations=generations,
        groups=groups,
        edge=EdgeReading(is_up=False),
    )
    served = empty
    for _ in range(50):
        decision = decide(served)
        for step in decision.steps:
            served = assume(served, step)
        if served.rollout is not None and served.rollout.phase == "warm":
            served = wait(served, served.now + 10_000)
        if served.serving == 1 and served.rollout is None and not decision.steps:
            break
    return replace(served, wish=2, **changes)  # type: ignore[arg-type]


def until(one: World, phase: str, stage: int = 0) -> World:
    """Go on as if all succeeded, until a phase has been entered and nothing is left to do in it."""
    for number in count():
        decision = decide(one)
        now = one.rollout
        if now is not None and (now.phase, now.stage) == (phase, stage) and not decision.steps:
            return one
        for step in decision.steps:
            one = assume(one, step)
        if not decision.steps and decision.wait_until is not None:
            one = wait(one, decision.wait_until)
        assert number < 500, decision.reason
    raise AssertionError


def test_a_baseline_stands_beside_the_new_group_while_the_stages_last() -> None:
    one = until(world([member("web-g1", size=3)], [member("web-g2", size=2)]), "stage")
    assert one.edge.weights == {"web": {"web-g2": 10, "web-g1b2": 10, "web-g1": 980}}
    assert sizes(one) == {"web-g1": 3, "web-g2": 2, "web-g1b2": 2}
    assert len(one.by_group["web-g1b2"]) == 2
    assert until(one, "stage", 1).edge.weights == {"web": {"web-g2": 500, "web-g1b2": 499, "web-g1": 1}}
    warm = until(one, "warm")
    assert warm.edge.weights == {"web": {"web-g2": 1000}}
    assert "web-g1b2" not in warm.groups


def test_a_baseline_has_three_instances_at_most_and_each_gets_as_much_as_a_new_one() -> None:
    one = until(world([member("web-g1", size=9)], [member("web-g2", Policy((100,), baseline="fresh"), 6)]), "stage")
    assert one.edge.weights == {"web": {"web-g2": 100, "web-g1b2": 50, "web-g1": 850}}
    assert len(one.by_group["web-g1b2"]) == 3


def test_a_rollout_does_not_begin_its_stages_before_the_baseline_is_ready() -> None:
    one = until(world([member("web-g1")], [member("web-g2")]), "stage")
    hung = {name: replace(seen, is_ready="g1b2" not in name) for name, seen in one.seen.items()}
    early = replace(one, seen=hung, rollout=rollout("prepare"))
    assert "web-g1b2 has 0 of 1 instances ready" in decide(replace(early, now=NOW + 1)).reason
    decision = decide(replace(early, now=NOW + 20_000))
    assert "web-g1b2 has 0 of 1 instances ready" in decision.reason
    assert "not ready in time" in decision.reason


def test_while_no_instance_of_the_baseline_can_be_reached_the_old_group_has_its_part() -> None:
    one = until(world([member("web-g1")], [member("web-g2")]), "stage")
    dead = {name: replace(seen, is_ready="g1b2" not in name) for name, seen in one.seen.items()}
    assert weights(replace(one, seen=dead), rollout()) == {"web": {"web-g2": 10, "web-g1": 990}}


def test_the_new_group_is_judged_beside_the_baseline_alone() -> None:
    one = until(world([member("web-g1")], [member("web-g2")]), "stage")
    assert one.rollout is not None
    samples = {
        "web-g1": (Sample(10_000, 0),),  # it is warm, and has no failures at all
        "web-g1b2": (Sample(100, 20),),
        "web-g2": (Sample(100, 20),),
    }
    assert "web-g2" in decide(replace(one, samples=samples, now=NOW)).reason
    assert not [s for s in decide(replace(one, samples=samples)).steps if "rolling back" in s.describe()]
    samples["web-g1b2"] = (Sample(100, 0),)
    assert decide(replace(one, samples=samples)).steps[0].describe().startswith("enter rolling back")


def test_going_back_takes_the_baseline_out_of_traffic_too() -> None:
    one = until(world([member("web-g1")], [member("web-g2")]), "stage", 1)
    assert one.rollout is not None
    steps = decide(replace(one, rollout=replace(one.rollout, asked="abort"))).steps
    assert [s.weights for s in steps if isinstance(s, Shift)] == [{"web": {"web-g1": 1000}}]
    back = replace(one, rollout=replace(one.rollout, asked="abort"))
    done = preview(back)
    assert [s.group for s in done if isinstance(s, Forget) and "b2" in s.group] == ["web-g1b2"]


def test_a_part_of_the_traffic_stays_behind_until_the_warm_window_is_over() -> None:
    policy = Policy(stages=(500,), warm=60.0, warm_control=20)
    one = until(world([member("web-g1")], [member("web-g2", policy)]), "warm")
    assert one.edge.weights == {"web": {"web-g2": 980, "web-g1": 20}}
    assert one.rollout is not None
    assert watched(one.rollout, one.members(1), one.members(2)) == {"web": one.members(1)["web"]}
    assert late_stage(one.rollout, one.generations) == 1
    bad = {"web-g1": (Sample(100, 0),), "web-g2": (Sample(4900, 490),)}
    decision = decide(replace(one, samples=bad))
    assert decision.steps[0].describe().startswith("enter rolling back")
    assert "after all stages: web-g2: 10 % of 4900 requests failed" in decision.reason
    over = replace(one, now=one.now + 61.0)
    for _ in range(9):
        for step in decide(over).steps:
            over = assume(over, step)
    assert over.rollout is None
    assert over.edge.weights == {"web": {"web-g2": 1000}}


def test_what_stayed_behind_and_can_not_be_reached_keeps_nothing() -> None:
    policy = Policy(stages=(500,), warm=60.0, warm_control=20)
    one = until(world([member("web-g1")], [member("web-g2", policy)]), "warm")
    assert one.rollout is not None
    hung = {name: replace(seen, is_ready="web-g1-" not in name) for name, seen in one.seen.items()}
    assert weights(replace(one, seen=hung), one.rollout) == {"web": {"web-g2": 1000}}


def test_the_baseline_goes_on_as_the_control_where_both_are_asked_for() -> None:
    policy = Policy(stages=(500,), warm=60.0, warm_control=20, baseline="fresh")
    one = until(world([member("web-g1")], [member("web-g2", policy)]), "warm")
    assert one.edge.weights == {"web": {"web-g2": 980, "web-g1b2": 20}}
    assert "web-g1b2" in one.by_group


def test_a_rollback_by_hand_has_no_control() -> None:
    policy = Policy(stages=(500,), warm=60.0, warm_control=20, baseline="fresh")
    old, new = {"web": member("web-g1", policy)}, {"web": member("web-g2", policy)}
    assert controls(rollout("full", kind="rollback"), old, new) == {}
    one = until(world([*old.values()], [*new.values()]), "warm")
    done = preview(replace(one, wish=1, wish_kind="rollback"), until_warm=False)
    shifts = [s.weights for s in done if isinstance(s, Shift)]
    assert shifts[-1] == {"web": {"web-g1": 1000}}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([member("web-g1")], [member("web-g2")], ["web-g1b2"]),
        ([member("web-g1")], [member("web-g1")], []),
        ([member("web-g1", is_alone=True)], [member("web-g2")], []),
        ([member("web-g1", kind="worker")], [member("web-g2", kind="worker")], []),
        ([member("web-g1")], [member("web-g2", Policy())], []),
        # `api` is called by `web` alone: its requests come from the callers of its own generation.
        (
            [member("api-g1", hosts=()), member("web-g1", needs=("api",))],
            [member("api-g2", hosts=()), member("web-g2", needs=("api",))],
            ["api-g1b2", "web-g1b2"],
        ),
        (
            [member("api-g1", hosts=("api.shop.localhost",)), member("web-g1", needs=("api",))],
            [member("api-g2", hosts=("api.shop.localhost",)), member("web-g2", Policy(), needs=("api",))],
            [],
        ),
        ([member("api-g1"), member("web-g1", needs=("api",))], [member("api-g2")], []),
        (
            [member("api-g1", hosts=()), member("web-g1", needs=("api",))],
            [member("api-g2", hosts=()), member("web-g1", needs=("api",))],
            ["api-g1b2"],
        ),
    ],
)
def test_who_has_a_baseline(old: list[Member], new: list[Member], expected: list[str]) -> None:
    found = baselines(rollout(), {m.service: m for m in old}, {m.service: m for m in new})
    assert sorted(m.group for m in found) == expected


def test_a_baseline_calls_the_baseline_of_whom_it_calls() -> None:
    old = [member("api-g1", hosts=()), member("web-g1", needs=("api",))]
    new = [member("api-g2", hosts=()), member("web-g2", needs=("api",))]
    one = until(world(old, new), "stage")
    known = frozenset(one.groups)
    callers = {name: pin(one, one.groups[name].group, "api", known) for name in ("web-g1", "web-g1b2", "web-g2")}
    assert callers == {"web-g1": "api-g1", "web-g1b2": "api-g1b2", "web-g2": "api-g2"}


def test_a_baseline_calls_the_old_group_while_that_of_whom_it_calls_is_gone() -> None:
    old = [member("api-g1"), member("web-g1", needs=("api",))]
    one = until(world(old, [member("api-g2"), member("web-g2", needs=("api",))]), "stage")
    gone = {name: replace(seen, is_ready="api-g1b2" not in name) for name, seen in one.seen.items()}
    without = replace(one, seen=gone)
    assert pin(without, one.groups["web-g1b2"].group, "api", frozenset(one.groups)) == "api-g1"


def test_what_comes_while_the_control_has_no_traffic_is_no_evidence() -> None:
    policy = Policy(stages=(500,), warm=60.0, warm_control=20)
    one = until(world([member("web-g1")], [member("web-g2", policy)]), "warm")
    assert one.rollout is not None
    both, alone = {"web": {"web-g1": 20, "web-g2": 980}}, {"web": {"web-g2": 1000}}
    assert apart(one.rollout, one.generations, both) == frozenset()
    assert apart(one.rollout, one.generations, alone) == {"web-g1", "web-g2"}


def test_after_all_stages_nothing_goes_back_to_a_group_without_a_ready_instance() -> None:
    policy = Policy(stages=(500,), warm=60.0, warm_control=20, baseline="fresh")
    one = until(world([member("web-g1")], [member("web-g2", policy)]), "warm")
    samples = {"web-g1b2": (Sample(100, 0),), "web-g2": (Sample(4900, 490),)}
    gone = {name: replace(seen, is_ready="web-g1-" not in name) for name, seen in one.seen.items()}
    bad = replace(one, samples=samples)
    assert decide(bad).steps[0].describe().startswith("enter rolling back")
    assert not [s for s in decide(replace(bad, seen=gone)).steps if "rolling back" in s.describe()]


def test_a_command_of_before_waits_until_the_baseline_is_ready() -> None:
    new = member("web-g2", before=(Task(("/bin/prepare",), 5.0),))
    steps = preview(world([member("web-g1")], [new]))
    names = [one.describe() for one in steps]
    ready = next(n for n, one in enumerate(names) if "web-g1b2 (1)" in one)
    assert next(n for n, one in enumerate(names) if "/bin/prepare" in one or "before g2" in one) > ready


def test_a_plan_shows_the_baseline() -> None:
    steps = preview(world([member("web-g1")], [member("web-g2")]))
    assert isinstance(steps[0], Begin)
    assert {s.group for s in steps if isinstance(s, Allot)} == {"web-g2", "web-g1b2"}


def test_what_was_counted_of_the_old_group_is_no_part_of_the_comparison_with_a_baseline() -> None:
    old, new = {"web": member("web-g1")}, {"web": member("web-g2")}
    control = controls(rollout(), old, new)["web"]
    samples = {"web-g1": (Sample(9, 9),), "web-g1b2": (Sample(5, 0),), "web-g2": (Sample(4, 0),)}
    found = judging.criteria(control, new["web"], samples, is_timed=False)
    assert found["errors"] == ((Sample(5, 0), Sample(4, 0)),)


def without_baseline(one: World, *groups: str) -> World:
    """Have no instance of these groups be ready; the edge knows, and gives their share to others that are."""
    seen = {n: replace(s, is_ready=not any(f"{g}-" in n for g in groups), since=NOW) for n, s in one.seen.items()}
    gone = replace(one, seen=seen)
    for _ in range(3):
        for step in decide(gone).steps:
            if isinstance(step, Shift):
                gone = assume(gone, step)
    return gone


def test_a_canary_that_answers_nothing_well_goes_back_though_it_can_not_be_compared() -> None:
    one = without_baseline(until(world([member("web-g1")], [member("web-g2")]), "stage"), "web-g1b2")
    assert not one.edge.weights["web"].get("web-g1b2")
    assert "web-g1b2 has no traffic" in decide(one).reason
    assert "no traffic has reached it" not in decide(one).reason
    broken = replace(one, recent={"web-g2": Sample(20, 20), "web-g1": Sample(200, 1)})
    assert "none of its last 20 requests was answered well" in decide(broken).reason
    assert any(isinstance(step, Enter) and step.phase == "rolling back" for step in decide(broken).steps)
    both = replace(one, recent={"web-g2": Sample(20, 20), "web-g1": Sample(200, 200)})
    assert not any(isinstance(step, Enter) for step in decide(both).steps)


def test_a_stage_ends_though_the_old_group_and_its_baseline_are_gone() -> None:
    one = without_baseline(until(world([member("web-g1")], [member("web-g2")]), "stage"), "web-g1", "web-g1b2")
    later = replace(one, now=one.now + 3600)
    assert [step.phase for step in decide(later).steps if isinstance(step, Enter)] == ["stage"]


def test_a_stage_tries_to_move_the_traffic_however_long_it_lasts() -> None:
    long = replace(FRESH, on_undecided="extend")
    one = until(world([member("web-g1", long)], [member("web-g2", long)]), "stage")
    later = replace(one, now=one.now + 300, samples={})
    for here in (replace(later, edge=replace(later.edge, weights={"web": {"web-g1": 1000}})), later):
        assert not any(isinstance(step, Enter) for step in decide(here).steps)
    lost = replace(later, edge=replace(later.edge, weights={"web": {"web-g1": 1000}}))
    assert [type(step) for step in decide(lost).steps] == [Shift]


@pytest.mark.parametrize("is_up", [True, False])
def test_no_stage_is_left_while_the_edge_knows_nobody(*, is_up: bool) -> None:
    one = until(world([member("web-g1")], [member("web-g2")]), "stage")
    blank = replace(one, edge=EdgeReading(is_up=is_up), now=one.now + 3600)
    assert not any(isinstance(step, Enter) for step in decide(blank).steps)


def test_probes_are_no_traffic_to_a_canary_that_can_not_be_compared() -> None:
    one = without_baseline(until(world([member("web-g1")], [member("web-g2")]), "stage"), "web-g1b2")
    probed = {"web-g1": Sample(40, 0), "web-g2": Sample(20, 20), "web-g2/probes": Sample(20, 20)}
    unknown = {"web-g2": Sample(20, 20)}
    for recent in (probed, unknown):
        assert not any(isinstance(step, Enter) for step in decide(replace(one, recent=recent)).steps)


def test_who_a_command_waits_for_is_named() -> None:
    task = Task(("/bin/prepare",), 10.0)
    plain = replace(FRESH, baseline="old")
    old = [member("api-g1", plain), member("web-g1", plain, needs=("api",))]
    new = [member("api-g2", plain), member("web-g2", plain, needs=("api",), before=(task,))]
    one = until_waiting(world(old, new), "api-g2")
    assert decide(one).reason == "waiting: /bin/prepare of web has not ended; api-g2 has 0 of 1 instances ready"


def test_a_baseline_has_the_time_that_its_own_policy_gives_it() -> None:
    slow, quick = replace(FRESH, ready=90.0), replace(FRESH, ready=20.0)
    one = until_waiting(world([member("web-g1", slow)], [member("web-g2", quick)]), "web-g1b2")
    assert one.rollout is not None
    assert "web-g1b2 has 0 of 1" in decide(one).reason
    in_time, late = (replace(one, now=one.rollout.since + after) for after in (89, 91))
    assert not any(isinstance(step, Enter) for step in decide(in_time).steps)
    assert [step.phase for step in decide(late).steps if isinstance(step, Enter)] == ["rolling back"]


def test_a_command_that_waits_for_the_baseline_has_its_time_after_that() -> None:
    task = Task(("/bin/prepare",), 10.0)
    one = until_waiting(world([member("web-g1")], [member("web-g2", before=(task,))]), "web-g1b2")
    assert one.rollout is not None
    assert decide(one).reason == "waiting: web-g1b2 has 0 of 1 instances ready"
    bound = FRESH.ready + task.within + FRESH.ready
    in_time, late = (replace(one, now=one.rollout.since + after) for after in (bound - 1, bound + 1))
    assert not any(isinstance(step, Enter) for step in decide(in_time).steps)
    assert "not ready in time: web-g1b2 has 0 of 1 instances ready" in decide(late).reason


def until_waiting(one: World, group: str) -> World:
    """Go on until only the instances of `group` are waited for, which never get ready."""
    while (decision := decide(one)).steps:
        for step in decision.steps:
            one = assume(one, step)
        seen = {n: replace(s, is_ready=s.is_ready and f"{group}-" not in n) for n, s in one.seen.items()}
        one = replace(one, seen=seen)
    return one


def test_a_callee_has_no_baseline_where_only_one_generation_calls_it() -> None:
    old = [member("api-g1"), member("web-g1")]
    added = [member("api-g2"), member("web-g1"), member("batch-g2", needs=("api",))]
    assert services(old, added) == []
    assert services(old, [member("api-g2"), member("web-g2", needs=("api",))]) == ["web"]
    assert services([*old, member("batch-g1", needs=("api",))], [member("api-g2"), member("web-g1")]) == []


def services(old: list[Member], new: list[Member]) -> list[str]:
    mine, theirs = ({m.service: m for m in members} for members in (old, new))
    return sorted(one.service for one in baselines(rollout(), mine, theirs))


def test_after_all_stages_only_what_is_still_compared_is_counted() -> None:
    kept, plain = Policy(stages=(500,), warm=60.0, warm_control=20), Policy(stages=(500,), warm=60.0)
    new = [member("web-g2", kept), member("api-g2", plain)]
    one = until(world([member("web-g1"), member("api-g1")], new), "warm")
    assert one.rollout is not None
    assert apart(one.rollout, one.generations, one.edge.weights) == {"api-g1", "api-g2"}


def test_a_preview_passes_where_only_the_comparison_counts() -> None:
    strict = Policy(stages=(10, 500), judge=replace(Judge(), acceptable=0.0), on_undecided="extend")
    steps = preview(world([member("web-g1")], [member("web-g2", strict)]))
    assert not any(isinstance(step, Enter) and step.phase == "rolling back" for step in steps)
