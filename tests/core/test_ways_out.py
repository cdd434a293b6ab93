"""Situations from which an environment must find out by itself: each was a way into which a rollout could get stuck."""

from __future__ import annotations

from dataclasses import replace

from small import READY, generation, going, member, world

from anew.core.decide import decide
from anew.core.steps import Begin, Drain, Enter, Launch, Retire, Stop
from anew.core.tasks import key_scheduled
from anew.core.tasks import look as tasks_look
from anew.core.world import Allotment, Seen, World
from anew.model import EdgeReading, Member

RUNNING = Seen(is_alive=True, is_ready=False)
TENTH = {"web": {"web-g1": 900, "web-g2": 100}}


def under_way(phase: str = "stage", *, ready: tuple[str, ...] = ("web-g1", "web-g2")) -> World:
    old, new = generation(1, member("web-g1")), generation(2, member("web-g2"), outcome="")
    rollout = replace(going("stage"), phase=phase)  # type: ignore[arg-type]
    ones = world(old, new, rollout=rollout, running={"web-g1": 1, "web-g2": 1}, weights=TENTH)
    seen = {n: s if n.rpartition("-")[0] in ready else replace(s, is_ready=False) for n, s in ones.seen.items()}
    return replace(ones, seen=seen)


def events(here: World) -> list[Enter]:
    return [step for step in decide(here).steps if isinstance(step, Enter)]


def test_going_back_ends_though_the_old_group_can_not_take_its_traffic_back() -> None:
    stuck = under_way("rolling back", ready=("web-g2",))
    assert stuck.rollout is not None
    early = replace(stuck, rollout=replace(stuck.rollout, since=stuck.now))
    assert events(early) == []
    late = replace(stuck, rollout=replace(stuck.rollout, since=stuck.now - 60))
    assert [step.phase for step in events(late)] == ["rolled back"]


def test_going_back_waits_for_the_shift_that_can_be_made() -> None:
    here = under_way("rolling back")
    assert here.rollout is not None
    late = replace(here, rollout=replace(here.rollout, since=here.now - 60))
    assert events(late) == []


def test_what_an_earlier_rollout_of_the_same_group_left_is_no_evidence() -> None:
    here = under_way()
    assert here.rollout is not None
    begun = here.now - 5
    left = Allotment("web-g2-7", "web-g2", 7, 20_099, draining=begun - 100, tainted="a shell")
    flapping = replace(READY, falls=9)
    again = replace(
        here,
        rollout=replace(here.rollout, begun=begun),
        allotments=(*here.allotments, left),
        seen={**here.seen, left.name: flapping},
    )
    assert not [step for step in events(again) if step.phase == "rolling back"]
    now = replace(again, allotments=(*here.allotments, replace(left, draining=begun + 1)))
    assert [step.phase for step in events(now)] == ["rolling back"]


def jobs(group: str, *, is_alone: bool, size: int = 1) -> Member:
    return member(group, kind="worker", size=size, is_alone=is_alone)


def test_a_service_that_may_be_several_again_is_not_alone_for_what_it_once_was() -> None:
    once, several = generation(1, jobs("jobs-g1", is_alone=True)), generation(2, jobs("jobs-g1", is_alone=False))
    newer = generation(3, jobs("jobs-g3", is_alone=False), outcome="")
    assert world(once, serving=1).alone == {"jobs-g1"}
    assert world(once, several, serving=2).alone == set()
    assert world(once, several, newer, serving=2, rollout=replace(going("stage"), old=2, new=3)).alone == set()
    assert world(once, several, serving=1, rollout=replace(going("stage"), old=1, new=2)).alone == {"jobs-g1"}
    assert world(several, replace(once, number=3), serving=2).alone == set(), "what serves says so"


def test_a_scheduled_run_ends_where_all_is_disposed_of() -> None:
    key = key_scheduled("nightly")
    job = generation(1, member("nightly-g1", kind="job"))
    one = Allotment("nightly-g1-0", "nightly-g1", 0, 0, task=key)
    here = world(job)
    there = replace(here, allotments=(one,), seen={one.name: replace(RUNNING, started=here.now - 1)})
    gone = replace(there, wish=0, serving=0)
    assert tasks_look(there).steps == ()
    assert tasks_look(gone).steps == (Drain(one.name),)
    assert tasks_look(replace(there, seen={})).steps == (Launch(one.name, one.group),)
    assert tasks_look(replace(gone, seen={})).steps == (Retire(one.name, "never started", is_death=False),)


def test_a_touched_instance_is_kept_though_requests_are_stuck_in_it() -> None:
    before = world(generation(1, member("web-g1", size=2)))
    left = replace(before.allotments[0], tainted="it is paused", draining=before.now - 10)
    away = replace(before, allotments=(left, *before.allotments[1:]))
    away = replace(away, edge=replace(away.edge, declaration=None, weights={}, is_up=True, in_flight={left.name: 1}))
    assert not [step for step in decide(away).steps if isinstance(step, Stop)]


def test_workers_have_their_time_at_full_though_their_group_once_died() -> None:
    old = generation(1, member("web-g1"), member("mail-g1", kind="worker"))
    new = generation(2, member("web-g2"), member("mail-g2", kind="worker"), outcome="")
    full = replace(going("full"), begun=going("full").begun - 3600)
    weights = {"web": {"web-g2": 1000}}
    here = world(old, new, rollout=full, running={"web-g1": 1, "web-g2": 1}, weights=weights)
    for died in (full.begun - 3600, full.begun + 60):  # long before, and as it was tried by some minutes ago
        state = replace(here.groups["mail-g2"], deaths=(died,), outcome="exit code 1")
        again = replace(here, groups={**here.groups, "mail-g2": state})
        assert events(again) == []
        assert [step.phase for step in events(replace(again, now=here.now + 60))] == ["rolling back"]


def test_going_back_asks_nothing_of_an_edge_that_is_not_there() -> None:
    ones = [generation(n, member(f"mail-g{n}", kind="worker")) for n in (1, 2)]
    here = world(*ones, serving=2, wish=1, wish_kind="rollback")
    nobody = replace(here, edge=EdgeReading(is_up=False))
    assert [type(step) for step in decide(nobody).steps] == [Begin]
