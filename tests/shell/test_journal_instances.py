"""Ordinals and ports: given once, and never to two."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_rows import LOCAL, Ticks, opened, sealed

from anew.core.steps import Allot
from anew.core.world import Allotment
from anew.errors import Conflict, NotFound
from anew.shell.database import FIRST_PORT, LAST_PORT
from anew.shell.instances import DEATHS
from anew.shell.journal import Journal, Stale


def always(_port: int) -> bool:
    return True


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def journal(tmp_path: Path, clock: Ticks) -> Iterator[Journal]:
    made = opened(tmp_path / "journal.db", clock)
    sealed(made, web="a", api="b")
    yield made
    assert not made.ledger.verify(LOCAL).wrong
    made.close()


def test_an_ordinal_is_allotted_once(journal: Journal) -> None:
    first = journal.instances.allot(LOCAL, Allot("web-g1", 0), always)
    assert first == Allotment("shop-local-web-g1-0", "web-g1", 0, first.port)
    assert journal.instances.allot(LOCAL, Allot("web-g1", 0), always) == first
    second = journal.instances.allot(LOCAL, Allot("web-g1", 1), always)
    assert second.port != first.port
    assert journal.instances.allotments(LOCAL) == (first, second)
    assert journal.instances.groups(LOCAL)["web-g1"].next_ordinal == 2


def test_an_ordinal_that_was_used_up_is_never_given_again(journal: Journal) -> None:
    name = journal.instances.allot(LOCAL, Allot("web-g1", 3), always).name
    journal.instances.retire(name, "stopped", is_death=False)
    for used in (3, 2):
        with pytest.raises(Stale):
            journal.instances.allot(LOCAL, Allot("web-g1", used), always)
    with pytest.raises(NotFound):
        journal.instances.allot(LOCAL, Allot("web-g9", 0), always)


def test_draining_starts_at_the_first_call(journal: Journal, clock: Ticks) -> None:
    name = journal.instances.allot(LOCAL, Allot("web-g1", 0), always).name
    journal.instances.launched(name)
    clock.at = 1005.0
    journal.instances.drain(name)
    clock.at = 1009.0
    journal.instances.drain(name)
    (one,) = journal.instances.allotments(LOCAL)
    assert (one.launched, one.draining) == (1000.0, 1005.0)
    journal.instances.retire(name, "stopped", is_death=False)
    journal.instances.retire(name, "it is said again", is_death=True)
    journal.instances.drain(name)
    assert journal.instances.allotments(LOCAL) == ()
    assert journal.instances.groups(LOCAL)["web-g1"].deaths == ()
    for unknown in (journal.instances.launched, journal.instances.drain):
        with pytest.raises(NotFound):
            unknown("shop-local-web-g1-77")


def test_a_group_remembers_its_last_deaths(journal: Journal, clock: Ticks) -> None:
    for n in range(DEATHS + 2):
        clock.at = 2000.0 + n
        name = journal.instances.allot(LOCAL, Allot("web-g1", n), always).name
        journal.instances.retire(name, f"exit code {n}", is_death=True)
    state = journal.instances.groups(LOCAL)["web-g1"]
    assert state.deaths == tuple(2000.0 + n for n in range(2, DEATHS + 2))
    assert (state.outcome, state.next_ordinal) == (f"exit code {DEATHS + 1}", DEATHS + 2)
    assert journal.instances.groups(LOCAL)["api-g1"].deaths == ()


def test_instances_are_found_by_service_group_and_name_after_their_end(journal: Journal) -> None:
    names = [journal.instances.allot(LOCAL, Allot("web-g1", n), always).name for n in range(2)]
    other = journal.instances.allot(LOCAL, Allot("api-g1", 0), always).name
    journal.instances.retire(names[0], "stopped", is_death=False)
    for target in ("web", "web-g1"):
        assert journal.instances.names(LOCAL, target) == (names[1], names[0])
    assert journal.instances.names(LOCAL, names[0]) == (names[0],)
    assert journal.instances.names(LOCAL, "") == (other, names[1], names[0])
    assert journal.instances.names(LOCAL, "nothing") == ()


def test_a_group_with_instances_is_not_disposed_of(journal: Journal) -> None:
    journal.instances.allot(LOCAL, Allot("web-g1", 0), always)
    with pytest.raises(Stale, match="1 instances left"):
        journal.instances.forget_group(LOCAL, "web-g1")


def test_ports_go_round_so_that_one_that_was_given_back_comes_last(journal: Journal) -> None:
    row = journal.environment("shop", "local")
    assert row is not None
    start = row.preview_port + 1 if row.preview_port + 3 <= LAST_PORT else FIRST_PORT  # a state begins anywhere

    def free(port: int) -> bool:
        return port in {row.preview_port, start, start + 1, start + 2}

    first = journal.instances.allot(LOCAL, Allot("web-g1", 0), free)
    journal.instances.retire(first.name, "stopped", is_death=False)
    later = [journal.instances.allot(LOCAL, Allot("web-g1", ordinal), free).port for ordinal in (1, 2)]
    assert [first.port, *later] == [start, start + 1, start + 2]
    # round the corner: the preview port and those in use are skipped, the one given back is not
    assert journal.instances.allot(LOCAL, Allot("web-g1", 3), free).port == first.port


def test_a_port_is_one_that_can_be_bound(journal: Journal) -> None:
    def is_free(port: int) -> bool:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
        return True

    given = journal.instances.allot(LOCAL, Allot("web-g1", 0), is_free)
    with socket.socket() as listening:
        following = given.port + 1
        while not is_free(following):
            following += 1
        listening.bind(("127.0.0.1", following))
        listening.listen()
        assert journal.instances.allot(LOCAL, Allot("web-g1", 1), is_free).port > following


def test_no_free_port_is_a_conflict_and_commits_nothing(journal: Journal) -> None:
    with pytest.raises(Conflict, match="no port"):
        journal.instances.allot(LOCAL, Allot("web-g1", 0), lambda _port: False)
    assert journal.instances.allotments(LOCAL) == ()


def test_borrowed_ports_come_back_when_their_process_is_dead(journal: Journal, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from journal_rows import WallClock; from anew.shell.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]), WallClock()); print(j.ports.lend(lambda port: True)); j.close()"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "journal.db")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    left = int(subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout)
    mine = journal.ports.lend(always)
    assert mine != left
    assert journal.ports.lend(lambda port: port in {left, mine}) == left
    journal.ports.give_back(mine)
    journal.ports.give_back(mine)
    assert journal.ports.lend(lambda port: port in {left, mine}) == mine
