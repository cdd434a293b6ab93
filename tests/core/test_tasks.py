from __future__ import annotations

from dataclasses import replace
from typing import Any

from small import CHECK, PREPARE, generation, going, member, world

from anew.core.decide import decide
from anew.core.progress import look as happening
from anew.core.steps import Allot, Drain, Enter, Launch, Retire, Stop
from anew.core.tasks import command, failure, is_prepared, key_before, key_scheduled, look, waiting
from anew.core.world import PASSED, Allotment, Seen, TaskState, World
from anew.model import Rollout
from anew.testing.groups import SCHEDULE

FIRST, SECOND = key_before(2, "web", 0), key_before(2, "web", 1)
OLD = generation(1, member("web-g1"))
NEW = generation(2, member("web-g2", before=(PREPARE, CHECK)), outcome="")
JOB = generation(1, member("nightly-g1", kind="job"))


def preparing(**tasks: str) -> World:
    """Return a world in which g2 is prepared; `tasks` are the outcomes of its commands, "" for one that runs."""
    keys = {"first": FIRST, "second": SECOND}
    known = {keys[n]: TaskState(f"web-g2-{k}", outcome=outcome) for k, (n, outcome) in enumerate(tasks.items())}
    running = [one for one in known if not known[one].outcome]
    ones = world(OLD, NEW, rollout=going("prepare"), tasks=known)
    allotted = tuple(Allotment(known[key].instance, "web-g2", 0, 0, task=key) for key in running)
    seen = {one.name: Seen(is_alive=True, is_ready=False, started=ones.now - 1) for one in allotted}
    return replace(ones, allotments=(*ones.allotments, *allotted), seen={**ones.seen, **seen})


def rollout_of(ones: World) -> Rollout:
    assert ones.rollout is not None
    return ones.rollout


def test_commands_run_one_after_the_other_before_the_group_starts() -> None:
    assert look(preparing()).steps == (Allot("web-g2", 9, FIRST),)
    assert look(preparing(first="")).steps == ()
    assert look(preparing(first=PASSED)).steps == (Allot("web-g2", 9, SECOND),)
    done = preparing(first=PASSED, second=PASSED)
    assert look(done).steps == ()
    assert is_prepared(done, rollout_of(done), NEW.members[0])
    assert Allot("web-g2", 9) in decide(done).steps


def test_what_is_allotted_is_launched_once_and_its_outcome_committed() -> None:
    begun = preparing(first="")
    assert look(replace(begun, seen={})).steps == (Launch("web-g2-0", "web-g2"),)
    assert command(begun, begun.running[FIRST]) == PREPARE
    ended = Seen(is_alive=False, is_ready=False, ended=PASSED)
    assert look(replace(begun, seen={"web-g2-0": ended})).steps == (Retire("web-g2-0", PASSED, is_death=False),)


def test_a_command_that_fails_takes_the_rollout_back() -> None:
    failed = preparing(first="exit code 3")
    assert failure(failed, rollout_of(failed)).startswith(
        "what must run before web-g2 failed: /bin/prepare: exit code 3"
    )
    assert happening(failed, rollout_of(failed)).event == "failed"
    (enter,) = decide(failed).steps
    assert isinstance(enter, Enter)
    assert enter.phase == "rolling back"


def test_what_takes_too_long_is_stopped_and_has_failed() -> None:
    begun = preparing(first="")
    late = replace(begun, now=begun.now + PREPARE.within)
    assert look(late).steps == (Drain("web-g2-0"),)
    (one,) = late.running.values()
    draining = replace(late, allotments=(*late.allotments[:-1], replace(one, draining=late.now)))
    assert isinstance(look(draining).steps[0], Stop)
    ended = replace(draining, seen={"web-g2-0": Seen(is_alive=False, is_ready=False, ended="signal 15 (SIGTERM)")})
    assert look(ended).steps == (Retire("web-g2-0", "stopped, signal 15 (SIGTERM)", is_death=False),)
    assert failure(preparing(first="stopped, signal 15 (SIGTERM)"), rollout_of(begun))


