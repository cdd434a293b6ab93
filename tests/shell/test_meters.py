"""Counts that are not the edge's: what is new in them, whoever writes them, and what can't be read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from journal_rows import WallClock
from strangers import dead_url, http, stranger

from anew.core.measures import Measure, Sent, Written
from anew.errors import NotFound
from anew.model import Counts, Outcomes, Rollout, Sample
from anew.shell.meters import Meters
from anew.shell.sources import LONGEST, OutcomesFile, OutcomesPage, Probes, Since, Unread

BEGUN = 100.0
ROLLOUT = Rollout(7, "rollout", 1, 2, "prepare", since=BEGUN)
FILE = Outcomes("jobs.prom")


def written(instance: str, *, started: float = BEGUN + 1) -> Written:
    return Written("worker-g2", instance, started, FILE)


def text(good: int, bad: int) -> str:
    return f"# HELP outcomes_good_total jobs\noutcomes_good_total {good}\noutcomes_bad_total {bad}\nother 7\n"


@dataclass
class Place:
    """Instances as folders."""

    folder: Path
    opened: list[int] = field(default_factory=list)

    def say(self, instance: str, said: str | bytes) -> None:
        place = self.folder / instance
        place.mkdir(exist_ok=True)
        new = place / "new"
        new.write_bytes(said if isinstance(said, bytes) else said.encode())
        new.rename(place / FILE.file)

    def open(self, instance: str, path: str) -> int:
        try:
            self.opened.append(os.open(self.folder / instance, os.O_RDONLY))
        except FileNotFoundError as cause:
            raise NotFound(f"no instance {instance} lives", where=path) from cause
        return self.opened[-1]

    def source(self, instance: str = "a", *, is_whole: bool = True) -> OutcomesFile:
        return OutcomesFile(written(instance), self.open, Since(is_whole))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def meters(place: Place) -> Iterator[Meters]:
    one = Meters(WallClock(), place.open)
    yield one
    one.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_new_is_counted_once(place: Place) -> None:
    source = place.source()
    place.say("a", text(10, 1))
    assert source.read() == {"worker-g2": Sample(11, 1)}
    assert source.read() == {"worker-g2": Sample(0, 0)}
    place.say("a", text(15, 3))
    assert source.read() == {"worker-g2": Sample(7, 2)}
    source.close()


def test_counts_that_fall_begin_anew(place: Place) -> None:
    source = place.source()
    place.say("a", text(10, 1))
    source.read()
    place.say("a", text(2, 1))
    assert source.read() == {"worker-g2": Sample(3, 1)}
    source.close()


def test_what_was_counted_before_the_first_look_is_not_new(place: Place) -> None:
    source = place.source(is_whole=False)
    place.say("a", text(1000, 400))
    assert source.read() == {"worker-g2": Sample(0, 0)}
    place.say("a", text(1001, 400))
    assert source.read() == {"worker-g2": Sample(1, 0)}
    source.close()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "has no end"),
        ("outcomes_good_total 12\noutcomes_bad_total 1", "has no end"),
        ("outcomes_good_total 12\n", "no outcomes_bad_total"),
        ("outcomes_good_total -1\noutcomes_bad_total 0\n", "'-1' is no count"),
        ("outcomes_good_total NaN\noutcomes_bad_total 0\n", "'NaN' is no count"),
        ("outcomes_good_total +Inf\noutcomes_bad_total 0\n", "'+Inf' is no count"),
        ("outcomes_good_total many\noutcomes_bad_total 0\n", "'many' is no count"),
        (b"\xff\xfe\n", "decode"),
        (b"x" * (LONGEST + 1), "more than"),
    ],
)
def test_garbage_is_no_evidence(place: Place, said: str | bytes, why: str) -> None:
    source = place.source()
    place.say("a", text(10, 0))
    source.read()
    place.say("a", said)
    with pytest.raises(Unread, match=why.replace("+", "[+]")):
        source.read()
    place.say("a", text(12, 0))
    assert source.read() == {"worker-g2": Sample(2, 0)}  # it goes on from the last good reading
    source.close()


def test_a_link_leads_nowhere(place: Place, tmp_path: Path) -> None:
    place.say("other", text(10, 0))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / FILE.file).symlink_to(tmp_path / "other" / FILE.file)
    source = place.source()
    with pytest.raises(Unread, match="symbolic links"):
        source.read()
    source.close()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_a_file_is_read(place: Place, tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "a").mkdir()
    make(tmp_path / "a" / FILE.file)
    source = place.source()
    with pytest.raises(Unread):
        source.read()
    source.close()


def test_instances_add_up_and_what_an_ended_one_did_last_is_counted(place: Place, meters: Meters) -> None:
    place.say("a", text(10, 0))
    place.say("b", text(5, 5))
    both: list[Measure] = [written("a"), written("b")]
    meters.watch(ROLLOUT, both)
    until(lambda: meters.counts().get("worker-g2") == Counts(20, 5))
    place.say("a", text(11, 1))  # and it ends before anybody has read that
    meters.watch(ROLLOUT, both[1:])
    until(lambda: meters.counts()["worker-g2"] == Counts(22, 6))
    place.say("c", text(1, 0))
    meters.watch(ROLLOUT, [both[1], written("c")])
    until(lambda: meters.counts()["worker-g2"] == Counts(23, 6))


def test_what_began_before_the_first_look_brings_nothing_from_before(place: Place, meters: Meters) -> None:
    place.say("a", text(10_000, 0))
    place.say("b", text(3, 0))
    meters.watch(ROLLOUT, [written("a", started=BEGUN - 1), written("b")])
    until(lambda: meters.counts().get("worker-g2") == Counts(3, 0))
    place.say("a", text(10_002, 0))
    until(lambda: meters.counts()["worker-g2"] == Counts(5, 0))


def test_why_something_can_not_be_read_is_told_until_it_can(place: Place, meters: Meters) -> None:
    meters.watch(ROLLOUT, [written("a")])
    until(lambda: meters.unread() == {"worker-g2": "no instance a lives"})
    (place.folder / "a").mkdir()
    until(lambda: meters.unread() == {"worker-g2": "a has not written /run/outcomes/jobs.prom"})
    place.say("a", text(1, 0))
    until(lambda: not meters.unread())
    assert meters.counts() == {"worker-g2": Counts(1, 0)}


def test_nothing_is_left_open(place: Place) -> None:
    meters = Meters(WallClock(), place.open)
    place.say("a", text(1, 0))
    place.say("b", text(1, 0))
    meters.watch(ROLLOUT, [written("a"), written("b")])
    until(lambda: meters.counts().get("worker-g2") == Counts(2, 0))
    meters.watch(ROLLOUT, [written("b")])
    meters.close()
    for one in place.opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(one)


# ------------------------------------------------------------ probes


def sent(port: int) -> Sent:
    return Sent(("web-g1/probes", "web-g2/probes"), ("g1.web", "g2.web"), port, "/cart", 0.1)


def test_both_sides_are_asked_alike_and_an_error_of_the_server_is_bad() -> None:
    with stranger(lambda head: http("", "503 Busy" if "Host: g2.web" in head else "404 Not Found")) as edge:
        found = Probes(sent(edge.port)).read()
    assert found == {"web-g1/probes": Sample(1, 0), "web-g2/probes": Sample(1, 1)}
    assert sorted(head.splitlines()[:2] for head in edge.asked) == [
        ["GET /cart HTTP/1.0", "Host: g1.web"],
        ["GET /cart HTTP/1.0", "Host: g2.web"],
    ]


def test_a_side_that_hangs_or_hangs_up_is_bad() -> None:
    with stranger(lambda head: None if "Host: g1.web" in head else b"") as edge:
        found = Probes(sent(edge.port), patience=0.3).read()
    assert found == {"web-g1/probes": Sample(1, 1), "web-g2/probes": Sample(1, 1)}


def test_an_old_side_that_hangs_takes_nothing_from_a_new_one_that_answers() -> None:
    with stranger(lambda head: None if "Host: g1.web" in head else http("")) as edge:
        found = Probes(sent(edge.port), patience=0.3).read()
    assert found == {"web-g1/probes": Sample(1, 1), "web-g2/probes": Sample(1, 0)}


def test_where_the_edge_is_dead_nobody_was_asked() -> None:
    with pytest.raises(Unread, match="the edge can't be asked at its previews: Connection refused"):
        Probes(sent(int(dead_url().rpartition(":")[2]))).read()


def test_a_reading_that_hangs_holds_up_no_other(place: Place, meters: Meters) -> None:
    place.say("a", text(1, 0))
    with stranger(lambda _: None) as edge:
        meters.watch(ROLLOUT, [sent(edge.port), written("a")])
        until(lambda: meters.counts().get("worker-g2") == Counts(1, 0))
        place.say("a", text(2, 0))
        until(lambda: meters.counts()["worker-g2"] == Counts(2, 0))
        assert "web-g1/probes" not in meters.counts()
        meters.watch(ROLLOUT, [written("a")])


# ------------------------------------------------------------ pages


def page(url: str) -> OutcomesPage:
    outcomes = Outcomes(metrics="/metrics")
    return OutcomesPage(Written("web-g2/outcomes", "a", BEGUN, outcomes, f"{url}/metrics"), Since(is_whole=True), 0.3)


def test_what_an_instance_answers_is_counted() -> None:
    with stranger(lambda head: http(text(5, 2), "200 OK" if head.startswith("GET /metrics ") else "404 Oh")) as one:
        source = page(one.url)
        assert source.read() == {"web-g2/outcomes": Sample(7, 2)}
        assert source.read() == {"web-g2/outcomes": Sample(0, 0)}


@pytest.mark.parametrize(
    ("answer", "why"), [(http("", "503 Busy"), "status 503"), (http("<html>"), "has no end"), (None, "timed out")]
)
def test_an_instance_that_answers_no_counts_is_no_evidence(answer: bytes | None, why: str) -> None:
    with stranger(lambda _: answer) as one, pytest.raises(Unread, match=f"/metrics of a: .*{why}"):
        page(one.url).read()
