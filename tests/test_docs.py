"""Nothing that a user can meet is left undocumented: every command, option, step, error and key of the spec."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click
import pytest

from anew.core.spec.schema import schema
from anew.faces.cli import command_line
from anew.faces.demo.command import command as demo

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)")


def reference() -> str:
    """Return everything under docs/reference/ as one text."""
    return "\n".join(path.read_text("utf-8") for path in sorted((DOCS / "reference").glob("*.md")))


def undocumented(names: Iterator[str]) -> list[str]:
    text = reference()
    return sorted({name for name in names if f"`{name}`" not in text})


def never(*_: object) -> NoReturn:
    pytest.fail("no command is run here")


def never_start(folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> NoReturn:
    pytest.fail("no spec is written here")


def commands() -> dict[str, click.Command]:
    """Return every command by its name, those of groups too: ``secret set``."""
    found = {**command_line(never, never, never_start).commands, "demo": demo}
    groups = {name: one for name, one in found.items() if isinstance(one, click.Group)}
    return found | {f"{name} {inner}": one for name, group in groups.items() for inner, one in group.commands.items()}


def title(name: str) -> str:
    return f"{'###' if ' ' in name else '##'} {name}"


def classes(path: str) -> Iterator[ast.ClassDef]:
    module = ast.parse((ROOT / "src" / "anew" / path).read_text("utf-8"))
    yield from (node for node in module.body if isinstance(node, ast.ClassDef))


def keys(node: object) -> Iterator[str]:
    """Yield the name of every key in a JSON Schema, wherever it stands."""
    if isinstance(node, dict):
        yield from node.get("properties", {})
        for inner in node.values():
            yield from keys(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from keys(inner)


def test_the_reference_says_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "script" / "reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stdout) == (0, ""), made.stderr


def test_every_command_is_documented() -> None:
    text = reference()
    assert [name for name in commands() if f"\n{title(name)}\n" not in text] == []


def test_every_option_is_documented_with_its_command() -> None:
    text = reference()
    missing = []
    for name, command in commands().items():
        section = re.split(r"\n###? ", text.partition(f"\n{title(name)}\n")[2])[0]
        options = [option for one in command.params if isinstance(one, click.Option) for option in one.opts]
        missing += [f"{name} {option}" for option in options if f"`{option}`" not in section]
    assert missing == []


def test_every_option_and_command_says_what_it_is_for() -> None:
    silent = [name for name, command in commands().items() if not command.help]
    silent += [
        f"{name} {one.name}"
        for name, command in commands().items()
        for one in command.params
        if isinstance(one, click.Option) and not one.help
    ]
    assert silent == []


def test_every_step_is_documented() -> None:
    assert undocumented(node.name for node in classes("core/steps.py") if node.name != "Decision") == []


def test_every_error_is_documented() -> None:
    assert undocumented(node.name for node in classes("errors.py") if node.name != "Complaint") == []


def test_every_key_of_the_spec_is_documented() -> None:
    text = reference()
    assert sorted({key for key in keys(schema()) if not re.search(rf"`(?:[^`]*[.\]])?{re.escape(key)}`", text)}) == []


def test_every_key_of_the_spec_stands_in_the_commented_example() -> None:
    example = (DOCS / "reference-spec.yaml").read_text("utf-8")
    assert sorted({key for key in keys(schema()) if not re.search(rf"(?<![\w-]){re.escape(key)}:", example)}) == []


def test_every_dependency_has_a_line() -> None:
    text = (DOCS / "dependencies.md").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    lists = re.findall(r"(?ms)^(?:dependencies|dev) = \[(.*?)\]", project)
    names = {re.match(r"[\w.-]+", one) for part in lists for one in re.findall(r'"([^"]+)"', part)}
    assert sorted(name[0] for name in names if name and f"`{name[0]}`" not in text) == []


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
