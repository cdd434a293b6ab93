"""The demo's story: good only if all of it happened, and its figures mean what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anew.errors import Bug, Conflict, SpecError
from anew.faces.demo.project import adapted, opened
from anew.faces.demo.story import ByHand, Outcome, Story, Told, complaints, report
from anew.testing.load import Answerer, Figures

STAGES = (("prepare", 0.5), ("stage 1 of 3", 2.0), ("stage 2 of 3", 2.0))


def good_story() -> Story:
    figures = Figures(sent=1010, answered=1010, by_kind={"keep-alive": 700, "fresh": 300, "slow": 10})
    figures.by_release = {
        "r1": Answerer(500, 0, 1.0, 200.05),
        "r2": Answerer(480, 0, 50.0, 200.02),
        "r3": Answerer(30, 6, 100.0, 103.025),
    }
    told = [
        Told("r1", "promoted", "ready", "g1"),
        Told("r2", "promoted", "no worse", "g2", STAGES),
        Told("r3", "rolled back", "20 % failed", "g3", STAGES[:2], decided=103.0),
        Told("r4", "rolled back", "never ready", "g4", STAGES[:1], decided=110.0),
        Told("r5", "refused", "its test failed"),
    ]
    return Story(told, ByHand("r2", "r1", 200.0), figures, 30.0)


def test_a_story_in_which_all_of_it_happened_is_good() -> None:
    assert complaints(good_story()) == ()


def test_the_report_has_the_promised_keys_and_figures() -> None:
    made = report(good_story())
    assert (made["requests"], made["dropped"], made["seconds"]) == (1010, 0, 30.0)
    assert made["errors_by_generation"] == {"r1": 0, "r2": 0, "r3": 6, "r4": 0}
    assert (made["rollback_ms"], made["manual_rollback_ms"]) == (25.0, 20.0)
    rows = made["generations"]
    assert isinstance(rows, list)
    assert [(row["name"], row["outcome"]) for row in rows] == [
        ("r1", "promoted"),
        ("r2", "promoted"),
        ("r3", "rolled back"),
        ("r4", "rolled back"),
        ("r5", "refused"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_any_other_outcome_is_a_complaint(number: int) -> None:
    story = good_story()
    other: Outcome = "promoted" if story.told[number].outcome != "promoted" else "rolled back"
    story.told[number] = replace(story.told[number], outcome=other)
    assert len(complaints(story)) == 1
    assert f"r{number + 1} should have been" in complaints(story)[0]


@pytest.mark.parametrize("number", range(5))
def test_a_release_that_was_not_reached_is_a_complaint(number: int) -> None:
    story = good_story()
    del story.told[number]
    assert f"r{number + 1} was not reached" in complaints(story)


def test_traffic_that_should_not_be_is_a_complaint() -> None:
    story = good_story()
    story.figures.dropped = 1
    story.figures.by_release["r2"].errors = 2
    story.figures.by_release["r4"] = Answerer(3)
    story.figures.by_kind["slow"] = 0
    found = "\n".join(complaints(story))
    assert "1 of 1010 requests were dropped" in found
    assert "r2 answered 2 requests with 5xx" in found
    assert "r4 got 3 requests" in found
    assert "no slow load" in found


def test_what_was_sealed_though_refused_is_a_complaint() -> None:
    story = good_story()
    story.told[4] = replace(story.told[4], sealed=("r5",))
    assert complaints(story) == ("r5 was refused, but there is r5",)


def test_a_rollout_without_stages_and_a_rollback_that_did_not_happen_are_complaints() -> None:
    story = good_story()
    story.told[1] = replace(story.told[1], stages=())
    story.by_hand = None
    assert complaints(story) == ("r2 did not come in stages", "the rollback by hand was not reached")


def test_a_last_request_before_the_decision_is_no_time_at_all() -> None:
    story = good_story()
    story.told[2] = replace(story.told[2], decided=104.0)
    assert story.rollback_ms() == 0.0


def test_a_spec_that_is_not_the_example_is_not_changed_by_guessing() -> None:
    with pytest.raises(Bug):
        adapted("project: other\n", "host", 1)


def test_the_example_runs_on_the_engine_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with opened("debian", "docker", is_kept=False) as project:
        project.lay("")
        text = (project.root / "anew.yaml").read_text()
    assert "engine: docker" in text
    assert "ready: 20s" in text
    assert "{debian: bookworm" in text
    with pytest.raises(SpecError), opened("host", "docker", is_kept=False):
        pytest.fail("the machine's own root is no image")


def test_each_release_is_the_example_with_its_change_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with opened("host", is_kept=False) as project:
        project.lay("r3")
        (project.root / "anew.lock").write_text("locked")
        (project.root / "app" / "left-over.py").write_text("")
        project.lay("r2")
        assert "r2" in (project.root / "app" / "behaviour.py").read_text()
        assert not (project.root / "app" / "left-over.py").exists()
        assert not (project.root / "changes").exists()
        assert (project.root / "anew.lock").read_text() == "locked"
        assert "{host: true}" in (project.root / "anew.yaml").read_text()
        project.remember_lock()
    assert not project.root.exists()
    with opened("host", is_kept=False) as again:
        again.recall_lock()
        assert (again.root / "anew.lock").read_text() == "locked"


def test_two_demos_at_once_are_one_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with opened("host", is_kept=False), pytest.raises(Conflict), opened("host", is_kept=False):
        pytest.fail("the second one began")
