"""When a keeper may look rarely, and that nothing is missed meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anew.core.world import Allotment, Seen, World
from anew.model import Environment, Rollout, Scope
from anew.shell.clock import SystemClock
from anew.shell.journal import Journal
from anew.shell.keeper import is_at_rest

SCOPE = Scope("shop", "local", "one")
ONE = Allotment("shop-local-web-g1-0", "web-g1", 0, 20_000)
READY = Seen(is_alive=True, is_ready=True)
RESTING = World(
    1.0, SCOPE, Environment("local"), 20_100, 1, "rollout", 1, {}, allotments=(ONE,), seen={ONE.name: READY}
)


def test_a_keeper_rests_only_while_all_is_as_it_shall_be() -> None:
    assert is_at_rest(RESTING)
    rollout = Rollout(1, "rollout", 0, 1, "warm", 0.0)
    for busy in (
        replace(RESTING, rollout=rollout),
        replace(RESTING, seen={}),  # not launched yet
        replace(RESTING, seen={ONE.name: replace(READY, is_ready=False)}),
        replace(RESTING, seen={ONE.name: replace(READY, is_alive=False)}),
        replace(RESTING, allotments=(replace(ONE, draining=1.0),)),
        replace(RESTING, strays=("shop-local-web-g0-7",)),
    ):
        assert not is_at_rest(busy)


def test_the_stamp_of_the_journal_differs_after_every_commit_whoever_made_it(tmp_path: Path) -> None:
    mine, other = (Journal(tmp_path / "state.db", SystemClock()) for _ in range(2))
    scope = mine.open_environment("shop", "local").scope
    stamps = [mine.stamp()]
    assert mine.stamp() == stamps[0]
    for number, journal in enumerate((mine, other, mine, other)):
        journal.save_settings(scope, Environment("local", port=9000 + number))
        stamps.append(mine.stamp())
    mine.close()
    stamps.append(mine.stamp())  # a fresh connection counts from the start
    assert len(set(stamps)) == len(stamps)
    with mine.reading():
        inside = mine.stamp()
        other.save_settings(scope, Environment("local", port=9999))
        assert mine.stamp() == inside  # it belongs to what is read here
    assert mine.stamp() != inside
    mine.close()
    other.close()
