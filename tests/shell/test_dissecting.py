"""What is kept of an instance that died or was touched is found again as it was, and is bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from journal_rows import LOCAL, Ticks

from anew.errors import EngineError, NotFound
from anew.model import Bytes, Identity, Image, Limits, Order, Pin, Scope, Touched, Volume
from anew.shell.dissecting import MOST, dissect, found, ordered
from anew.shell.journal import Journal

IMAGE = Image(Identity("", "", (), "", "sha256:" + "ab" * 32), ())
ORDER = Order(
    name="shop-local-web-g1-0",
    group="web-g1",
    scope=LOCAL,
    image=IMAGE,
    command=("python3", "/srv/app/server.py"),
    environment=(("GREETING", "hello"), ("PORT", "20001")),
    writable=("/var/lib/mine",),
    port=20001,
    secrets=(Pin("db_password", 2, ""),),
    volumes=(Volume("data", "/srv/data"),),
    limits=Limits(memory=256 << 20),
)


@dataclass(frozen=True)
class Telling:
    """An engine that tells of files what it is told, or refuses to tell."""

    files: tuple[str, ...] = ()
    refusal: EngineError | None = None

    def touched(self, scope: Scope, alive: Mapping[str, int], since: float) -> Touched:
        return Touched({}, since)

    def peak_memory(self, name: str) -> Bytes:
        return 12_345_678

    def changes(self, name: str) -> tuple[str, ...]:
        if self.refusal is not None:
            raise self.refusal
        return self.files

    def folder(self, name: str, path: str) -> int:
        raise NotFound(f"no instance {name} has {path}")

    def entry(self, name: str, command: Sequence[str]) -> tuple[str, ...]:
        return tuple(command)


def kept(path: Path) -> Journal:
    journal = Journal(path / "state.db", Ticks())
    journal.open_environment(LOCAL.project, LOCAL.environment)
    return journal


def test_what_was_given_and_what_was_changed_is_found_again(tmp_path: Path) -> None:
    journal = kept(tmp_path)
    dissect(journal, Telling(("added: /usr/lib/more", "changed: /a\nb")), ORDER)
    (event,) = journal.ledger.events(LOCAL, 1)
    assert event.text == "autopsy of shop-local-web-g1-0: 2 changed files"
    (one,) = found((event,)).values()
    assert one.changed == ("added: /usr/lib/more", "changed: /a?b")
    assert (one.more, one.peak_memory) == (0, 12_345_678)
    assert one.ordered == ordered(ORDER)
    assert one.ordered.environment == {"GREETING": "hello", "PORT": "20001"}
    assert (one.ordered.secrets, one.ordered.limits) == (("db_password v2",), {"memory": float(256 << 20)})


def test_of_many_files_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    journal = kept(tmp_path)
    dissect(journal, Telling(tuple(f"added: /tmp/{n}" for n in range(MOST + 7))), ORDER)
    (one,) = found(journal.ledger.events(LOCAL, 10)).values()
    assert (len(one.changed), one.changed[-1], one.more) == (MOST, f"added: /tmp/{MOST - 1}", 7)


def test_the_last_of_several_counts(tmp_path: Path) -> None:
    journal = kept(tmp_path)
    dissect(journal, Telling(("added: /a",)), ORDER)
    dissect(journal, Telling(), ORDER)
    (one,) = found(journal.ledger.events(LOCAL, 10)).values()
    assert one.changed == ()
    assert journal.ledger.events(LOCAL, 1)[0].text == "autopsy of shop-local-web-g1-0: no changed files"


def test_where_nobody_can_tell_of_files_that_is_said_and_holds_nothing_up(tmp_path: Path) -> None:
    journal = kept(tmp_path)
    dissect(journal, Telling(refusal=EngineError("no container engine answers")), ORDER)
    (event,) = journal.ledger.events(LOCAL, 1)
    assert event.text.endswith("its files could not be looked at: no container engine answers")
    assert found((event,))[ORDER.name].peak_memory == 12_345_678
