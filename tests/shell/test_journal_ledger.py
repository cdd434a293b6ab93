"""The ledger: whatever is changed in it, moved, taken out or cut off is noticed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_rows import LOCAL, Ticks, opened

from anew.errors import Conflict, NotFound
from anew.model import Scope
from anew.shell.journal import Journal
from anew.shell.ledger import chained, first_hash
from anew.views import Event

TEXTS = st.text(st.characters(codec=None), max_size=40)  # lone surrogates and zero characters too
NOTES = st.lists(
    st.tuples(TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3), st.floats(allow_nan=False, allow_infinity=False)),
    min_size=1,
    max_size=8,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = opened(path)
    yield made
    made.close()


def written(journal: Journal, count: int = 5) -> None:
    for n in range(count):
        journal.ledger.note(LOCAL, "note", f"event {n}", {"n": str(n)})


def tamper(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount > 0


def test_events_come_newest_last_and_no_more_than_asked_for(journal: Journal) -> None:
    written(journal)
    assert [event.text for event in journal.ledger.events(LOCAL, 2)] == ["event 3", "event 4"]
    assert [event.number for event in journal.ledger.events(LOCAL, 99)] == [1, 2, 3, 4, 5, 6]
    assert journal.ledger.events(LOCAL, 0) == journal.ledger.events(LOCAL, -1) == ()
    assert journal.ledger.verify(LOCAL) == 6


def test_an_event_reads_as_it_was_noted(journal: Journal) -> None:
    noted = journal.ledger.note(LOCAL, "gate", "it passed", {"why": "it did"})
    assert journal.ledger.events(LOCAL, 1) == (noted,)


def test_each_environment_has_a_chain_of_its_own(journal: Journal) -> None:
    journal.open_environment("shop", "other")
    written(journal, 3)
    other = Scope("shop", "other")
    assert (journal.ledger.verify(LOCAL), journal.ledger.verify(other)) == (4, 1)
    assert first_hash("a", "b", "c") != first_hash("a", "c", "b")
    with pytest.raises(NotFound):
        journal.ledger.verify(Scope("shop", "nowhere"))


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("update events set text = 'event two' where number = 3", 3),
        ("update events set at = at + 1 where number = 4", 4),
        ("update events set kind = 'wish' where number = 2", 2),
        ("update events set facts = '{}' where number = 3", 3),
        ("update events set facts = 'nonsense' where number = 3", 3),
        ("update events set hash = 'sha256:0' where number = 5", 5),
        ("update events set environment = 2 where number = 6", 6),
        ("delete from events where number = 3", 3),
        ("delete from events where number = 1", 1),
        ("delete from events where number = 6", 6),
        ("update events set number = 7 where number = 6", 6),
        ("insert into events select environment, 7, at, kind, text, facts, hash from events where number = 6", 7),
        ("update environments set last_hash = 'sha256:0' where name = 'local'", 7),
    ],
)
def test_the_first_record_that_is_not_what_was_written_is_named(
    journal: Journal, path: Path, statement: str, broken: int
) -> None:
    journal.open_environment("shop", "other")
    written(journal)
    tamper(path, statement)
    with pytest.raises(Conflict) as caught:
        journal.ledger.verify(LOCAL)
    assert caught.value.where == f"shop/local event {broken}"


def test_a_ledger_does_not_pass_for_that_of_another_state(journal: Journal, path: Path) -> None:
    journal.close()
    tamper(path, "update state set owner = 'another'")
    with pytest.raises(Conflict):
        journal.ledger.verify(LOCAL)


def test_an_attempt_tells_the_ledger_how_it_ended_and_only_once(journal: Journal) -> None:
    good, bad = journal.ledger.attempt(LOCAL, "launch a"), journal.ledger.attempt(LOCAL, "launch b")
    assert good < bad
    journal.ledger.attempted(bad, "engine: no such file")
    journal.ledger.attempted(good, "ok")
    journal.ledger.attempted(good, "engine: it is said again")
    told = [(event.kind, event.text) for event in journal.ledger.events(LOCAL, 9)][1:]
    assert told == [("effect", "launch b: engine: no such file"), ("effect", "launch a")]
    with pytest.raises(NotFound):
        journal.ledger.attempted(99, "ok")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(notes=NOTES)
def test_whatever_is_noted_verifies_and_reads_back(
    tmp_path_factory: pytest.TempPathFactory, notes: list[tuple[str, dict[str, str], float]]
) -> None:
    clock = Ticks()
    journal = opened(tmp_path_factory.mktemp("ledger") / "journal.db", clock)
    noted = []
    for text, facts, at in notes:
        clock.at = at
        noted.append(journal.ledger.note(LOCAL, "note", text, facts))
    assert journal.ledger.events(LOCAL, len(notes)) == tuple(noted)
    assert journal.ledger.verify(LOCAL) == len(notes) + 1
    journal.close()


@given(
    before=st.sampled_from(["sha256:a", "sha256:b"]),
    one=st.builds(Event, st.integers(1, 3), st.floats(0, 3), TEXTS.map(repr), TEXTS.map(repr)),
    other=st.builds(Event, st.integers(1, 3), st.floats(0, 3), TEXTS.map(repr), TEXTS.map(repr)),
)
def test_different_events_have_different_hashes(before: str, one: Event, other: Event) -> None:
    assert (chained(before, one) == chained(before, other)) == (one == other)
    assert chained(before, one) != chained(before + "0", one)
