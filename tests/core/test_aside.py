"""Instances that have to go though they live: touched ones, old ones, and those that somebody asked for."""

from __future__ import annotations

from dataclasses import replace

from small import READY, generation, going, member, world

from anew.core.aside import MOST_KEPT
from anew.core.decide import decide
from anew.core.preview import assume
from anew.core.steps import Allot, Drain, Enter, Launch, Stop, Taint
from anew.core.traffic import declaration
from anew.core.world import Seen, World

SHELL = "sh (pid 4711) has entered from outside"
TENTH = {"web": {"web-g1": 900, "web-g2": 100}}


def two(max_age: float = 0.0) -> World:
    return world(generation(1, member("web-g1", size=2, max_age=max_age)))


def changed(before: World, name: str, **changes: object) -> World:
    ones = tuple(replace(a, **changes) if a.name == name else a for a in before.allotments)  # type: ignore[arg-type]
    return replace(before, allotments=ones)


def touched(before: World, name: str) -> World:
    return replace(before, seen={**before.seen, name: replace(before.seen[name], touched=SHELL)})


def carried_out(before: World) -> World:
    for step in decide(before).steps:
        before = assume(before, step)
    return before


def test_what_was_found_touched_is_committed_before_anything_else_is_done_about_it() -> None:
    assert decide(touched(two(), "web-g1-0")).steps == (Taint("web-g1-0", SHELL),)


def test_a_tainted_instance_leaves_at_once_and_a_new_one_takes_its_place() -> None:
    steps = decide(changed(two(), "web-g1-0", tainted=SHELL)).steps
    assert steps == (Drain("web-g1-0"), Allot("web-g1", 9))


def test_the_last_ready_instance_stays_though_it_is_tainted_until_another_is_ready() -> None:
    lonely = changed(world(generation(1, member("web-g1"))), "web-g1-0", tainted=SHELL)
    assert decide(lonely).steps == (Allot("web-g1", 9),)
    launched = carried_out(carried_out(lonely))
    starting = {n: s for n, s in launched.seen.items() if n != "web-g1-0"}
    name = next(iter(starting))
    unready = replace(launched, seen={**launched.seen, name: replace(starting[name], is_ready=False)})
    assert not [s for s in decide(unready).steps if isinstance(s, Drain)]
    assert Drain("web-g1-0") in decide(launched).steps


def test_a_tainted_instance_is_kept_for_inspection_and_then_ended() -> None:
    left = changed(two(), "web-g1-0", tainted=SHELL, draining=two().now - 10)
    away = replace(left, edge=replace(left.edge, declaration=None, weights={}, is_up=True))
    decided = [s for s in decide(away).steps if isinstance(s, Stop)]
    assert decided == []
    late = replace(away, now=away.now + away.environment.quarantine)
    assert [s.name for s in decide(late).steps if isinstance(s, Stop)] == ["web-g1-0"]


def test_a_tainted_worker_is_not_kept_for_it_would_go_on_working() -> None:
    jobs = world(generation(1, member("jobs-g1", kind="worker", size=2)))
    left = changed(jobs, "jobs-g1-0", tainted=SHELL, draining=jobs.now - 1)
    assert Stop("jobs-g1-0", left.members(1)["jobs"].policy.grace) in decide(left).steps


def test_what_has_no_address_is_no_target() -> None:
    before = two()
    cut_off = replace(before, seen={**before.seen, "web-g1-0": replace(before.seen["web-g1-0"], host="")})
    assert [t.name for g in declaration(cut_off).groups for t in g.targets] == ["web-g1-1"]


def test_of_many_tainted_instances_only_the_last_few_are_kept() -> None:
    many = world(generation(1, member("web-g1", size=6)))
    for n in range(5):
        many = changed(many, f"web-g1-{n}", tainted=SHELL, draining=many.now - 100 + n)
    many = replace(many, edge=replace(many.edge, declaration=None, weights={}, is_up=True))
    ended = [s.name for s in decide(many).steps if isinstance(s, Stop)]
    assert ended == [f"web-g1-{n}" for n in range(5 - MOST_KEPT)]


def test_what_was_touched_is_only_told_where_the_environment_says_report() -> None:
    before = touched(two(), "web-g1-0")
    reporting = replace(before, environment=replace(before.environment, taint="report"))
    assert decide(reporting).steps == (Taint("web-g1-0", SHELL),)
    assert decide(changed(reporting, "web-g1-0", tainted=SHELL)).steps == ()
    ignoring = replace(before, environment=replace(before.environment, taint="ignore"))
    assert decide(ignoring).steps == ()