def test_the_rollout_waits_for_all_of_them() -> None:
    ones = preparing(first=PASSED)
    assert waiting(ones, rollout_of(ones)) == ("/bin/check of web", PREPARE.within + CHECK.within)


def test_commands_wait_for_whom_the_service_calls() -> None:
    new = generation(2, member("api-g2"), member("web-g2", "api", before=(PREPARE,)), outcome="")
    old = generation(1, member("api-g1"), member("web-g1", "api"))
    both = {"api-g1": 1, "web-g1": 1}
    assert look(world(old, new, rollout=going("prepare"), running=both)).steps == ()
    assert look(world(old, new, rollout=going("prepare"), running={**both, "api-g2": 1})).steps


def test_what_is_handed_over_later_is_called_where_it_is_now() -> None:
    new = generation(2, member("db-g2", is_alone=True), member("web-g2", "db", before=(PREPARE,)), outcome="")
    old = generation(1, member("db-g1", is_alone=True), member("web-g1", "db"))
    assert look(world(old, new, rollout=going("prepare"))).steps == (Allot("web-g2", 9, FIRST),)
    first = generation(2, *new.members, outcome="")
    alone = world(first, serving=0, rollout=going("prepare", old=0), running={}, weights={})
    assert look(alone).steps == ()  # its own is on its way


def test_a_rollback_and_a_shared_group_run_nothing() -> None:
    ones = world(OLD, NEW, rollout=replace(going("prepare"), kind="rollback"))
    assert look(ones).steps == ()
    shared = generation(2, member("web-g1", before=(PREPARE,)), outcome="")
    assert look(world(OLD, shared, rollout=going("prepare"))).steps == ()


def test_what_a_rollout_left_ends_before_the_next_one_runs_its_own() -> None:
    begun = preparing(first="")
    third = generation(3, member("web-g3", before=(PREPARE,)), outcome="")
    ones = world(OLD, NEW, third, rollout=going("prepare", new=3))
    left = replace(ones, allotments=(*ones.allotments, *begun.running.values()), seen={**ones.seen, **begun.seen})
    assert look(left).steps == (Drain("web-g2-0"),)
    assert look(ones).steps == (Allot("web-g3", 9, key_before(3, "web", 0)),)


def scheduled(last: float, state: TaskState | None = None, **more: Any) -> World:
    tasks = {key_scheduled("nightly"): state} if state else {}
    return world(JOB, running={}, due={SCHEDULE: (last, last + 60)}, tasks=tasks, **more)


def test_a_scheduled_run_belongs_to_the_generation_that_serves() -> None:
    last = world(JOB).now - 5
    assert look(scheduled(last)).steps == (Allot("nightly-g1", 9, "schedule nightly", last),)
    new = generation(2, member("nightly-g2", kind="job"), outcome="")
    both = world(JOB, new, rollout=going("stage"), running={}, due={SCHEDULE: (last, 0.0)})
    assert look(both).steps == (Allot("nightly-g1", 9, "schedule nightly", last),)


def test_what_was_missed_is_not_made_up_for_and_nothing_from_before_the_sealing() -> None:
    now = world(JOB).now
    assert look(scheduled(now - 5, TaskState("nightly-g1-0", now - 5, PASSED))).steps == ()
    assert look(scheduled(now - 5, TaskState("nightly-g1-0", now - 500, PASSED))).steps != ()
    assert look(scheduled(JOB.at - 1)).steps == ()
    assert look(scheduled(JOB.at - 1)).waits == (JOB.at + 59,)


def test_runs_do_not_overlap_and_outlive_their_generation() -> None:
    ones = scheduled(world(JOB).now - 5, TaskState("nightly-g1-0", 1.0))
    going_on = Allotment("nightly-g1-0", "nightly-g1", 0, 0, task=key_scheduled("nightly"))
    busy = replace(ones, allotments=(going_on,), seen={"nightly-g1-0": Seen(True, False, started=ones.now - 1)})
    assert look(busy).steps == ()
    assert look(replace(busy, serving=0)).steps == ()
