from __future__ import annotations

from pathlib import Path

import pytest

from anew.edge.counters import Counters
from anew.errors import EngineError


class Monotonic:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def test_what_ended_workers_counted_stays(tmp_path: Path) -> None:
    one = Counters(tmp_path / "c.json", Monotonic())
    assert one.take({"1": {"a": (5, 1)}}, ["a"]) == {"a": (5, 1)}
    assert one.take({"1": {"a": (6, 1)}, "2": {"a": (2, 0)}}, ["a"]) == {"a": (8, 1)}
    assert one.take({"2": {"a": (3, 0)}}, ["a"]) == {"a": (9, 1)}
    other = Counters(tmp_path / "c.json", Monotonic())
    assert other.take({"2": {"a": (4, 1)}}, ["a"]) == {"a": (10, 2)}


def test_counters_never_go_back_even_if_less_was_saved(tmp_path: Path) -> None:
    one = Counters(tmp_path / "c.json", lambda: 0.0)
    one.take({"1": {"a": (5, 0)}}, ["a"])
    assert one.take({"1": {"a": (50, 0)}}, ["a"]) == {"a": (50, 0)}
    assert one.take({}, ["a"]) == {"a": (50, 0)}


def test_a_forgotten_group_begins_at_nothing(tmp_path: Path) -> None:
    one = Counters(tmp_path / "c.json", Monotonic())
    one.take({"1": {"a": (5, 0), "b": (1, 1)}}, ["a", "b"])
    assert one.take({"2": {"b": (0, 0)}}, ["b"]) == {"b": (1, 1)}
    assert one.take({"2": {}}, ["a", "b"]) == {"b": (1, 1)}


def test_a_slow_reader_does_not_bring_back_who_has_ended(tmp_path: Path) -> None:
    ended = "999999.1"  # no process has this id
    slow, keeper = Counters(tmp_path / "c.json", Monotonic()), Counters(tmp_path / "c.json", Monotonic())
    keeper.take({ended: {"a": (1000, 0)}, "x": {"a": (1, 0)}}, ["a"])
    (tmp_path / "c.json").write_text(
        '{"format":1,"base":{},"workers":{"' + ended + '":{"a":[1000,0]},"x":{"a":[1,0]}}}'
    )
    assert keeper.take({"x": {"a": (2, 0)}}, ["a"]) == {"a": (1002, 0)}
    assert slow.take({ended: {"a": (1000, 0)}, "x": {"a": (2, 0)}}, ["a"], must_save=True) == {"a": (1002, 0)}
    assert keeper.take({"x": {"a": (3, 0)}}, ["a"]) == {"a": (1003, 0)}


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(EngineError, match="can't be read"):
        Counters(tmp_path / "c.json").take({}, [])


def test_the_oldest_format_is_read(tmp_path: Path) -> None:
    oldest = '{"format":1,"base":{"a":[7,1]},"workers":{"12.99":{"a":[3,0]}}}'
    for live, total in (({"13": {"a": (1, 0)}}, (11, 1)), ({"12.99": {"a": (4, 0, 1, 0, 1)}}, (11, 1, 1, 0, 1))):
        (tmp_path / "c.json").write_text(oldest)
        assert Counters(tmp_path / "c.json").take(live, ["a"]) == {"a": total}


def test_a_counter_that_begins_again_goes_on(tmp_path: Path) -> None:
    one = Counters(tmp_path / "c.json", Monotonic())
    most = (1 << 32) - 1
    assert one.take({"1": {"a": (5, 0, most)}}, ["a"]) == {"a": (5, 0, most)}
    assert one.take({"1": {"a": (6, 0, 3)}}, ["a"]) == {"a": (6, 0, most + 4)}
    assert one.take({"1": {"a": (7, 0, 4)}}, ["a"]) == {"a": (7, 0, most + 5)}


def test_a_reading_that_is_older_or_of_an_emptied_table_takes_nothing_back(tmp_path: Path) -> None:
    one = Counters(tmp_path / "c.json", Monotonic())
    one.take({"1": {"a": (5, 0, 5, 2)}}, ["a"])
    one.take({"1": {"a": (6, 0)}}, ["a"])
    one.take({"1": {}}, ["a"])
    assert Counters(tmp_path / "c.json").take({"2": {"a": (1, 0, 1)}}, ["a"]) == {"a": (7, 0, 6, 2)}


def test_parts_of_a_group_are_counted_and_forgotten_with_it(tmp_path: Path) -> None:
    one = Counters(tmp_path / "c.json", Monotonic())
    assert one.take({"1": {"a 10": (5,), "b 10": (1,)}}, ["a", "b"]) == {"a 10": (5,), "b 10": (1,)}
    assert one.take({"2": {"a 12": (1,)}}, ["a"]) == {"a 10": (5,), "a 12": (1,)}
    assert one.take({"2": {}}, ["a", "b"]) == {"a 10": (5,), "a 12": (1,)}
