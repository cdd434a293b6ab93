"""`anew init` in a folder with programs: which is taken, and how it is told where to listen. None of them is run."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest

from anew.core.spec.parse import parse
from anew.errors import SpecError
from anew.model import DebianHead
from anew.starter.start import start

NUMBERS = {"x86_64": 62, "aarch64": 183, "riscv64": 243}
OURS = NUMBERS.get(platform.machine(), 62)


def program(folder: Path, name: str, *words: str, machine: int = OURS, mode: int = 0o755) -> None:
    """Write the beginning of an ELF program, and the words that it holds."""
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(44)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + b"\0" + b"\0".join(word.encode() for word in words) + b"\0")
    path.chmod(mode)


def line(folder: Path, command: str = "") -> str:
    made = start(folder, command=command, is_writing=False)
    assert made.kind == "binary"
    return parse(made.spec).services[0].command[2].removeprefix("cd /srv/app && exec ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["PORT", "Content-Length"], "./server"),
        (["--port", "PORT"], "./server --port $PORT"),
        (["--port", "--host", "usage"], "./server --port $PORT --host $HOST"),
        (["--port", "--listen"], "./server --port $PORT"),
        (["-listen"], "./server -listen $HOST:$PORT"),
        (["--addr"], "./server --addr $HOST:$PORT"),
        (["--bind", "--port"], "./server --port $PORT --bind $HOST"),
        (["nothing"], "./server"),
    ],
)
def test_the_words_in_a_program_tell_how_it_listens(words: list[str], told: str, tmp_path: Path) -> None:
    program(tmp_path, "server", *words)
    assert line(tmp_path) == told


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("main.go", 'port := os.Getenv("PORT")', "./server"),
        ("main.go", 'addr := flag.String("listen", ":80", "where")', "./server -listen $HOST:$PORT"),
        ("main.go", 'flag.IntVar(&p, "port", 80, "where")', "./server -port $PORT"),
        ("main.rs", 'let port = env::var("PORT")?;', "./server"),
        ("main.c", 'char *port = getenv("PORT");', "./server"),
    ],
)
def test_the_sources_beside_a_program_tell_it_first(file: str, text: str, told: str, tmp_path: Path) -> None:
    program(tmp_path, "server", "net/http")
    (tmp_path / file).write_text(text)
    assert line(tmp_path) == told


def test_of_several_programs_one_has_to_be_named(tmp_path: Path) -> None:
    program(tmp_path, "one")
    program(tmp_path, "bin/two")
    with pytest.raises(SpecError, match="several programs here: one, bin/two") as caught:
        start(tmp_path)
    assert caught.value.hint == 'name the one that serves, and how: anew init --command "./one --port $PORT"'
    assert line(tmp_path, "./bin/two -v --port $PORT") == "./bin/two -v --port $PORT"
    assert not (tmp_path / "anew.yaml").exists()


def test_libraries_and_files_that_are_no_programs_are_none(tmp_path: Path) -> None:
    program(tmp_path, "libx.so")
    program(tmp_path, "libx.so.1")
    program(tmp_path, "data", mode=0o644)
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    program(tmp_path, "target/release/server", "PORT")
    assert line(tmp_path) == "./target/release/server"


def test_a_program_for_another_machine_is_refused(tmp_path: Path) -> None:
    program(tmp_path, "server", machine=183 if platform.machine() != "aarch64" else 62)
    with pytest.raises(SpecError, match=f"this machine is {platform.machine()}"):
        start(tmp_path)


def test_the_libraries_of_a_program_become_packages_and_what_is_unknown_is_said(tmp_path: Path) -> None:
    program(tmp_path, "server", "PORT", "libc.so.6", "libssl.so.3", "libodd.so.4", "GLIBC_2.99", "/healthz")
    made = start(tmp_path)
    spec = parse(made.spec)
    assert spec.heads == (DebianHead("base", "bookworm", ("libssl3",)),)
    assert spec.services[0].http is not None
    assert spec.services[0].http.health == "/healthz"
    assert [note.split(" ")[1] for note in made.notes] == ["wants", "uses"]
    assert "libodd.so.4" in made.notes[1]
