"""What is committed with a phase, and what preview tests tell: on a journal of its own, with nothing that runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from journal_rows import LOCAL, Ticks, opened, sealed

from anew.core.consequences import Change
from anew.core.steps import Begin, Enter
from anew.core.steps import Test as Preview
from anew.core.world import GroupState, World
from anew.model import Environment, Phase
from anew.model import Test as OneTest
from anew.shell.effects import Effects
from anew.shell.journal import Also, Journal


@dataclass
class Answers:
    """What of the parts preview tests ask: the next answer each, "" for one that passes."""

    says: list[str] = field(default_factory=list)

    def http_failure(self, _test: OneTest, _port: int, _host: str) -> str:
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return opened(tmp_path / "state.db", Ticks())


def effects(journal: Journal, answers: Answers | None = None) -> Effects:
    nothing = cast("Any", None)
    return Effects(LOCAL, journal, nothing, nothing, nothing, cast("Any", answers))


def world(journal: Journal) -> World:
    row = journal.environment("shop", "local")
    assert row is not None
    groups = {name: GroupState(group.group, 1) for name, group in journal.instances.groups(LOCAL).items()}
    known = journal.generations.all(LOCAL)
    rollout = journal.rollout(LOCAL)
    return World(1000.0, LOCAL, Environment("local"), 1, row.wish, row.wish_kind, row.serving, known, groups, rollout)


def served(journal: Journal, *marks: str) -> None:
    """Seal generations that all served, the last one serves."""
    for mark in marks:
        one = sealed(journal, web=mark)
        journal.wish(LOCAL, one.number, "rollout", None)
        rollout = journal.begin(LOCAL, Begin("rollout", one.number - 1, one.number, "it is wanted"))
        changes = (Change(one.number, "promoted"),)
        step = Enter(rollout.id, rollout.version, "done", 0, "done")
        journal.enter(LOCAL, step, also=Also(serving=one.number, changes=changes))


def enter(journal: Journal, phase: Phase) -> None:
    rollout = journal.rollout(LOCAL)
    assert rollout is not None
    effects(journal).carry_out(world(journal), Enter(rollout.id, rollout.version, phase, 0, "because"))


def test_a_rollback_that_is_aborted_leaves_its_generation_a_way_back(journal: Journal) -> None:
    served(journal, "one", "two")
    journal.wish(LOCAL, 1, "rollback", None)
    journal.begin(LOCAL, Begin("rollback", 2, 1, "it is wanted"))
    journal.ask(LOCAL, "abort")
    enter(journal, "rolling back")
    enter(journal, "rolled back")
    assert journal.generations.all(LOCAL)[1].outcome == "promoted"
    row = journal.environment("shop", "local")
    assert row is not None
    assert (row.wish, row.serving) == (2, 2)


def test_a_rollout_that_is_aborted_has_failed(journal: Journal) -> None:
    served(journal, "one")
    two = sealed(journal, web="two")
    journal.wish(LOCAL, two.number, "rollout", None)
    journal.begin(LOCAL, Begin("rollout", 1, 2, "it is wanted"))
    journal.ask(LOCAL, "abort")
    enter(journal, "rolling back")
    assert journal.generations.all(LOCAL)[2].outcome == "rolled back"


def test_what_was_on_its_way_when_all_was_disposed_of_may_be_wanted_again(journal: Journal) -> None:
    served(journal, "one")
    two = sealed(journal, web="two")
    journal.wish(LOCAL, two.number, "rollout", None)
    journal.begin(LOCAL, Begin("rollout", 1, 2, "it is wanted"))
    journal.vacate(LOCAL)
    outcomes = {n: g.outcome for n, g in journal.generations.all(LOCAL).items()}
    assert outcomes == {1: "promoted", 2: "withdrawn"}
    assert sealed(journal, web="two").number == 3


def previewed(journal: Journal, answers: Answers, *, eventually: float) -> str:
    """Begin a rollout whose only test is asked for within `eventually`, test it, and return what was found."""
    served(journal, "one")
    two = sealed(journal, web="two")
    journal.wish(LOCAL, two.number, "rollout", None)
    journal.begin(LOCAL, Begin("rollout", 1, 2, "it is wanted"))
    here = world(journal)
    test = OneTest(get="/", at="preview", eventually=eventually)
    tested = replace(here.generations[2].members[0], tests=(test,))
    old = replace(here.generations[1].members[0], tests=(replace(test, get="/old"),))
    generations = {
        1: replace(here.generations[1], members=(old,)),
        2: replace(here.generations[2], members=(tested, replace(old, service="old"))),
    }
    one = effects(journal, answers)
    one.carry_out(replace(here, generations=generations), Preview(2))
    end = time.monotonic() + 20
    while one.is_testing and time.monotonic() < end:
        time.sleep(0.01)
    rollout = journal.rollout(LOCAL)
    assert rollout is not None
    return rollout.tested


def test_a_preview_test_is_tried_until_it_passes(journal: Journal) -> None:
    assert previewed(journal, Answers(["status 503", "status 503", ""]), eventually=10.0) == "passed"


def test_a_preview_test_that_never_passes_says_why_after_its_bound(journal: Journal) -> None:
    found = previewed(journal, Answers(["status 503"]), eventually=0.3)
    assert found.endswith("status 503")
    assert found.startswith("web: ")
    assert "old" not in found, "what serves already is not asked"


def test_tests_of_a_rollout_that_has_ended_are_nobodys(journal: Journal) -> None:
    answers = Answers(["status 503"])
    served(journal, "one")
    two = sealed(journal, web="two")
    journal.wish(LOCAL, two.number, "rollout", None)
    rollout = journal.begin(LOCAL, Begin("rollout", 1, 2, "it is wanted"))
    here = world(journal)
    journal.enter(LOCAL, Enter(rollout.id, rollout.version, "rolled back", 0, "over"))
    one = effects(journal, answers)
    one.carry_out(here, Preview(2))
    assert one.testing is not None
    one.testing.join(10)
    assert journal.rollout(LOCAL) is None
