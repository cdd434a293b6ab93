"""The file itself: made whole or not at all, and told from files that are newer, damaged, locked or not ours."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from journal_rows import LOCAL, Ticks, opened, sealed

from anew.core.steps import Allot, Begin, Enter
from anew.core.world import Allotment
from anew.errors import AnewError, Bug, Conflict, EngineError, Unsupported
from anew.model import Policy, Scope
from anew.shell.database import ERRORS, VERSION, statements, translate
from anew.shell.journal import Journal

OLDEST = Path(__file__).with_name("journal_v1.sql")
NOBODY = 65534


def test_nothing_is_made_before_the_first_use(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "below" / "journal.db"
    journal = Journal(path, Ticks())
    assert not path.parent.exists()
    assert journal.environments() == ()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.close()
    assert [one.name for one in path.parent.iterdir()] == ["journal.db"]


def test_every_commit_is_on_the_disk_before_the_call_returns(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.db")
    connection = journal._database._opened()
    assert connection.execute("pragma synchronous").fetchone()[0] == 2  # FULL
    assert connection.execute("pragma journal_mode").fetchone()[0] == "wal"
    assert connection.execute("pragma busy_timeout").fetchone()[0] == 5000
    journal.close()


def test_what_was_committed_is_there_after_closing(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.db")
    owner, generation = journal.owner, sealed(journal, web="a")
    journal.close()
    again = Journal(tmp_path / "journal.db", Ticks())
    assert (again.owner, again.generations.all(LOCAL)) == (owner, {1: generation})
    journal.close()
    again.close()


def test_the_oldest_version_is_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        connection.executescript(OLDEST.read_text())
    journal = Journal(tmp_path / "journal.db", Ticks())
    row, rollout = journal.environment("shop", "local"), journal.rollout(LOCAL)
    assert row is not None
    assert rollout is not None
    assert (journal.owner, row.scope) == ("0123456789abcdef", Scope("shop", "local", "0123456789abcdef"))
    assert (row.preview_port, row.wish, row.wish_kind, row.serving, row.settings.port) == (20000, 2, "rollout", 1, 80)
    assert (rollout.old, rollout.new, rollout.phase, rollout.stage, rollout.version) == (1, 2, "stage", 1, 2)
    assert [one.name for one in journal.releases.all("shop")] == ["r2", "r1"]
    assert {n: one.outcome for n, one in journal.generations.all(LOCAL).items()} == {1: "promoted", 2: ""}
    assert journal.instances.allotments(LOCAL) == (Allotment("shop-local-web-g2-0", "web-g2", 0, 20002),)
    assert journal.instances.groups(LOCAL)["web-g1"].outcome == "exit code 1"
    assert journal.ledger.verify(LOCAL).events == len(journal.ledger.events(LOCAL, 100)) > 5
    journal.enter(LOCAL, Enter(rollout.id, rollout.version, "full", 0, "it goes on"))
    journal.close()


def test_policies_of_before_are_read_as_they_were_meant(tmp_path: Path) -> None:
    """Nobody had to write `advance`: a release leaves it to its environment, and a generation goes on as sealed."""
    text = OLDEST.read_text()
    strict = text.replace('"within":60.0,"undecided":"advance"', '"within":300.0,"undecided":"roll back"')
    back = Policy(at_most=300.0, on_undecided="rollback")
    cases = ((text, Policy(), Policy(on_undecided="promote")), (strict, back, back))
    for number, (dump, of_release, of_generation) in enumerate(cases):
        path = tmp_path / f"{number}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(dump)
        journal = Journal(path, Ticks())
        assert {p.service.policy for one in journal.releases.all("shop") for p in one.parts} == {of_release}
        assert {m.policy for one in journal.generations.all(LOCAL).values() for m in one.members} == {of_generation}
        journal.close()


def test_the_oldest_version_becomes_what_this_one_writes(tmp_path: Path) -> None:
    opened(tmp_path / "journal.db").close()
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(OLDEST.read_text())
    opened(tmp_path / "old.db").close()
    with closing(sqlite3.connect(tmp_path / "old.db")) as old, closing(sqlite3.connect(tmp_path / "journal.db")) as new:
        shapes = [
            {name: sql.split() for name, sql in one.execute("select name, sql from sqlite_master where sql <> ''")}
            for one in (old, new)
        ]
    assert VERSION == 3
    assert shapes[0] == shapes[1]


def test_a_newer_file_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    opened(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 99")
    before = path.read_bytes()
    journal = Journal(path, Ticks())
    with pytest.raises(Conflict, match="newer anew") as caught:
        journal.open_environment("shop", "other")
    assert (caught.value.where, path.read_bytes()) == (str(path), before)
    assert "ANEW_HOME" in caught.value.hint
    journal.close()


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look at" * 100])
def test_a_file_of_somebody_else_is_refused_and_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(Conflict) as caught:
        opened(path)
    assert (caught.value.where, path.read_bytes()) == (str(path), content)
    assert caught.value.hint


def test_a_database_of_another_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table songs (title text)")
    before = path.read_bytes()
    with pytest.raises(Conflict, match="no journal of anew"):
        opened(path)
    assert path.read_bytes() == before


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = opened(path)
    sealed(journal, web="a")
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    broken = Journal(path, Ticks())
    with pytest.raises(Conflict, match="damaged") as caught:
        broken.generations.all(LOCAL)
    assert caught.value.where == str(path)
    broken.close()


def test_a_body_that_is_no_noun_says_that_the_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = opened(path)
    sealed(journal, web="a")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('update generations set body = \'{"number": "many"}\'')
        connection.commit()
    with pytest.raises(Conflict, match="damaged: Generation"):
        journal.generations.all(LOCAL)
    journal.close()


def test_a_log_without_its_file_is_not_taken_for_the_log_of_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "journal.db-wal").write_bytes(b"what is left of an older file")
    with pytest.raises(Conflict, match="write-ahead log"):
        opened(tmp_path / "journal.db")
    assert not (tmp_path / "journal.db").exists()


def test_waiting_for_another_process_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    opened(path).close()
    journal = Journal(path, Ticks(), patience=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(Conflict, match="another process holds the state"):
            journal.ledger.note(LOCAL, "note", "I was here")
        assert journal.ledger.verify(LOCAL).events == 1
        other.execute("rollback")
    journal.ledger.note(LOCAL, "note", "now I am")
    journal.close()


def test_a_full_disk_says_so_and_commits_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.db")
    connection = journal._database._opened()
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(EngineError, match="disk is full"):
        journal.ledger.note(LOCAL, "note", "x" * 100_000)
    assert journal.ledger.verify(LOCAL).events == 1
    journal.ledger.note(LOCAL, "note", "short enough")
    journal.close()


@pytest.mark.parametrize("place", ["a file/journal.db", "a folder"])
def test_a_place_where_no_file_can_be_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    with pytest.raises(Unsupported) as caught:
        opened(tmp_path / place)
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o755, 0o600), (0o755, 0o644), (0o700, 0o644)])
def test_somebody_elses_state_says_whom_to_act_as(tmp_path: Path, folder_mode: int, file_mode: int) -> None:
    home = Path("/var/tmp") / f"anew-test-{os.getpid()}"  # where nobody can go
    home.mkdir()
    try:
        opened(home / "journal.db").close()
        (home / "journal.db").chmod(file_mode)
        home.chmod(folder_mode)
        says = _note_as_nobody(home / "journal.db")
    finally:
        for one in home.iterdir():
            one.unlink()
        home.rmdir()
    assert says.startswith("Unsupported: ")
    assert "act as the user who owns" in says


def _note_as_nobody(path: Path) -> str:
    code = (
        "import sys; from pathlib import Path; from anew.model import Scope; from anew.errors import AnewError\n"
        "from anew.shell.clock import SystemClock; from anew.shell.journal import Journal; import os, sqlite3\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n  Journal(Path(sys.argv[1]), SystemClock()).ledger.note(Scope('shop', 'local'), 'note', 'x')\n"
        "except AnewError as error:\n  print(f'{type(error).__name__}: {error.what} ({error.hint})')"
    )
    argv = [sys.executable, "-c", code, str(path)]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_known_error_has_a_hint_and_extended_codes_are_told_as_their_own(code: int, tmp_path: Path) -> None:
    cause = sqlite3.OperationalError("no luck")
    cause.sqlite_errorcode = code | (3 << 8)
    told = translate(cause, tmp_path)
    assert isinstance(told, AnewError)
    assert (told.where, bool(told.hint)) == (str(tmp_path), True)


def test_a_wrong_statement_is_our_own_fault(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.db")
    with pytest.raises(Bug):
        journal._database.rows("environment")
    journal.close()


def test_every_statement_says_what_it_is_for_and_is_used() -> None:
    folder = Path(__file__).parents[2] / "src" / "anew" / "shell"
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    for name, text in statements().items():
        assert text.startswith("-- "), name
        assert f'"{name}"' in code or f"['{name}']" in code, name


def test_a_look_at_everything_takes_milliseconds(tmp_path: Path) -> None:
    """Bounds are ten times what a small machine needs, so that only a wrong plan of SQLite's breaks them."""
    journal = opened(tmp_path / "journal.db")
    for n in range(50):
        sealed(journal, web=f"web {n}", api=f"api {n % 5}")
    journal.wish(LOCAL, 50, "rollout", None)
    rollout = journal.begin(LOCAL, Begin("rollout", 0, 50, "it is wanted"))
    for n in range(10):
        journal.instances.allot(LOCAL, Allot("web-g50", n), lambda _port: True)
    journal.close()
    begun = time.perf_counter()
    again = Journal(tmp_path / "journal.db", Ticks())
    with again.reading():
        again.environment("shop", "local"), again.rollout(LOCAL), again.generations.all(LOCAL)
        again.instances.groups(LOCAL), again.instances.allotments(LOCAL)
    assert time.perf_counter() - begun < 0.05
    begun = time.perf_counter()
    for n in range(20):
        rollout = again.enter(LOCAL, Enter(rollout.id, rollout.version, "stage", n, "on it goes"))
    assert (time.perf_counter() - begun) / 20 < 0.05
    again.close()
