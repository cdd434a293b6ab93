"""What people and programs read, as data files; ANEW_REWRITE_GOLDEN=1 pytest tests/faces rewrites them."""

from __future__ import annotations

import doctest
import importlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from canned import (
    AGAIN,
    BACK,
    BUILT,
    CHECKS,
    CLEAN,
    COMPARISON,
    DEVELOPED,
    EQUAL,
    ERRORS,
    HEADS,
    HISTORY,
    NO_PLAN,
    NOON,
    NOTHING,
    PLAN,
    PULLED,
    PUSHED,
    QUIET,
    REBUILT,
    RELEASES,
    STATUS,
    TESTED,
    WARM,
    WORSE,
)
from rich.console import Console

from anew.errors import AnewError
from anew.faces import blocks, carrying, charts, comparisons, developing, locking, terminal
from anew.faces.render import as_json, error_json, error_text, plain

GOLDEN = Path(__file__).parent / "golden"
SHOWN: dict[str, tuple[object, tuple[blocks.Block, ...]]] = {
    "status-stage": (STATUS, blocks.of_status(STATUS)),
    "status-warm": (WARM, blocks.of_status(WARM)),
    "status-back": (BACK, blocks.of_status(BACK)),
    "status-nothing": (NOTHING, blocks.of_status(NOTHING)),
    "judged": ((WORSE, QUIET), tuple(charts.of_judgements((WORSE, QUIET)))),
    "judged-again": (AGAIN, tuple(charts.of_recomputed(AGAIN))),
    "plan": (PLAN, blocks.of_plan(PLAN)),
    "plan-nothing": (NO_PLAN, blocks.of_plan(NO_PLAN)),
    "built": (BUILT, blocks.of_built(BUILT)),
    "heads": (HEADS, tuple(locking.of_heads(HEADS, "nothing moved"))),
    "pushed": (PUSHED, tuple(carrying.of_pushed(PUSHED))),
    "pulled": (PULLED, tuple(carrying.of_pulled(PULLED))),
    "rebuilt": (REBUILT, tuple(locking.of_rebuilt(REBUILT))),
    "compared": (COMPARISON, tuple(comparisons.of_comparison(COMPARISON, is_all=False))),
    "developed": (DEVELOPED, tuple(developing.of_developed(DEVELOPED))),
    "developed-clean": (CLEAN, tuple(developing.of_developed(CLEAN))),
    "compared-all": (COMPARISON, tuple(comparisons.of_comparison(COMPARISON, is_all=True))),
    "compared-equal": (EQUAL, tuple(comparisons.of_comparison(EQUAL, is_all=False))),
    "tested": (TESTED, blocks.of_tested(TESTED)),
    "releases": (RELEASES, blocks.of_releases(RELEASES)),
    "releases-none": ((), blocks.of_releases(())),
    "history": (HISTORY, blocks.of_history(HISTORY)),
    "history-none": ((), blocks.of_history(())),
    "doctor": (CHECKS, blocks.of_checks(CHECKS)),
}


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("ANEW_REWRITE_GOLDEN") == "1":
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text()


@pytest.mark.parametrize("name", SHOWN)
def test_every_view_has_a_plain_text(name: str) -> None:
    check(f"{name}.txt", plain(SHOWN[name][1]))


@pytest.mark.parametrize("name", SHOWN)
def test_every_view_is_one_json_document(name: str) -> None:
    text = as_json(SHOWN[name][0])
    json.loads(text)
    check(f"{name}.json", text)


@pytest.mark.parametrize("name", SHOWN)
def test_every_view_has_a_picture_on_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    terminal.show(SHOWN[name][1], Console(file=out, highlight=False, color_system=None, width=110))
    check(f"{name}.terminal.txt", "\n".join(line.rstrip() for line in out.getvalue().splitlines()))


@pytest.mark.parametrize(("encoding", "marks"), [("utf-8", "\u25cf\u25b2\u2500"), ("ascii", "*h-")])
def test_a_chart_is_drawn_with_what_the_encoding_has(encoding: str, marks: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, highlight=False, color_system=None, width=80)
    terminal.show(charts.of_judgements([WORSE]), console)
    out.seek(0)
    text = out.read()
    assert all(mark in text for mark in marks)


def test_a_chart_fits_into_eighty_columns() -> None:
    drawn = [block for block in charts.of_judgements([WORSE]) if isinstance(block, blocks.Chart)]
    assert len(drawn) == 2
    assert max(map(len, plain(drawn).splitlines())) <= 80
    assert plain(drawn).isascii()


@pytest.mark.parametrize(("height", "charts"), [(24, 1), (60, 2)])
def test_who_follows_a_stage_sees_as_many_charts_as_there_is_room_for(height: int, charts: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=height, record=True)
    status = replace(STATUS, services=())
    (criterion,) = WORSE.criteria
    with terminal.Follower(console) as show:
        for at in criterion.course:
            show(replace(status, judgements=(replace(WORSE, criteria=(replace(criterion, course=(at,)),)),)))
    last = console.export_text().rpartition("shop/local")[2]
    assert last.count("stage 2  ") == charts
    assert ("\u25b2" in last) is (charts > 1)


def test_what_is_seen_of_a_long_stage_stays_bounded() -> None:
    seen = charts.Seen()
    for second in range(3 * charts.MOST_SEEN):
        moment = replace(WORSE.criteria[0].course[0], at=NOON + second)
        (one,) = seen.add([replace(WORSE, criteria=(replace(WORSE.criteria[0], course=(moment,)),))])
    course = one.criteria[0].course
    assert charts.MOST_SEEN / 2 < len(course) <= charts.MOST_SEEN + 1
    assert (course[0].at, course[-1].at) == (NOON, NOON + 3 * charts.MOST_SEEN - 1)


def test_the_panel_shows_what_the_status_shows() -> None:
    out = io.StringIO()
    Console(file=out, width=110, color_system=None).print(terminal.panel(STATUS))
    check("panel.terminal.txt", out.getvalue().rstrip("\n"))


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_a_text(name: str) -> None:
    check(f"error-{name}.txt", error_text(ERRORS[name]))


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_comes_back_from_its_json(name: str) -> None:
    before = ERRORS[name]
    text = error_json(before)
    after = AnewError.from_json(json.loads(text)["error"])
    assert type(after) is type(before)
    assert after.as_json() == before.as_json()
    check(f"error-{name}.json", text)


def test_no_output_of_a_program_drives_the_terminal() -> None:
    for name, (_, shown) in SHOWN.items():
        assert "\x1b" not in plain(shown), name
    for name, error in ERRORS.items():
        assert "\x1b" not in error_text(error), name


def test_colour_changes_nothing_but_colour() -> None:
    coloured = error_text(ERRORS["several"], is_coloured=True)
    assert coloured.replace("\x1b[31m\x1b[1m", "").replace("\x1b[0m", "") == error_text(ERRORS["several"])


@pytest.mark.parametrize(
    "name", ["blocks", "charts", "render", "watch", "report", "screen", "acts", "cli", "entry", "terminal"]
)
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"anew.faces.{name}")).failed == 0
