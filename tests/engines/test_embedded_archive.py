"""What instances leave, and logs that have grown: made smaller while somebody writes, and nothing new is lost."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anew.engines.embedded import archive, output
from anew.engines.embedded.archive import KEPT_LOG, MOST_LOG, Archive, bound
from anew.engines.embedded.records import ENDED, Record
from anew.errors import EngineError
from anew.model import Scope

LINE = b"%09d " + b"x" * 89 + b"\n"  # 100 bytes
WRITER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
end, number = time.monotonic() + float(sys.argv[2]), int(sys.argv[3])
while time.monotonic() < end:
    for _ in range(100):
        os.write(fd, b"%09d " % number + b"x" * 89 + b"\\\\n")
        number += 1
print(number)
"""


def grown(path: Path, size: int) -> int:
    """Write a log of numbered lines; return how many."""
    with path.open("wb") as file:
        count = 0
        while file.tell() < size:
            file.write(b"".join(LINE % n for n in range(count, count + 10_000)))
            count += 10_000
    return count


def test_a_log_below_the_bound_is_left_alone(tmp_path: Path) -> None:
    count = grown(tmp_path / "output.log", MOST_LOG - 2_000_000)
    assert bound(tmp_path / "output.log", is_dry=False) == 0
    assert output.last_lines(tmp_path / "output.log", 1)[0].startswith(f"{count - 1:09d}")
    assert bound(tmp_path / "nothing.log", is_dry=False) == 0


def test_a_log_above_the_bound_keeps_its_newest_part_and_its_offsets(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    count = grown(path, MOST_LOG + 1_000_000)
    size, before = path.stat().st_size, path.stat().st_blocks
    assert bound(path, is_dry=True) == pytest.approx(size - KEPT_LOG, abs=8192)
    assert path.stat().st_blocks == before
    freed = bound(path, is_dry=False)
    assert freed == (before - path.stat().st_blocks) * 512
    assert freed == pytest.approx(size - KEPT_LOG, abs=70_000)
    assert path.stat().st_size == size
    lines = output.last_lines(path, 10_000_000)
    assert KEPT_LOG // 100 - 1 <= len(lines) <= KEPT_LOG // 100 + 50
    assert [int(line.split()[0]) for line in lines] == list(range(count - len(lines), count))
    assert bound(path, is_dry=False) == 0, "twice is once"


def test_nothing_is_lost_while_somebody_writes(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    count = grown(path, MOST_LOG - 1_000_000)
    program = WRITER.replace("\\\\n", "\\n")
    writer = subprocess.Popen([sys.executable, "-c", program, path, "3", str(count)], stdout=subprocess.PIPE, text=True)
    cuts, end = 0, time.monotonic() + 10
    while writer.poll() is None and time.monotonic() < end:
        cuts += bool(bound(path, is_dry=False))
    told, _ = writer.communicate(timeout=10)
    last = int(told)
    lines = output.last_lines(path, 10_000_000)
    assert cuts > 0
    assert [int(line.split()[0]) for line in lines] == list(range(last - len(lines), last))
    assert path.stat().st_blocks * 512 <= MOST_LOG + (last - count) * 100


def test_a_file_system_that_can_not_do_it_is_said(tmp_path: Path) -> None:
    fd = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MOST_LOG + 8192)
    os.pwrite(fd, b"begin", 0)
    fcntl.fcntl(fd, 1033, 0x0008)  # F_ADD_SEALS, F_SEAL_WRITE: fallocate answers EPERM
    with pytest.raises(EngineError, match="can't be made smaller") as caught:
        archive._punch(fd, 4096, tmp_path / "shop-local-web-g1-0" / "output.log")
    assert "fallocate --punch-hole" in caught.value.facts["command"]
    os.close(fd)


def written(folder: Path, name: str, owner: str) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    record = Record(name, "web-g1", Scope("shop", "local", owner), "sha256:1", ("run",), (), (), 0, 0, 5.0)
    (place / "record.json").write_text(record.as_json())
    (place / "output.log").write_text("it ran\n")
    return place


def test_only_what_is_ours_and_has_ended_is_removed(tmp_path: Path) -> None:
    ones = Archive(tmp_path, "ours")
    assert (ones.living(), ones.remains(), ones.discard(["x"], is_dry=False)) == ({}, (), ())
    mine, other = written(tmp_path / ENDED, "a", "ours"), written(tmp_path / ENDED, "b", "theirs")
    there = written(tmp_path, "c", "ours")
    (found,) = ones.remains()
    assert (found.name, found.group, found.started, found.ended) == ("a", "web-g1", 5.0, 5.0)
    assert ones.living() == {}, "what was only written down does not live"
    dry = ones.discard(["a", "c", "gone"], is_dry=True)
    assert mine.is_dir()
    assert ones.discard(["a", "c", "gone"], is_dry=False) == dry
    assert [one.name for one in dry] == ["a"]
    assert (mine.exists(), other.exists(), there.exists()) == (False, True, True)
    assert ones.discard(["a"], is_dry=False) == ()


def test_what_a_killed_collection_was_removing_goes_with_the_next(tmp_path: Path) -> None:
    written(tmp_path / archive.LEAVING, "a", "ours")
    Archive(tmp_path, "ours").discard([], is_dry=False)
    assert not (tmp_path / archive.LEAVING / "a").exists()


def test_logs_that_have_grown_are_named(tmp_path: Path) -> None:
    ones = Archive(tmp_path, "ours")
    for name, owner in (("a", "ours"), ("b", "ours"), ("c", "theirs")):
        written(tmp_path, name, owner)
    for name in ("a", "c"):
        grown(tmp_path / name / "output.log", MOST_LOG + 1)
    assert ones.long_logs() == ("a",)
    gone = ones.bound_log("a", is_dry=False)
    assert (gone.kind, gone.size > 0, ones.long_logs()) == ("part", True, ())
