"""What is changed behind anew's back is found: in images, in what is said of them, in the lock and in the ledger."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from anew.testing.rig import Rig, rig

BILL, PROVENANCE, VERDICT = (
    "https://cyclonedx.org/bom",
    "https://slsa.dev/provenance/v1",
    "https://in-toto.io/attestation/test-result/v0.1",
)


class Made:
    """A project with two releases that nobody has touched, and a copy of all that it is in."""

    def __init__(self, project: Rig) -> None:
        self.project = project
        project.write("one")
        spare = project.root / "spare.tar"
        with tarfile.open(spare, "w") as tar:
            tar.add(project.root / "anew.yaml", "anew.yaml")
        spec = project.root / "anew.yaml"
        self.add = "  spare: {tar: spare.tar}\nservices:"
        spec.write_text(spec.read_text().replace("services:", self.add, 1))
        project.expect("up")
        project.expect("lock")
        project.write("two")
        spec.write_text(spec.read_text().replace("services:", self.add, 1))
        project.expect("up")
        project.wait(project.is_idle, limit=30, what="the keeper leaves")
        project.expect("dispose")
        said = project.expect("verify", "--all")
        assert "wrong" not in said, said
        shutil.copytree(project.folder, self.whole, symlinks=True)

    @property
    def whole(self) -> Path:
        return self.project.folder.with_name(self.project.folder.name + "-whole")

    def restore(self) -> None:
        shutil.rmtree(self.project.folder)
        shutil.copytree(self.whole, self.project.folder, symlinks=True)

    # ------------------------------------------------------------ what there is to tamper with

    @property
    def store(self) -> Path:
        return self.project.home / "images"

    def image(self, release: str = "r2") -> dict[str, Any]:
        with closing(sqlite3.connect(self.project.home / "state.db")) as state:
            row = state.execute("select body from releases where number = ?", (int(release[1:]),)).fetchone()
        image: dict[str, Any] = json.loads(row[0])["parts"][0]["image"]
        return image

    def blob(self, digest: str) -> Path:
        return self.store / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def listed(self, release: str = "r2") -> Path:
        manifest = self.image(release)["identity"]["manifest"]
        return self.store / "evidence" / f"{manifest.removeprefix('sha256:')}.json"

    def statement(self, predicate: str, release: str = "r2") -> Path:
        (one,) = (one for one in json.loads(self.listed(release).read_text()) if one["predicate"] == predicate)
        return self.blob(one["digest"])

    def change(self, statement: str) -> None:
        with closing(sqlite3.connect(self.project.home / "state.db")) as state:
            assert state.execute(statement).rowcount >= 1
            state.commit()


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    with rig() as project:
        one = Made(project)
        yield one
        shutil.rmtree(one.whole)


def flip(path: Path, *, at: float = 0.5) -> None:
    """Flip one bit; times stay as they were."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut_off(made: Made) -> None:
    """Cut the ledger's newest events off, and change what remembers its end so that the chain holds."""
    with closing(sqlite3.connect(made.project.home / "state.db")) as state:
        (last,) = state.execute("select last_event from environments").fetchone()
        kept = last // 3
        state.execute("delete from events where number > ?", (kept,))
        (link,) = state.execute("select hash from events where number = ?", (kept,)).fetchone()
        state.execute("update environments set last_event = ?, last_hash = ?", (kept, link))
        state.commit()


def cut_off_and_forget(made: Made) -> None:
    """Cut the ledger's end off, and take away what was signed of it."""
    cut_off(made)
    made.project.home.joinpath("ledger-heads", "rig.local.json").unlink()


