"""The ledger: whatever is changed in it, moved, taken out or cut off is noticed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
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
    assert journal.ledger.verify(LOCAL).events == 6


def test_an_event_reads_as_it_was_noted(journal: Journal) -> None:
    noted = journal.ledger.note(LOCAL, "gate", "it passed", {"why": "it did"})
    assert journal.ledger.events(LOCAL, 1) == (noted,)


def test_each_environment_has_a_chain_of_its_own(journal: Journal) -> None:
    journal.open_environment("shop", "other")
    written(journal, 3)
    other = Scope("shop", "other")
    assert (journal.ledger.verify(LOCAL).events, journal.ledger.verify(other).events) == (4, 1)
    assert first_hash("a", "b", "c") != first_hash("a", "c", "b")
    with pytest.raises(NotFound):
        journal.ledger.verify(Scope("shop", "nowhere"))


CHANGED, HASH, MISSING = "text, facts, kind or time", "its hash was changed", "it is missing"
NO_EVENT, RENUMBERED, PUT_IN, NOT_NEWEST = "not even an event", "renumbered", "it was put in", "not the newest"


@pytest.mark.parametrize(
    ("statement", "broken", "wrong"),
    [
        ("update events set text = 'event two' where number = 3", 3, CHANGED),
        ("update events set text = cast(text as blob) where number = 3", 3, NO_EVENT),
        ("update events set text = cast(x'ff' as text) where number = 3", 3, NO_EVENT),
        ("update events set at = at + 1 where number = 4", 4, CHANGED),
        ("update events set at = 'noon' where number = 4", 4, NO_EVENT),
        ("update events set at = 9e999 where number = 4", 4, NO_EVENT),
        ("update events set kind = 'wish' where number = 2", 2, CHANGED),
        ("update events set kind = x'00' where number = 2", 2, NO_EVENT),
        ("update events set facts = '{}' where number = 3", 3, CHANGED),
        ('update events set facts = \'{"n":"1"}\' where number = 3', 3, NO_EVENT),
        ("update events set facts = '{\"n\": 1}' where number = 3", 3, NO_EVENT),
        ("update events set facts = '[]' where number = 1", 1, NO_EVENT),
        ("update events set facts = 'nonsense' where number = 3", 3, NO_EVENT),
        (f"update events set facts = '{'[' * 100_000}' where number = 3", 3, NO_EVENT),
        ("update events set hash = 'sha256:0' where number = 5", 5, HASH),
        ("update events set hash = 'sha256:0' where number = 6", 6, HASH),
        ("update events set hash = cast(x'ff' as text) where number = 5", 5, NO_EVENT),
        ("update events set hash = 'sha256:0', text = '' where number = 5", 5, "neither is what follows"),
        ("update events set text = 'the end' where number = 6", 6, CHANGED),
        ("update events set environment = 2 where environment = 1 and number = 6", 6, MISSING),
        ("delete from events where number = 3", 3, MISSING),
        ("delete from events where number = 1", 1, MISSING),
        ("delete from events where number = 6", 6, MISSING),
        ("delete from events", 1, MISSING),
        ("update events set number = 7 where number = 6", 6, RENUMBERED),
        ("update events set number = number + 10 where number > 2", 3, RENUMBERED),
        ("update events set number = -5 where number = 2", 1, "it is missing: the next one that is there is event -5"),
        ("update events set number = 'two' where number = 2", 2, MISSING),
        ("insert into events select 1, 7, at, kind, text, facts, hash from events where number = 6", 7, PUT_IN),
        ("update environments set last_event = 5 where name = 'local'", 6, PUT_IN),
        ("update environments set last_event = 7 where name = 'local'", 7, MISSING),
        ("update environments set last_hash = 'sha256:0' where name = 'local'", 6, NOT_NEWEST),
        ("update environments set last_hash = cast(x'ff' as text) where name = 'local'", 6, NOT_NEWEST),
        ("update environments set last_event = 'all' where name = 'local'", 6, NOT_NEWEST),
    ],
)
def test_the_first_record_that_is_not_what_was_written_is_named(
    journal: Journal, path: Path, statement: str, broken: int, wrong: str
) -> None:
    journal.open_environment("shop", "other")
    written(journal)
    whole = journal.ledger.verify(LOCAL)
    assert (whole.events, whole.broken, whole.wrong) == (6, 0, "")
    hashes = {event.number: event.hash for event in journal.ledger.events(LOCAL, 9)}
    assert whole.head == hashes[6]
    tamper(path, statement)
    found = journal.ledger.verify(LOCAL)
    assert (found.broken, wrong in found.wrong) == (broken, True), found
    assert found.events == broken - 1
    assert found.head == hashes.get(broken - 1, first_hash(journal.owner, "shop", "local"))


@pytest.mark.parametrize("change", ["facts = 'nonsense'", "facts = '[]'", "facts = '{\"a\": 1}'", "at = 'noon'"])
def test_an_event_that_cant_be_read_is_named_and_no_seal_is_missed_for_it(
    journal: Journal, path: Path, change: str
) -> None:
    written(journal)
    tamper(path, f"update events set {change} where number = 3")
    with pytest.raises(Conflict, match="event 3 of the ledger can't be read") as caught:
        journal.ledger.events(LOCAL, 9)
    assert "anew history --verify" in caught.value.hint
    tamper(path, "update events set kind = 'decision', text = 'seal r1 as g1: web-g1 new' where number = 3")
    assert journal.ledger.sealed(LOCAL) == () or change.startswith("at")


def test_an_event_that_was_put_in_between_is_noticed_however_well_it_is_made(journal: Journal, path: Path) -> None:
    written(journal)
    before = journal.ledger.events(LOCAL, 9)[2]
    tamper(path, "update events set number = -number where number > 3")
    tamper(path, "update events set number = 1 - number where number < 0")
    tamper(path, "update environments set last_event = 7 where name = 'local'")
    false = Event(4, 1000.0, "note", "it never was", {})
    tamper(
        path,
        f"insert into events values (1, 4, 1000.0, 'note', 'it never was', '{{}}', '{chained(before.hash, false)}')",
    )
    found = journal.ledger.verify(LOCAL)
    assert (found.events, found.broken) == (4, 5)
    assert "neither is what follows" in found.wrong


def test_two_events_that_changed_places_are_noticed(journal: Journal, path: Path) -> None:
    written(journal)
    for change in ("number = 99 where number = 3", "number = 3 where number = 4", "number = 4 where number = 99"):
        tamper(path, f"update events set {change}")
    assert journal.ledger.verify(LOCAL).broken == 3


def test_a_ledger_does_not_pass_for_that_of_another_state(journal: Journal, path: Path) -> None:
    journal.close()
    tamper(path, "update state set owner = 'another'")
    assert journal.ledger.verify(LOCAL).broken == 1


def test_a_hundred_thousand_events_are_checked_in_little_memory(path: Path) -> None:
    journal = opened(path)
    (first,) = journal.ledger.events(LOCAL, 1)
    journal.close()
    rows, link = [], first.hash
    for n in range(2, 100_002):
        event = Event(n, 1000.0, "note", f"event {n} " + "x" * 100, {})
        link = chained(link, event)
        rows.append((n, event.text, link))
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("insert into events values (1, ?, 1000.0, 'note', ?, '{}', ?)", rows)
        connection.execute("update environments set last_event = 100001, last_hash = ?", (link,))
        connection.commit()
    program = """
import resource, sys
from pathlib import Path
from journal_rows import LOCAL, Ticks
from anew.shell.journal import Journal
journal = Journal(Path(sys.argv[1]), Ticks())
journal.owner
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = journal.ledger.verify(LOCAL)
print(found.events, found.broken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    argv = [sys.executable, "-c", program, str(path)]
    told = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=Path(__file__).parent).stdout
    events, broken, kilobytes = map(int, told.split())
    assert (events, broken) == (100_001, 0)
    assert kilobytes < 8192


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
    assert journal.ledger.verify(LOCAL).events == len(notes) + 1
    journal.close()


@given(
    before=st.sampled_from(["sha256:a", "sha256:b"]),
    one=st.builds(Event, st.integers(1, 3), st.floats(0, 3), TEXTS.map(repr), TEXTS.map(repr)),
    other=st.builds(Event, st.integers(1, 3), st.floats(0, 3), TEXTS.map(repr), TEXTS.map(repr)),
)
def test_different_events_have_different_hashes(before: str, one: Event, other: Event) -> None:
    assert (chained(before, one) == chained(before, other)) == (one == other)
    assert chained(before, one) != chained(before + "0", one)