def test_a_tainted_canary_takes_its_rollout_back() -> None:
    old, new = generation(1, member("web-g1")), generation(2, member("web-g2"), outcome="")
    under_way = world(old, new, rollout=going("stage"), running={"web-g1": 1, "web-g2": 1}, weights=TENTH)
    step = decide(changed(under_way, "web-g2-0", tainted=SHELL)).steps[0]
    assert isinstance(step, Enter)
    assert step.phase == "rolling back"
    assert step.reason == f"web-g2-0 is tainted, and what was touched is never promoted: {SHELL}"


def test_a_touched_instance_of_what_serves_does_not_stop_a_rollout() -> None:
    old, new = generation(1, member("web-g1", size=2)), generation(2, member("web-g2"), outcome="")
    under_way = world(old, new, rollout=going("stage"), running={"web-g1": 2, "web-g2": 1}, weights=TENTH)
    steps = decide(changed(under_way, "web-g1-0", tainted=SHELL)).steps
    assert Drain("web-g1-0") in steps
    assert not [s for s in steps if isinstance(s, Enter)]


def test_who_was_asked_to_leave_waits_for_a_successor() -> None:
    before = changed(two(), "web-g1-1", aside="debug", hold=two().now + 60)
    assert decide(before).steps == (Allot("web-g1", 9),)
    ready = carried_out(carried_out(before))
    assert [s for s in decide(ready).steps if isinstance(s, Drain)] == [Drain("web-g1-1")]


def test_one_at_a_time_is_reborn() -> None:
    before = two()
    for one in before.allotments:
        before = changed(before, one.name, aside="rebirth")
    born: list[str] = []
    fewest = 2
    for _ in range(40):
        decided = decide(before)
        if not decided.steps:
            break
        for step in decided.steps:
            before = assume(before, step)
            fewest = min(fewest, before.ready("web-g1"))
            born += [step.name] if isinstance(step, Launch) else []
    assert fewest == 2
    assert len(born) == 2
    assert {a.name for a in before.allotments} == set(born)


def test_an_instance_is_reborn_before_it_is_older_than_it_may_be() -> None:
    young = two(max_age=100.0)
    decided = decide(young)
    assert decided.steps == ()
    assert decided.wait_until is not None
    assert young.now + 85 - 0.001 <= decided.wait_until <= young.now + 95
    old = replace(young, seen={n: replace(READY, started=young.now - 100) for n in young.seen})
    assert decide(old).steps == (Allot("web-g1", 9),)


def test_nobody_is_reborn_while_a_rollout_is_under_way() -> None:
    old = generation(1, member("web-g1", max_age=1.0))
    new = generation(2, member("web-g2"), outcome="")
    under_way = world(old, new, rollout=going("stage"), running={"web-g1": 1, "web-g2": 1}, weights=TENTH)
    assert decide(under_way).steps == ()


def test_what_may_exist_once_goes_first_and_then_its_successor_starts() -> None:
    before = changed(world(generation(1, member("web-g1", is_alone=True))), "web-g1-0", aside="rebirth")
    assert decide(before).steps == (Drain("web-g1-0"),)


def test_a_group_whose_every_instance_is_touched_is_replaced_ever_more_slowly() -> None:
    before = changed(two(), "web-g1-0", tainted=SHELL)
    state = before.groups["web-g1"]
    often = replace(before, groups={"web-g1": replace(state, deaths=(before.now,) * 5)})
    assert not [s for s in decide(often).steps if isinstance(s, Allot)]


def test_disposing_of_all_keeps_nothing() -> None:
    left = changed(two(), "web-g1-0", tainted=SHELL, draining=two().now - 10)
    ended = replace(left, wish=0, serving=0, edge=replace(left.edge, declaration=None, weights={}, is_up=False))
    assert "web-g1-0" in [s.name for s in decide(ended).steps if isinstance(s, Stop)]


def test_a_dead_instance_is_no_matter_of_age() -> None:
    old = two(max_age=10.0)
    dead = Seen(is_alive=False, is_ready=False, ended="exit code 1", started=old.now - 100)
    assert not [s for s in decide(replace(old, seen={**old.seen, "web-g1-0": dead})).steps if isinstance(s, Drain)]
