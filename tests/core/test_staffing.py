from __future__ import annotations

from dataclasses import replace

import pytest
from small import PREPARE, generation, going, member, world

from anew.core.decide import decide
from anew.core.progress import look
from anew.core.staffing import is_staffed, is_taken_in_turn, must_yield, sizes
from anew.core.steps import Allot, Drain
from anew.core.tasks import key_before
from anew.core.world import PASSED, TaskState, World
from anew.model import FULL, Phase
from anew.testing.worlds import NOW

WORKERS = (generation(1, member("mailer-g1", kind="worker", size=4)),)
NEW_WORKERS = generation(2, member("mailer-g2", kind="worker", size=4), outcome="")
STORES = (generation(1, member("db-g1", kind="tcp", is_alone=True)),)
NEW_STORE = generation(2, member("db-g2", kind="tcp", is_alone=True), outcome="")


def test_what_listens_is_prepared_at_full_size() -> None:
    old, new = generation(1, member("web-g1", size=2)), generation(2, member("web-g2", size=3), outcome="")
    assert sizes(world(old, new, rollout=going("prepare"))) == {"web-g1": 2, "web-g2": 3}


@pytest.mark.parametrize(
    ("phase", "stage", "old", "new"),
    [
        ("prepare", 0, 4, 0),
        ("preview", 0, 4, 0),
        ("stage", 0, 3, 1),  # 10 % of 4, and at least one
        ("stage", 1, 2, 2),
        ("full", 0, 1, 4),  # one stays until the new ones are ready
        ("warm", 0, 0, 4),
    ],
)
def test_the_number_of_workers_is_their_weight(phase: Phase, stage: int, old: int, new: int) -> None:
    ones = world(*WORKERS, NEW_WORKERS, rollout=going(phase, stage), running={"mailer-g1": 4})
    serving = replace(ones, serving=2) if phase == "warm" else ones
    assert sizes(serving) == {"mailer-g1": old, "mailer-g2": new}


def test_the_last_old_worker_goes_when_the_new_ones_are_ready() -> None:
    ones = world(*WORKERS, NEW_WORKERS, rollout=going("full"), running={"mailer-g1": 1, "mailer-g2": 4})
    assert sizes(ones) == {"mailer-g1": 0, "mailer-g2": 4}
    assert is_staffed(ones, 2)


def test_going_back_starts_the_old_workers_again() -> None:
    ones = world(*WORKERS, NEW_WORKERS, rollout=going("rolling back"), running={"mailer-g2": 4})
    assert sizes(ones) == {"mailer-g1": 4}


@pytest.mark.parametrize(
    ("phase", "old", "new"), [("prepare", 1, 0), ("stage", 1, 0), ("full", 0, 1), ("rolling back", 1, None)]
)
def test_what_may_exist_once_has_its_turn(phase: Phase, old: int, new: int | None) -> None:
    ones = world(*STORES, NEW_STORE, rollout=going(phase))
    assert sizes(ones).get("db-g1") == old
    assert sizes(ones).get("db-g2") == new


def test_the_new_one_starts_when_the_last_instance_of_the_old_one_is_gone() -> None:
    full = going("full")
    there = world(*STORES, NEW_STORE, rollout=full)
    assert must_yield(there, "db-g1")
    assert decide(there).steps == (Drain("db-g1-0"),)
    gone = world(*STORES, NEW_STORE, rollout=full, running={})
    assert decide(gone).steps == (Allot("db-g2", 9),)


def test_what_may_exist_once_is_not_replaced_beside_itself() -> None:
    ones = world(*STORES)
    hung = replace(ones.seen["db-g1-0"], is_ready=False, since=ones.now - 100)
    assert decide(replace(ones, seen={"db-g1-0": hung})).steps == (Drain("db-g1-0"),)


def test_where_nobody_serves_yet_all_start_at_once() -> None:
    first = generation(1, member("mailer-g1", kind="worker", size=2), member("db-g1", kind="tcp", is_alone=True))
    ones = world(first, serving=0, rollout=going("prepare", old=0, new=1), running={})
    assert sizes(ones) == {"mailer-g1": 2, "db-g1": 1}
    assert not is_taken_in_turn(ones, first.members[0], 0)


def test_a_group_waits_for_the_commands_before_it() -> None:
    new = generation(2, member("web-g2", before=(PREPARE,)), outcome="")
    ones = world(generation(1, member("web-g1")), new, rollout=going("prepare"))
    assert sizes(ones)["web-g2"] == 0
    assert sizes(_passed(ones))["web-g2"] == 1


def test_a_service_that_both_share_is_not_taken_in_turn() -> None:
    one = member("mailer-g1", kind="worker")
    ones = world(generation(1, one), generation(2, one, outcome=""), rollout=going("stage"))
    assert not is_taken_in_turn(ones, one, 1)
    assert sizes(ones) == {"mailer-g1": 1}


def test_what_is_only_warm_keeps_its_servers_and_no_workers() -> None:
    old = generation(1, member("web-g1"), member("mailer-g1", kind="worker"))
    new = generation(2, member("web-g2"), member("mailer-g2", kind="worker"))
    ones = world(replace(old, warm_until=10 * FULL + world(old).now), new, serving=2)
    assert sizes(ones) == {"web-g1": 1, "web-g2": 1, "mailer-g1": 0, "mailer-g2": 1}


def _passed(ones: World) -> World:
    return replace(ones, tasks={key_before(2, "web", 0): TaskState("web-g2-0", outcome=PASSED)})


@pytest.mark.parametrize(("died", "event"), [((), "passed"), ((-3.0,), None), ((-30.0,), "passed")])
def test_a_worker_that_died_in_a_stage_does_not_pass_it_by_running_again(
    died: tuple[float, ...], event: str | None
) -> None:
    rollout = replace(going("stage"), since=NOW - 12)
    ones = world(*WORKERS, NEW_WORKERS, rollout=rollout, running={"mailer-g2": 1})
    state = replace(ones.groups["mailer-g2"], deaths=tuple(NOW + at for at in died), outcome="died, exit code 3")
    found = look(replace(ones, groups={**ones.groups, "mailer-g2": state}), rollout)
    assert found.event == event
    assert ("died in this stage" in found.reason) == (event is None)
