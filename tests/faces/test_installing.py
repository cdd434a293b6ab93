"""The commands that make a keeper a service: what they print, and where they can't be."""

from __future__ import annotations

from pathlib import Path

import pytest
from canned_anew import Canned

from anew.faces.entry import main
from anew.views import Start


def no_start(folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> Start:
    raise AssertionError("no spec is to be written")


def run(*argv: str) -> int:
    return main(argv, lambda _: Canned(), lambda _: 0, no_start)


def test_a_unit_that_is_printed_is_all_of_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", "--print", "-e", "production") == 0
    shown = capsys.readouterr()
    assert shown.out == "[Unit]\n"
    assert shown.err == "this would be /etc/anew-shop.production.service\nnote: a note\n"


def test_a_service_that_runs_is_said_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install") == 0
    said = "anew-shop.local.service keeps local, now and whenever this machine starts\nnote: a note\n"
    assert capsys.readouterr().out == said


def test_what_is_written_for_another_machine_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", "--root", str(tmp_path)) == 0
    assert capsys.readouterr().out.startswith(f"wrote {tmp_path}/etc/anew-shop.local.service; it starts with")
    assert run("uninstall", "--root", str(tmp_path)) == 0
    assert capsys.readouterr().out.endswith(f"there is no {tmp_path}/etc/anew-shop.local.service\n")
    assert run("install", "--root", str(tmp_path / "none")) == 2


def test_printing_and_writing_are_two_wishes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", "--print", "--root", str(tmp_path)) == 2
    assert "choose one" in capsys.readouterr().err
