"""Who touched what is found once, is never forgotten before it is written down, and no time goes unaccounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from journal_rows import LOCAL

from anew.errors import EngineError, NotFound
from anew.model import Bytes, Scope, Touched
from anew.shell.touches import EVERY, REST, Touches, watched_until

ALIVE = {"web-0": 11, "web-1": 12}


@dataclass
class Engine:
    """An engine at which things happen when a test says so."""

    now: float = 1000.0
    evidence: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gap: str = ""
    refusal: EngineError | None = None
    asked: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    def touched(self, scope: Scope, alive: Mapping[str, int], since: float) -> Touched:
        assert scope == LOCAL
        self.asked.append((tuple(sorted(alive)), since))
        if self.refusal is not None:
            raise self.refusal
        return Touched({name: lines for name, lines in self.evidence.items() if name in alive}, self.now, self.gap)

    def peak_memory(self, name: str) -> Bytes:
        return len(name)

    def changes(self, name: str) -> tuple[str, ...]:
        return (name,)

    def folder(self, name: str, path: str) -> int:
        raise NotFound(f"no instance {name} has {path}")

    def entry(self, name: str, command: Sequence[str]) -> tuple[str, ...]:
        return (name, *command)


@dataclass
class Scene:
    engine: Engine
    touches: Touches
    woken: list[str]


def scene(folder: Path) -> Scene:
    engine, woken = Engine(), list[str]()
    touches = Touches(engine, LOCAL, folder / "mark", lambda: woken.append("woken"))
    touches.alive = ALIVE
    return Scene(engine, touches, woken)


def test_looks_come_often_enough_for_what_is_promised() -> None:
    assert EVERY + REST < 10.0


def test_what_came_and_went_is_remembered_and_wakes_the_keeper_once(tmp_path: Path) -> None:
    here = scene(tmp_path)
    here.engine.evidence = {"web-1": ("a command was run in it: sh", "two", "three", "four")}
    assert here.touches.look(0.0) == 1000.0
    here.engine.evidence = {}
    here.touches.look(1000.0)
    assert here.touches.found() == {"web-1": "a command was run in it: sh; two; three"}
    assert here.woken == ["woken"]
    assert here.engine.asked == [(("web-0", "web-1"), 0.0), (("web-0",), 1000.0)]  # it is known of the other


def test_a_gap_is_told_from_when_to_when_but_not_before_anybody_looked(tmp_path: Path) -> None:
    here = scene(tmp_path)
    here.engine.gap = "the container engine was started since"
    here.touches.look(0.0)
    assert here.touches.gaps() == ()
    here.touches.look(940.0)
    (gap,) = here.touches.gaps()
    assert gap == (
        "unwatched from 1970-01-01T00:15:40+00:00 to 1970-01-01T00:16:40+00:00: the container engine was started since"
    )
    here.touches.written_down(1, ())
    assert here.touches.gaps() == ()


def test_a_look_that_fails_is_said_once_and_the_next_asks_for_the_same_time(tmp_path: Path) -> None:
    here = scene(tmp_path)
    here.engine.refusal = EngineError("no container engine answers")
    assert here.touches.look(900.0) == 900.0
    assert here.touches.look(900.0) == 900.0
    assert here.touches.gaps() == ("nobody can tell now who touches the instances: no container engine answers",)
    here.engine.refusal = None
    assert here.touches.look(900.0) == 1000.0


def test_it_is_marked_up_to_when_was_looked_only_when_all_that_was_found_is_written_down(tmp_path: Path) -> None:
    here = scene(tmp_path)
    assert watched_until(tmp_path / "mark") == 0.0
    here.engine.evidence = {"web-0": ("it was renamed",)}
    here.touches.look(0.0)
    here.touches.written_down(0, known=("web-1",))
    assert watched_until(tmp_path / "mark") == 0.0
    here.touches.written_down(0, known=("web-0", "web-1"))
    assert watched_until(tmp_path / "mark") == 1000.0