def rewrite(made: Made) -> None:
    """Tell another story from the first event on, each event tied to the one before it as it should be."""
    from anew.shell.chain import chained, first_hash  # noqa: PLC0415 - what a forger would do
    from anew.views import Event  # noqa: PLC0415

    with closing(sqlite3.connect(made.project.home / "state.db")) as state:
        (owner,) = state.execute("select owner from state").fetchone()
        link = first_hash(owner, made.project.project, "local")
        rows = state.execute("select number, at, kind, text, facts from events order by number").fetchall()
        for number, at, kind, text, facts in rows:
            link = chained(link, Event(number, at, kind, text + ".", json.loads(facts)))
            state.execute("update events set text = ?, hash = ? where number = ?", (text + ".", link, number))
        state.execute("update environments set last_hash = ?", (link,))
        state.commit()


def swap(made: Made, predicate: str) -> None:
    """Put what is said of one release's image in place of what is said of the other's."""
    theirs = made.statement(predicate, "r1")
    own = json.loads(made.listed().read_text())
    for one in own:
        if one["predicate"] == predicate:
            one["digest"] = f"sha256:{theirs.name}"
    made.listed().write_text(json.dumps(own))


def exchange_keys(made: Made) -> None:
    """Put another key in the place of the project's own one."""
    (made.project.home / "keys" / "rig.pem").unlink()


def exchange_images(made: Made) -> None:
    """Let one release have the image of the other."""
    one, two = made.image("r1")["identity"]["manifest"], made.image("r2")["identity"]["manifest"]
    made.change(f"update releases set body = replace(body, '{two}', '{one}') where number = 2")


def exchange_layers(made: Made) -> None:
    """Let what is recorded of a release name another layer than its image's manifest does."""
    other = made.image("r1")["layers"][-1]
    own = made.image("r2")["layers"][-1]
    change = f'replace(body, \'"layers":["{own}"\', \'"layers":["{other}"\')'
    made.change(f"update releases set body = {change} where number = 2")
    assert made.image("r2")["layers"][-1] == other


def leave_the_machine(made: Made) -> None:
    """Let what is recorded of a release say that its image needs no root of the machine."""
    made.change("update releases set body = replace(body, '\"is_host\":true', '\"is_host\":false') where number = 2")


def add_command(made: Made) -> None:
    """Let a release run a command before its traffic that nobody tested, with a digest that fits."""
    from anew.core.identity import release_digest  # noqa: PLC0415 - what a forger would do
    from anew.model import Release, Task  # noqa: PLC0415

    with closing(sqlite3.connect(made.project.home / "state.db")) as state:
        (body,) = state.execute("select body from releases where number = 2").fetchone()
        release = msgspec.json.decode(body, type=Release)
        (part,) = release.parts
        part = replace(part, service=replace(part.service, before=(Task(("/bin/sh", "-c", "id")),)))
        forged = replace(release, parts=(part,), digest=release_digest(release.project, (part,)))
        state.execute(
            "update releases set body = ?, digest = ? where number = 2",
            (msgspec.json.encode(forged).decode(), forged.digest),
        )
        state.commit()


def add_file(made: Made) -> None:
    tree = made.store / "trees" / made.image()["layers"][-1].removeprefix("sha256:")[:16]
    (tree / "srv" / "backdoor").write_text("open\n")


def change_file(made: Made) -> None:
    flip(made.store / "trees" / made.image()["layers"][-1].removeprefix("sha256:")[:16] / "srv/app/server.py")


