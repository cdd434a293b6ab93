"""Specs that were parsed before are recognised; anything else is parsed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from anew.core.spec.parse import parse
from anew.errors import SpecError
from anew.model import Spec
from anew.shell.parsed import Parsed

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "reference-spec.yaml").read_text("utf-8")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "parse.py").write_text("first")
    return tmp_path / "code"


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def look(tmp_path: Path, code: Path, asked: list[str]) -> Callable[..., Spec]:
    def parsed(text: str) -> Spec:
        asked.append(text)
        return parse(text, "anew.yaml")

    def look(text: str = TEXT, root: Path = Path("/srv/shop")) -> Spec:
        return Parsed(tmp_path / "specs", (code,)).spec(root, text, parsed)

    return look


def test_the_same_text_is_parsed_once_and_comes_back_the_same_to_every_type(
    look: Callable[..., Spec], asked: list[str]
) -> None:
    first, again = look(), look()
    assert len(asked) == 1
    assert again == first
    assert repr(again) == repr(first)  # 1 and 1.0 are equal, and have other digests
    assert again == parse(TEXT, "anew.yaml")


def test_other_words_other_code_and_another_folder_are_parsed(
    look: Callable[..., Spec], asked: list[str], code: Path
) -> None:
    look()
    look(TEXT + "# a comment\n")
    (code / "parse.py").write_text("other")
    look(TEXT + "# a comment\n")
    look(TEXT + "# a comment\n", Path("/srv/other"))
    look(TEXT + "# a comment\n")
    assert len(asked) == 4


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"key": "', b"\xff\x00"])
def test_what_is_damaged_is_parsed_and_mended(
    look: Callable[..., Spec], asked: list[str], tmp_path: Path, damage: bytes
) -> None:
    spec = look()
    (path,) = (tmp_path / "specs").iterdir()
    path.write_bytes(damage)
    assert look() == look() == spec
    assert len(asked) == 2


def test_a_spec_with_complaints_is_complained_of_every_time(look: Callable[..., Spec], asked: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(SpecError):
            look("project: 7\n")
    assert len(asked) == 2


def test_where_nothing_can_be_kept_it_is_parsed_every_time(
    look: Callable[..., Spec], asked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "specs").touch()
    assert look() == look()
    assert len(asked) == 2


def test_only_its_owner_may_read_what_is_kept(look: Callable[..., Spec], tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        look()
    finally:
        os.umask(before)
    (path,) = (tmp_path / "specs").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
