"""Disposing of an environment whose engine does not do its part: nothing is half done without a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from journal_rows import LOCAL, Ticks, any_port, members, release, seals

from anew.core.steps import Allot
from anew.errors import Conflict, EngineError
from anew.model import Scope
from anew.shell.disposing import dispose
from anew.shell.journal import EnvironmentRow, Journal
from anew.shell.keeperlock import KeeperLock
from anew.shell.parts import Parts


@dataclass
class Engine:
    """What of the parts is asked, and does not answer where it has an error to raise."""

    absent: EngineError | None = None
    clinging: Conflict | None = None
    left: bool = False

    def require_engine(self, _name: str) -> None:
        if self.absent:
            raise self.absent

    def leave(self, _scope: Scope) -> None:
        if self.clinging:
            raise self.clinging
        self.left = True


@pytest.fixture
def place(tmp_path: Path) -> tuple[Journal, EnvironmentRow, KeeperLock]:
    """An environment with an instance."""
    journal = Journal(tmp_path / "state.db", Ticks())
    scope = journal.open_environment(LOCAL.project, LOCAL.environment).scope
    made = journal.releases.add(release(web="w"))
    one = journal.generations.seal(scope, made, members(made), seals(made), any_port)
    journal.wish(scope, one.number, "rollout", expect=None)
    journal.instances.allot(scope, Allot("web-g1", 0), any_port)
    row = journal.environment(scope.project, scope.environment)
    assert row is not None
    (tmp_path / "keepers").mkdir()
    return journal, row, KeeperLock(tmp_path / "keepers", scope)


Attempt = Callable[[Engine, Callable[[], None]], None]


@pytest.fixture
def attempt(place: tuple[Journal, EnvironmentRow, KeeperLock]) -> Attempt:
    journal, row, lock = place
    return lambda engine, keep: dispose(journal, cast("Parts", engine), row, lock, keep, pytest.fail)


def test_without_its_engine_nothing_is_changed(
    place: tuple[Journal, EnvironmentRow, KeeperLock], attempt: Attempt
) -> None:
    engine = Engine(absent=EngineError("nobody answers", hint="start it", facts={"command": "curl it"}))
    with pytest.raises(EngineError) as caught:
        attempt(engine, lambda: pytest.fail("it acts"))
    assert caught.value.what == "nothing in shop/local was ended, and nothing is changed: nobody answers"
    assert caught.value.hint == "start it; then `anew dispose -e local` again"
    assert caught.value.facts == {"command": "curl it"}
    row = place[0].environment("shop", "local")
    assert row is not None
    assert row.wish == 1


def test_what_is_left_when_the_engine_goes_in_the_middle_is_named(
    place: tuple[Journal, EnvironmentRow, KeeperLock], attempt: Attempt
) -> None:
    def keep() -> None:
        raise EngineError("nobody answers any more")

    with pytest.raises(EngineError) as caught:
        attempt(Engine(), keep)
    assert "(shop-local-web-g1-0 is left): nobody answers any more" in caught.value.what
    assert caught.value.hint == "then `anew dispose -e local` again: it goes on from there"
    row = place[0].environment("shop", "local")
    assert row is not None
    assert row.wish == 0


def test_a_network_that_is_still_used_is_named_and_the_next_one_goes_on(
    place: tuple[Journal, EnvironmentRow, KeeperLock], attempt: Attempt
) -> None:
    def keep() -> None:
        place[0].instances.retire("shop-local-web-g1-0", "stopped", is_death=False)

    engine = Engine(clinging=Conflict("it has endpoints", hint="end them first"))
    with pytest.raises(Conflict, match="its network is left"):
        attempt(engine, keep)
    engine.clinging = None
    attempt(engine, lambda: None)
    assert engine.left
