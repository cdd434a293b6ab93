"""What is said of a generation when it is sealed for an engine that can't hold all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from journal_rows import LOCAL, Ticks, any_port, release, seals

from anew.model import Generation, Limits, Member, Policy, Scope
from anew.shell.admitting import note_unheld
from anew.shell.journal import Journal


def sealed(journal: Journal, limits: Limits) -> tuple[Scope, Generation]:
    scope = journal.open_environment(LOCAL.project, LOCAL.environment).scope
    made = journal.releases.add(release(web="w", other="o"))
    told = [replace(one, limits=limits) if one.service == "web" else one for one in seals(made)]
    members = [Member(one.service, "", 1, Policy()) for one in told]
    return scope, journal.generations.seal(scope, made, members, told, any_port)


def test_a_limit_that_does_not_hold_is_said_and_stands_in_the_ledger(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state.db", Ticks())
    said: list[str] = []
    scope, generation = sealed(journal, Limits(memory=64 << 20, pids=100))
    lacks = {"memory": "it is not counted", "cpu": "nobody knows"}
    note_unheld(journal, lambda _scope: lacks, scope, generation, said.append)
    assert said == ["g1: the limit of memory of web does not hold here: it is not counted"]
    assert [one.text for one in journal.ledger.events(scope, 9) if one.kind == "note"][1:] == said
    journal.close()


def test_without_limits_the_engine_is_not_asked(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state.db", Ticks())
    scope, generation = sealed(journal, Limits())
    note_unheld(journal, lambda _scope: pytest.fail("asked"), scope, generation, pytest.fail)
    journal.close()
