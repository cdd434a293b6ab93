"""A keeper keeps logs short: its own instances' alone, once a minute, and nothing that fails stops it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anew.engines.embedded.archive import KEPT_LOG, MOST_LOG, Archive
from anew.errors import EngineError
from anew.model import Digest, Gone, Remains
from anew.shell.clock import SystemClock
from anew.shell.tidying import EVERY, Tidying


@dataclass(slots=True)
class Hands:
    """A clock that is set by hand."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass(slots=True)
class Refusing:
    """An archive on a disk that refuses, or works again."""

    asked: list[str] = field(default_factory=list)
    refusal: Exception | None = None

    def bound_log(self, name: str, *, is_dry: bool) -> Gone:
        self.asked.append(name)
        if self.refusal is not None:
            raise self.refusal
        return Gone("part", name, 0)

    def living(self) -> Mapping[str, Digest]:
        return {}

    def remains(self) -> tuple[Remains, ...]:
        return ()

    def discard(self, names: Collection[str], *, is_dry: bool) -> tuple[Gone, ...]:
        return ()

    def long_logs(self) -> tuple[str, ...]:
        return ()


def test_logs_of_the_named_are_made_shorter_and_no_others(tmp_path: Path) -> None:
    for name in ("shop-local-web-g1-0", "shop-other-web-g1-0", "shop-local-web-g1-1"):
        (tmp_path / name).mkdir()
        size = MOST_LOG + 1_000_000 if name != "shop-local-web-g1-1" else 1_000_000
        (tmp_path / name / "output.log").write_bytes(b"x" * size)
    before = {path: path.stat().st_blocks for path in tmp_path.glob("*/output.log")}
    tidying = Tidying(Archive(tmp_path, "me"), SystemClock())
    said: list[str] = []
    tidying.look(["shop-local-web-g1-0", "shop-local-web-g1-1", "shop-local-web-g1-2"], said.append)
    changed = {path.parent.name: path.stat().st_blocks for path in before if path.stat().st_blocks != before[path]}
    assert list(changed) == ["shop-local-web-g1-0"]
    assert changed["shop-local-web-g1-0"] * 512 == pytest.approx(KEPT_LOG, abs=70_000)
    assert said == []


def test_it_looks_once_a_minute() -> None:
    clock, archive = Hands(), Refusing()
    tidying = Tidying(archive, clock)
    for passed in (0.0, EVERY - 1, 0.5, 0.5, EVERY - 0.1):
        clock.at += passed
        tidying.look(["a"], pytest.fail)
    assert archive.asked == ["a", "a"]


def test_what_fails_is_said_once_and_tried_again_and_the_others_too() -> None:
    clock, archive = Hands(), Refusing(refusal=EngineError("the file system can't"))
    tidying = Tidying(archive, clock)
    said: list[str] = []
    for refusal in (archive.refusal, archive.refusal, PermissionError(13, "no"), PermissionError(13, "no"), None):
        archive.refusal = refusal
        clock.at += EVERY
        tidying.look(["a", "b"], said.append)
    assert archive.asked == ["a", "b"] * 5
    assert said == [
        "the file system can't",
        "the log of a can't be bounded: [Errno 13] no",
        "the log of b can't be bounded: [Errno 13] no",
    ]


def test_what_killed_commands_left_is_ended_once_a_minute_and_what_fails_is_said_once() -> None:
    clock, refusal = Hands(), EngineError("nobody answers")
    left: list[tuple[str, ...] | EngineError] = [("shop-local-web-run-1",), (), refusal, refusal]
    said: list[str] = []

    def sweep() -> tuple[str, ...]:
        found = left.pop(0)
        if isinstance(found, EngineError):
            raise found
        return found

    tidying = Tidying(Refusing(), clock, sweep)
    for _ in range(8):
        tidying.look([], said.append)
        clock.at += EVERY / 2
    assert left == []
    assert said == ["ended shop-local-web-run-1, which a killed command had left", "nobody answers"]