# What is done; what `anew verify` says of it; whether `anew up r2` refuses to seal it.
CASES: dict[str, tuple[Callable[[Made], None], str, bool]] = {
    "a bit of a layer": (lambda made: flip(made.blob(made.image()["layers"][-1])), "layer .* was changed", True),
    "a layer removed": (lambda made: made.blob(made.image()["layers"][-1]).unlink(), "layer .* is gone", True),
    "a bit of the config": (
        lambda made: flip(made.blob(made.image()["identity"]["config"])),
        "config .* was changed",
        True,
    ),
    "a bit of the manifest": (
        lambda made: flip(made.blob(made.image()["identity"]["manifest"])),
        "manifest .* was changed",
        True,
    ),
    "a bit of the definition": (
        lambda made: flip(made.blob(made.image()["inputs"][0])),
        "made from, .* was changed",
        False,
    ),
    "a bit of the bill of materials": (lambda made: flip(made.statement(BILL)), "bill of materials", True),
    "a bit of the provenance": (lambda made: flip(made.statement(PROVENANCE)), "provenance", True),
    "a bit of the verdict": (lambda made: flip(made.statement(VERDICT)), "verdict", True),
    "a bit of the list of statements": (lambda made: flip(made.listed()), "is missing|is gone", True),
    "the verdict on another image": (lambda made: swap(made, VERDICT), "about another image", True),
    "the provenance of another image": (lambda made: swap(made, PROVENANCE), "about another image", True),
    "the statements of an unknown key": (exchange_keys, "which is not trusted", True),
    "the image of another release": (exchange_images, "not what it was made of", True),
    "another layer in what is recorded of a release": (exchange_layers, "names other layers", True),
    "another root in what is recorded of a release": (leave_the_machine, "on a machine's root", True),
    "a command in a release that nobody tested": (add_command, "no verdict is of these tests", True),
    "a file put where instances run from": (add_file, "/srv/backdoor was put into", False),
    "a bit of a file that instances run from": (change_file, "/srv/app/server.py was changed", False),
    "a bit of the lock": (lambda made: flip(made.project.root / "anew.lock"), "anew.lock", False),
    "the command of what is sealed": (
        lambda made: made.change("update seal_groups set body = replace(body, 'server.py', 'sender.py')"),
        "web-g2 of g2 is not what was sealed",
        False,
    ),
    "the layers of what is sealed": (
        lambda made: made.change("update seal_groups set body = replace(body, '_host\":true', '_host\":false')"),
        "web-g1 of g1 is not what was sealed",
        False,
    ),
    "the sizes of a generation": (
        lambda made: made.change("update generations set body = replace(body, '\"size\":2', '\"size\":9')"),
        "g2 is not what was sealed",
        False,
    ),
    "the number of a release": (
        lambda made: made.change("update releases set number = 9 where number = 1"),
        "what is recorded of r1 is not in its place",
        False,
    ),
    "the digest that a release is known by": (
        lambda made: made.change("update releases set digest = 'sha256:0' where number = 1"),
        "what is recorded of r1 is not in its place",
        False,
    ),
    "a text in the ledger": (
        lambda made: made.change("update events set text = 'x' where number = 3"),
        "event 3",
        False,
    ),
    "the facts of an event": (
        lambda made: made.change("update events set facts = 'nonsense' where text like 'seal r1 %'"),
        "what stands there is not even an event",
        False,
    ),
    "a release taken out of the state": (
        lambda made: made.change("delete from releases where number = 1"),
        "r1, which g1 was sealed from, is gone",
        False,
    ),
    "all releases taken out of the state": (
        lambda made: made.change("delete from releases"),
        "r2, which g2 was sealed from, is gone",
        True,
    ),
    "an event taken out of the ledger": (
        lambda made: made.change("delete from events where number = 3"),
        "event 3: it is missing",
        False,
    ),
    "the end of the ledger cut off, and its memory changed": (cut_off, "was signed", False),
    "the whole ledger told anew": (rewrite, "it is not what was signed", False),
    "the end of the ledger cut off, and its signed head with it": (
        cut_off_and_forget,
        "no signed head is there",
        False,
    ),
    "a bit of the ledger's signed head": (
        lambda made: flip(made.project.home / "ledger-heads" / "rig.local.json"),
        "signed head of the ledger is",
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_changed_is_found(name: str, made: Made) -> None:
    made.restore()
    tamper, told, is_refused = CASES[name]
    tamper(made)
    said = made.project.expect("verify", "--all", code=6)
    assert re.search(told, said), said
    before = made.project.expect("history", "--json")
    done = made.project.anew("up", "r2", "--detach")
    assert is_refused == (done.returncode != 0), done.stdout + done.stderr
    if is_refused:
        assert made.project.expect("history", "--json") == before
        assert not made.project.processes()
    made.project.end()
