"""What is recorded of generations and is not what was sealed is found; what only came about otherwise is not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from journal_rows import LOCAL, any_port, members, opened, release, sealed, seals

from anew.model import Part, Release
from anew.shell.journal import Journal
from anew.shell.vouching import unsealed


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as state:
        state.execute(statement)
        state.commit()


def from_elsewhere(made: Release) -> Release:
    """Return a release with the same images, made from other definitions."""

    def other(part: Part) -> Part:
        identity = replace(part.image.identity, input="another")
        return replace(part, image=replace(part.image, identity=identity, inputs=("another",), is_reproducible=False))

    return replace(made, digest="sha256:another", parts=tuple(other(part) for part in made.parts))


def sealed_as(journal: Journal, made: Release) -> None:
    known = journal.releases.add(made)
    journal.generations.seal(LOCAL, known, members(known, 2), seals(known), any_port)


def test_what_was_sealed_is_as_it_was(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "state.db")) as journal:
        sealed(journal, web="a", api="b")
        sealed(journal, web="c", api="b")
        sealed_as(journal, from_elsewhere(release(web="c", api="b")))  # the groups stay, with the images that they had
        assert len(journal.generations.all(LOCAL)) == 3
        assert unsealed(journal, LOCAL) == ()


def test_what_was_changed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(opened(path)) as journal:
        sealed(journal, web="a", api="b")
        sealed(journal, web="c", api="b")
    change(path, """update seal_groups set body = replace(body, '"run","web"', '"run","wob"') where name = 'web-g1'""")
    change(path, """update generations set body = replace(body, '"size":1', '"size":9') where number = 2""")
    change(path, "update releases set number = 7 where number = 1")
    with closing(opened(path)) as journal:
        told = ("web-g1 of g1 is not what was sealed", "g2 is not what was sealed")
        assert unsealed(journal, LOCAL) == (*told, "what is recorded of r1 is not in its place")
    change(path, "update releases set number = 1 where number = 7")
    change(path, "delete from sealed where generation = 2")
    change(path, "delete from generations where number = 2")
    with closing(opened(path)) as journal:
        assert unsealed(journal, LOCAL)[-1] == "g2 is gone"


def test_what_an_older_anew_sealed_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(opened(path)) as journal:
        sealed(journal, web="a")
    change(path, """update events set facts = '{"generation": "g1", "release": "r1", "digest": "x"}'""")
    with closing(opened(path)) as journal:
        assert unsealed(journal, LOCAL) == ()
