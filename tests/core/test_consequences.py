"""What becomes of a generation whose rollout is taken back: it failed, was overtaken, or was only changed about."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from small import generation, going, member, world

from anew.core.consequences import consequences
from anew.core.decide import decide
from anew.core.preview import assume
from anew.core.retention import way_back
from anew.core.steps import Enter
from anew.core.world import World
from anew.model import Generation, GenerationOutcome, Rollout

OLD = generation(1, member("web-g1"))


def after(rollout: Rollout, outcome: GenerationOutcome, *, wish: int = 2, serving: int = 1) -> Generation:
    """Return what becomes of g2 when its rollout enters ``rolling back``."""
    new = generation(2, member("web-g2"), outcome=outcome, warm_until=9e9)
    third = generation(3, member("web-g3"))
    here = world(OLD, new, third, rollout=rollout, serving=serving, wish=wish)
    follows = consequences(here, replace(rollout, phase="rolling back", reason="because"))
    (change,) = follows.generations
    assert (follows.wish, follows.serving) == (rollout.old if wish == 2 else None, None)
    assert change.number == 2
    return change.applied(new)


@pytest.mark.parametrize("kind", ["rollout", "rollback"])
@pytest.mark.parametrize(
    ("asked", "wish", "before", "outcome"),
    [
        ("", 2, "", "rolled back"),
        ("", 2, "promoted", "rolled back"),  # it can't become ready any more
        ("abort", 2, "", "rolled back"),
        ("abort", 2, "promoted", "promoted"),
        ("", 3, "", "withdrawn"),
        ("", 3, "promoted", "promoted"),
        ("abort", 3, "promoted", "promoted"),
    ],
)
def test_what_served_before_is_still_a_way_back_when_only_an_operator_speaks_against_it(
    kind: Literal["rollout", "rollback"],
    asked: Literal["", "abort"],
    wish: int,
    before: GenerationOutcome,
    outcome: GenerationOutcome,
) -> None:
    found = after(replace(going("prepare"), kind=kind, asked=asked), before, wish=wish)
    assert (found.outcome, found.warm_until) == (outcome, 0.0)
    assert found.reason == ("" if outcome == "promoted" else "because")


def test_a_rollback_that_is_aborted_while_it_prepares_leaves_the_way_back_open() -> None:
    serving = generation(2, member("web-g2"))
    rollout = replace(going("prepare", old=2, new=1), kind="rollback", asked="abort")
    here: World = world(OLD, serving, serving=2, rollout=rollout)
    (step,) = (one for one in decide(here).steps if isinstance(one, Enter))
    assert (step.phase, step.reason) == ("rolling back", "taken back by hand")
    later = assume(here, step)
    assert (later.wish, later.generations[1].outcome) == (2, "promoted")
    assert way_back(later.generations, 2) == 1
