"""What a status means for somebody who waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from canned import BACK, NOTHING, STATUS, UNDER_WAY, WARM

from anew.errors import Conflict, EngineError
from anew.faces.watch import Changes, Ended, Watch, ended, follow
from anew.views import Status

G3 = Watch("local", "g3")


def reading(statuses: Sequence[Status]) -> Callable[[], Status]:
    """Return a reader that gives each status once, and then the last one for good."""
    left = list(statuses)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_a_rollout_under_way_has_not_ended() -> None:
    assert ended(STATUS, G3) is None


def test_warm_is_a_good_end_and_rolled_back_is_none() -> None:
    assert ended(WARM, G3) == Ended(is_good=True, reason="the switch is confirmed")
    end = ended(BACK, G3)
    assert end is not None
    assert not end.is_good


def test_for_an_abort_it_is_the_other_way_round() -> None:
    leaves = replace(G3, wanted="leaves")
    warm, back = ended(WARM, leaves), ended(BACK, leaves)
    assert warm is not None
    assert back is not None
    assert (warm.is_good, back.is_good) == (False, True)


def test_a_rollback_without_a_number_takes_back_what_is_under_way() -> None:
    back = ended(BACK, replace(G3, wanted="either"))
    assert back is not None
    assert back.is_good


def test_the_end_of_an_earlier_rollout_says_nothing() -> None:
    assert BACK.rollout is not None
    again = replace(G3, before=BACK.rollout)
    assert ended(replace(BACK, wish="g3"), again) is None
    begun = replace(BACK, wish="g3", rollout=replace(UNDER_WAY, since=UNDER_WAY.since + 5))
    assert ended(begun, again) is None
    failed = replace(BACK, rollout=replace(BACK.rollout, since=UNDER_WAY.since + 9))
    end = ended(failed, again)
    assert end is not None
    assert not end.is_good


def test_what_serves_already_needs_no_rollout() -> None:
    assert ended(replace(WARM, rollout=None), G3) == Ended(is_good=True, reason="g3 serves already")


def test_another_wish_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="g4 became the wish of local while g3 was on its way"):
        ended(replace(NOTHING, wish="g4"), G3)


def test_following_shows_every_status_and_ends_with_the_rollout() -> None:
    shown: list[Status] = []
    assert follow(reading([STATUS, STATUS, WARM]), G3, shown.append).is_good
    assert shown == [STATUS, STATUS, WARM]


def test_nobody_is_waited_for_who_does_not_come() -> None:
    with pytest.raises(EngineError, match="nobody acts for local") as caught:
        follow(reading([replace(STATUS, keeper=0)]), G3, lambda _: None, patience=0.3)
    assert caught.value.facts == {"command": "anew serve -e local --until-idle"}


def test_a_change_is_said_once() -> None:
    said: list[str] = []
    changes = Changes(said.append, G3)
    for status in (NOTHING, STATUS, STATUS, replace(STATUS, keeper=1), WARM):
        changes(status)
    assert said == [
        "g3  10 %  stage 2 of 3: waiting for evidence until 12:00:10",
        "g3  100 %  warm: the switch is confirmed",
    ]
