from __future__ import annotations

import typing

import pytest

from anew.core.machine import BACK, BEFORE_FULL, ENDS, TABLE, Event, diagram, follow
from anew.model import Phase

PHASES: tuple[Phase, ...] = typing.get_args(Phase)
BOUNDS: dict[Phase, set[Event]] = {  # what ends the wait of a phase, whatever is waited for
    "prepare": {"late"},
    "preview": {"late"},
    "stage": {"passed", "last", "late"},
    "full": {"lost", "late"},
    "warm": {"over"},
    "rolling back": {"back"},
}


def test_every_phase_can_be_reached_and_every_one_but_the_ends_left() -> None:
    reached, before = {"prepare"}, 0
    while len(reached) > before:
        before = len(reached)
        reached |= {after for (phase, _), after in TABLE.items() if phase in reached}
    assert reached == set(PHASES)
    assert {phase for phase, _ in TABLE} == set(PHASES) - ENDS


@pytest.mark.parametrize("phase", [p for p in PHASES if p not in ENDS])
def test_every_wait_has_a_bound(phase: Phase) -> None:
    rows = {event for before, event in TABLE if before == phase}
    assert BOUNDS[phase] <= rows


@pytest.mark.parametrize("phase", [p for p in PHASES if p not in ENDS and p != "rolling back"])
@pytest.mark.parametrize("event", BACK)
def test_from_anywhere_before_done_it_can_go_back(phase: Phase, event: Event) -> None:
    assert follow(phase, event) == "rolling back"


def test_an_event_without_a_row_is_refused() -> None:
    with pytest.raises(KeyError):
        follow("done", "ready")
    with pytest.raises(KeyError):
        follow("rolling back", "abort")


def test_every_event_has_a_row() -> None:
    assert {event for _, event in TABLE} == set(typing.get_args(Event))
    assert set(PHASES) > BEFORE_FULL


def test_the_diagram_shows_every_row() -> None:
    lines = diagram().splitlines()
    for (phase, event), after in TABLE.items():
        head = f"  {phase.replace(' ', '_')} --> {after.replace(' ', '_')}: "
        (line,) = [one for one in lines if one.startswith(head)]
        assert event in line.removeprefix(head).split(", ")
    assert sum(line.endswith("--> [*]") for line in lines) == len(ENDS)
