"""Several processes at once, and processes that are killed in the middle of a commit."""

from __future__ import annotations

from pathlib import Path

from journal_rows import LOCAL, WallClock, race, sealed, start

from anew.core.steps import Begin, Enter
from anew.shell.journal import Journal

PROCESSES = 4


def test_processes_that_race_share_one_state_and_nothing_is_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    answers = race("everything", path, PROCESSES)
    journal = Journal(path, WallClock())
    for same in ("owner", "preview", "generation", "allotted"):
        assert len({str(one[same]) for one in answers}) == 1, same
    assert [one["is_begun"] for one in answers].count(True) == 1
    names = [name for one in answers for name in one["releases"]]  # type: ignore[attr-defined]
    assert sorted(names) == sorted(f"r{n}" for n in range(2, 2 + 5 * PROCESSES))
    # a process that ended first may have had its borrowed ports taken back: only those of one process must differ
    assert all(len(set(one["lent"])) == 5 for one in answers)  # type: ignore[call-overload]
    rollout = journal.rollout(LOCAL)
    assert rollout is not None
    assert (rollout.version, rollout.stage) == (30 * PROCESSES, 30 * PROCESSES)
    ports = [one.port for one in journal.instances.allotments(LOCAL)]
    assert len(set(ports)) == len(ports) == 20
    assert journal.ledger.verify(LOCAL).events == len(journal.ledger.events(LOCAL, 10_000))
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".journal-")] == []
    journal.close()


def test_processes_that_make_the_file_at_the_same_moment_make_one_file(tmp_path: Path) -> None:
    for n in range(3):
        folder = tmp_path / str(n)
        folder.mkdir()
        owners = {str(one["owner"]) for one in race("owner", folder / "journal.db", PROCESSES)}
        journal = Journal(folder / "journal.db", WallClock())
        assert owners == {journal.owner}
        journal.close()


def test_a_kill_at_any_moment_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path, WallClock())
    row = journal.open_environment("shop", "local")
    journal.wish(row.scope, sealed(journal, web="a").number, "rollout", None)
    journal.begin(row.scope, Begin("rollout", 0, 1, "it is wanted"))
    (tmp_path / "go").touch()
    for moment in range(8):
        journal.close()
        writer = start("write_until_killed", path)
        assert writer.stdout is not None
        answered = [int(writer.stdout.readline()) for _ in range(3 + 7 * moment)]
        writer.kill()
        with writer.stdout as rest:
            answered += [int(line) for line in rest if line.endswith("\n")]
        writer.wait(30)
        rollout = journal.rollout(LOCAL)
        assert rollout is not None
        assert rollout.version in {answered[-1], answered[-1] + 1}
        events = journal.ledger.events(LOCAL, 100_000)
        assert journal.ledger.verify(LOCAL).events == len(events)
        entered = [event for event in events if event.facts.get("version", "0") != "0"]
        assert [event.facts["version"] for event in entered] == [str(n + 1) for n in range(rollout.version)]
        assert entered[-1].text == f"enter stage {rollout.stage + 1}: {rollout.reason}"
        journal.enter(LOCAL, Enter(rollout.id, rollout.version, "stage", 0, "and on it goes"))
    journal.close()
