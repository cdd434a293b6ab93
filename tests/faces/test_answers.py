"""Every command's `--json`: one document, of the shape that the reference says, and just as it was.

ANEW_REWRITE_GOLDEN=1 pytest tests/faces rewrites the golden files.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from canned_anew import Canned

from anew.faces.answers import ANSWERS
from anew.faces.cli import command_line
from anew.faces.entry import main
from anew.views import Start

GOLDEN = Path(__file__).parent / "golden"
ARGUMENTS = {
    "secret set": ["db_password"],
    "secret revoke": ["db_password"],
    "volumes remove": ["web", "data", "--force"],
    "run": ["web", "--", "true"],
    "debug": ["web", "--", "true"],
    "dev": ["web"],
    "pull": ["r3"],
}


def start(folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> Start:
    files = ("anew.yaml", ".anewignore")
    return Start("shop", "shop", "static", "files with an index.html", (), files, is_writing, "project: shop\n")


@contextmanager
def typed(text: bytes) -> Iterator[None]:
    """Let `text` come in on standard input."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(text))
    try:
        yield
    finally:
        sys.stdin = before


def answer(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    words = name.split()
    options = [word for word in words if word.startswith("--")]
    command = [word for word in words if word not in options]
    options.append("--json")
    with typed(b"hunter2\n"):
        assert main([*command, *options, *ARGUMENTS.get(name, [])], lambda _: Canned(), lambda _: 0, start) == 0
    shown = capsys.readouterr()
    assert "hunter2" not in shown.out + shown.err
    return shown.out


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_of_a_command_is_one_document_of_its_shape(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = answer(name, capsys)
    path = GOLDEN / f"answer-{name.replace(' --', '-').replace(' ', '-')}.json"
    if os.environ.get("ANEW_REWRITE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()
    msgspec.convert(without_times(json.loads(text)), ANSWERS[name], strict=True)


def without_times(value: Any) -> Any:
    """Return the document with numbers for its times, as the views have them."""
    if isinstance(value, list):
        return [without_times(one) for one in value]
    if isinstance(value, dict):
        return {k: 0.0 if k in {"at", "since"} and isinstance(v, str) else without_times(v) for k, v in value.items()}
    return value


def test_every_command_that_takes_json_has_a_shape() -> None:
    def below(group: click.Group, path: str = "") -> set[str]:
        out = set()
        for name, one in group.commands.items():
            if isinstance(one, click.Group):
                out |= below(one, f"{path}{name} ")
            if any("--json" in parameter.opts for parameter in one.params):
                out.add(path + name)
        return out

    every = below(command_line(lambda _: Canned(), lambda _: 0, start))
    assert every | {"history --verify", "verify --key", "why r1 r2", "why --recompute"} == set(ANSWERS)


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_each_shell_gets_its_completion(shell: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell], lambda _: Canned(), lambda _: 0, start) == 0
    shown = capsys.readouterr().out
    assert word in shown
    assert "_ANEW_COMPLETE" in shown


@pytest.mark.parametrize(
    ("argv", "environment"),
    [
        (["volumes", "remove", "web", "data", "--force"], "local"),
        (["volumes", "remove", "web", "data", "--force", "-e", "staging"], "staging"),
        (["volumes", "-e", "staging", "remove", "web", "data", "--force"], "staging"),
        (["volumes", "-e", "staging", "remove", "web", "data", "--force", "-e", "local"], "local"),
    ],
)
def test_an_environment_named_before_a_subcommand_is_not_forgotten(
    argv: list[str], environment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv, lambda _: Canned(), lambda _: 0, start) == 0
    shown = ["the volume data of web is gone: 123.5 kB", f"would find it empty: g1 of {environment}"]
    assert capsys.readouterr().out.splitlines() == shown
    assert main(["volumes", "-e", "staging"], lambda _: Canned(), lambda _: 0, start) == 0
    assert capsys.readouterr().out == "there is no volume\n"
