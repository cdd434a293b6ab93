"""How two groups compared: made from the windows of a rollout, also long after it has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from journal_rows import LOCAL, Ticks, opened, sealed

from anew.core.judging import verdict
from anew.core.steps import Begin, Enter
from anew.errors import NotFound
from anew.model import Counts, EdgeReading, Generation, Judge, Member, Policy, Rollout, Sample, Window
from anew.shell.evidence import up_to_now
from anew.shell.journal import Also, Journal, Observed
from anew.shell.judgements import judgements, rollout_ids
from anew.shell.recomputing import recomputed

WINDOWS = tuple(
    Window(100.0 + at, at // 5, {"web-g1": Sample(90, at % 2), "web-g2": Sample(10, at % 3)}) for at in range(10)
)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path / "journal.db", Ticks())
    yield made
    made.close()


def rolled_out(journal: Journal, web: str, windows: tuple[Window, ...]) -> Rollout:
    generation = sealed(journal, web=web)
    journal.wish(LOCAL, generation.number, "rollout", None)
    row = journal.environment("shop", "local")
    assert row is not None
    moving = journal.begin(LOCAL, Begin("rollout", row.serving, generation.number, "it is wanted"))
    for phase, seen in (("stage", Observed()), ("full", Observed(windows=windows)), ("warm", Observed())):
        enter = Enter(moving.id, moving.version, phase, 0, "so it goes")  # type: ignore[arg-type]
        moving = journal.enter(LOCAL, enter, seen=seen, also=Also(serving=generation.number))
    return journal.enter(LOCAL, Enter(moving.id, moving.version, "done", 0, "so it goes"))


def test_the_last_moment_is_what_the_verdict_was_made_of() -> None:
    one = judgements(Rollout(1, "rollout", 1, 2, "full", 0.0, windows=WINDOWS), generations())[0]
    old, new = ([w.samples[name] for w in WINDOWS] for name in ("web-g1", "web-g2"))
    expected = verdict(old, new, Judge())
    assert (one.kind, one.reason, one.old, one.new) == (expected.kind, expected.reason, "web-g1", "web-g2")
    (criterion,) = one.criteria
    last = criterion.course[-1]
    assert (last.harm, last.safe) == (expected.evidence["errors harm"], expected.evidence["errors safe"])
    assert (last.new.low, last.new.high) == (expected.evidence["errors new low"], expected.evidence["errors new high"])
    assert [moment.stage for moment in criterion.course] == [1] * 5 + [2] * 5
    assert criterion.visible > Judge().tolerated


def test_a_course_can_be_cut_to_its_last_moment() -> None:
    rollout = Rollout(1, "rollout", 1, 2, "full", 0.0, windows=WINDOWS)
    whole, cut = (judgements(rollout, generations(), is_brief=one)[0].criteria[0].course for one in (False, True))
    assert cut == whole[-1:]


def test_windows_in_which_nobody_came_are_a_course_too() -> None:
    empty = tuple(Window(one.at, one.stage, {}) for one in WINDOWS)
    (criterion,) = judgements(Rollout(1, "rollout", 1, 2, "full", 0.0, windows=empty), generations())[0].criteria
    assert {(one.new.requests, one.harm) for one in criterion.course} == {(0, 1.0)}
    assert len(criterion.course) == len(WINDOWS)


def test_what_was_never_judged_has_no_judgement() -> None:
    assert judgements(Rollout(1, "rollout", 1, 2, "full", 0.0), generations()) == ()
    assert judgements(Rollout(1, "rollout", 0, 2, "full", 0.0, windows=WINDOWS), generations()) == ()


def test_windows_outlive_their_rollout_and_the_next_ones(journal: Journal) -> None:
    rolled_out(journal, "a", ())
    second = rolled_out(journal, "b", WINDOWS)
    rolled_out(journal, "c", ())
    ids = rollout_ids(journal.ledger.events(LOCAL, 1000), "g2")
    found = journal.windows.of(LOCAL, ids)
    assert found == second
    assert found is not None
    assert found.windows == WINDOWS
    assert journal.windows.of(LOCAL, (99,)) is None


def test_windows_are_kept_without_moving_the_rollout(journal: Journal) -> None:
    generation = sealed(journal, web="a")
    journal.wish(LOCAL, generation.number, "rollout", None)
    begun = journal.begin(LOCAL, Begin("rollout", 0, 1, "it is wanted"))
    stage = journal.enter(LOCAL, Enter(begun.id, begun.version, "stage", 0, "so it goes"))
    events = journal.ledger.events(LOCAL, 1000)
    seen = replace(stage, counts=(("web-g1", 900, 5),), windows=WINDOWS)
    assert journal.windows.keep(LOCAL, seen)
    assert journal.rollout(LOCAL) == seen
    assert journal.ledger.events(LOCAL, 1000) == events
    moved = journal.ask(LOCAL, "promote")  # what was committed in between is not lost
    assert (moved.asked, moved.windows) == ("promote", WINDOWS)
    assert not journal.windows.keep(LOCAL, replace(seen, windows=()))
    assert journal.rollout(LOCAL) == moved


def test_who_only_looks_sees_what_came_since_the_last_commit() -> None:
    stage = Rollout(1, "rollout", 1, 2, "stage", 100.0, 1, counts=(("web-g1", 900, 5), ("web-g2", 100, 9)))
    counts = {"web-g1": Counts(990, 5), "web-g2": Counts(110, 10)}
    reading = EdgeReading(is_up=True, weights={"web": {"web-g1": 900, "web-g2": 100}}, counts=counts)
    now = up_to_now(replace(stage, windows=WINDOWS), generations(), 111.0, reading)
    assert now.windows[-1] == Window(111.0, 1, {"web-g1": Sample(90, 0), "web-g2": Sample(10, 1)})
    assert now.windows[:-1] == WINDOWS
    full = replace(stage, phase="full", windows=WINDOWS)
    assert up_to_now(full, generations(), 111.0, reading) == full


def test_who_only_looks_leaves_out_what_has_nothing_to_be_compared_with() -> None:
    stage = Rollout(1, "rollout", 1, 2, "stage", 100.0, 1, counts=(("web-g1", 900, 5), ("web-g2", 100, 9)))
    reading = EdgeReading(is_up=True, weights={"web": {"web-g2": 1000}}, counts={"web-g2": Counts(200, 109)})
    assert up_to_now(replace(stage, windows=WINDOWS), generations(), 111.0, reading).windows[-1].samples == {}


@pytest.fixture
def judged(journal: Journal) -> Journal:
    """A journal in which g2 failed in its second stage."""
    rolled_out(journal, "a", ())
    generation = sealed(journal, web="b")
    journal.wish(LOCAL, generation.number, "rollout", None)
    moving = journal.begin(LOCAL, Begin("rollout", 1, generation.number, "it is wanted"))
    bad = tuple(Window(w.at, w.stage, {"web-g1": Sample(90, 0), "web-g2": Sample(10, w.stage * 5)}) for w in WINDOWS)
    for phase, stage, seen in (
        ("stage", 0, Observed()),
        ("stage", 1, Observed(windows=bad[:5], verdicts=(("web", "undecided"),))),
        ("rolling back", 0, Observed(windows=bad, verdicts=(("web", "fail"),), stage=1)),
        ("rolled back", 0, Observed()),
    ):
        enter = Enter(moving.id, moving.version, phase, stage, "so it goes")  # type: ignore[arg-type]
        moving = journal.enter(LOCAL, enter, seen=seen)
    return journal


def test_a_verdict_that_is_made_again_is_the_same(judged: Journal) -> None:
    (one,) = recomputed(judged, LOCAL, 2)
    assert (one.service, one.group, one.windows, one.is_same) == ("web", "web-g2", 10, True)
    assert [(a.kind, a.stage) for a in one.answers] == [("undecided", 1), ("fail", 2)]
    assert [(d.stage, d.kind, d.again) for d in one.decisions] == [(1, "undecided", "undecided"), (2, "fail", "fail")]


def test_a_stage_that_was_skipped_and_a_service_that_was_not_compared_change_nothing(journal: Journal) -> None:
    rolled_out(journal, "a", ())
    generation = sealed(journal, web="b", api="c")
    journal.wish(LOCAL, generation.number, "rollout", None)
    moving = journal.begin(LOCAL, Begin("rollout", 1, generation.number, "it is wanted"))
    early = Window(100.0, 0, {"web-g1": Sample(9, 0), "web-g2": Sample(1, 0)})
    late = Window(130.0, 3, {"web-g1": Sample(200, 0), "web-g2": Sample(9800, 980)})
    for phase, seen in (
        ("stage", Observed()),
        ("full", Observed(windows=(early,), verdicts=(("web", "undecided"),))),  # promoted by hand
        ("warm", Observed()),
        ("rolling back", Observed(windows=(early, late), verdicts=(("web", "fail"),), stage=3)),
    ):
        enter = Enter(moving.id, moving.version, phase, 0, "so it goes")  # type: ignore[arg-type]
        moving = journal.enter(LOCAL, enter, seen=seen)
    (one,) = recomputed(journal, LOCAL, 2)
    assert [(d.stage, d.kind, d.again) for d in one.decisions] == [(1, "undecided", "undecided"), (4, "fail", "fail")]
    assert one.is_same


def test_another_policy_than_it_had_gives_another_verdict(judged: Journal, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        (body,) = connection.execute("select body from generations where number = 2").fetchone()
        lax = body.replace('"acceptable":0.005', '"acceptable":0.9').replace('"tolerated":1.2', '"tolerated":500.0')
        assert lax != body
        connection.execute("update generations set body = ? where number = 2", (lax,))
    (one,) = recomputed(judged, LOCAL, 2)
    assert not one.is_same
    assert [(d.kind, d.again) for d in one.decisions][-1][0] == "fail"


def test_what_can_not_be_judged_again_is_said(judged: Journal) -> None:
    for number, says in ((1, "g1 was not judged"), (9, "has no generation g9")):
        with pytest.raises(NotFound, match=says):
            recomputed(judged, LOCAL, number)
    rolled_out(judged, "c", ())
    with pytest.raises(NotFound, match="no windows are kept"):
        recomputed(judged, LOCAL, 3)
    rolled_out(judged, "d", WINDOWS)  # it tells no verdicts
    with pytest.raises(NotFound, match="not written down"):
        recomputed(judged, LOCAL, 4)
    sealed(judged, web="e")
    with pytest.raises(NotFound, match="never rolled out"):
        recomputed(judged, LOCAL, 5)


def generations() -> dict[int, Generation]:
    return {n: Generation(n, f"r{n}", "", (Member("web", f"web-g{n}", 2, Policy()),)) for n in (1, 2)}
