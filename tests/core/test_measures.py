"""What is counted of a rollout besides requests at the edge, and how a service is judged by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small import generation, going, member, world

from anew.core.exposition import counts
from anew.core.identity import service_identity
from anew.core.measures import measures
from anew.core.progress import Happening
from anew.core.progress import look as looked
from anew.core.trials import runs_as
from anew.core.world import World
from anew.model import Counts, Identity, Image, Outcomes, Part, Phase, Sample, Service

JOBS = Outcomes("jobs.prom")
OLD = generation(1, member("mailer-g1", kind="worker", size=4, outcomes=JOBS))
NEW = generation(2, member("mailer-g2", kind="worker", size=4, outcomes=JOBS), outcome="")
BOTH = {"mailer-g1": 3, "mailer-g2": 1}
GOOD, BAD = (Sample(3000, 0),), (Sample(1000, 200),)


def staged(phase: Phase = "stage", **more: Any) -> World:
    return world(OLD, NEW, rollout=going(phase), running=BOTH, **more)


def look(world: World) -> Happening:
    assert world.rollout is not None
    return looked(world, world.rollout)


def of(group: str, *numbers: int) -> set[tuple[str, str]]:
    return {(group, f"{group}-{number}") for number in numbers}


@pytest.mark.parametrize(
    ("phase", "wanted"),
    [
        ("prepare", of("mailer-g1", 0, 1, 2) | of("mailer-g2", 0)),
        ("stage", of("mailer-g1", 0, 1, 2) | of("mailer-g2", 0)),
        ("warm", of("mailer-g2", 0)),
        ("rolling back", set()),
    ],
)
def test_the_instances_of_both_groups_are_read_and_then_the_new_ones(
    phase: Phase, wanted: set[tuple[str, str]]
) -> None:
    assert {(one.key, one.instance) for one in measures(staged(phase))} == wanted


def test_nothing_is_read_where_nothing_can_go_back() -> None:
    assert measures(world(OLD, running={"mailer-g1": 4})) == ()
    assert measures(world(OLD, NEW, rollout=replace(going("full"), kind="rollback"), running=BOTH)) == ()
    assert measures(world(OLD, NEW, rollout=replace(going("stage"), old=0), running=BOTH)) == ()


def test_a_worker_is_judged_by_its_outcomes() -> None:
    bad = look(staged(samples={"mailer-g1": GOOD, "mailer-g2": BAD}))
    assert (bad.event, "worse than tolerated" in bad.reason) == ("failed", True)
    good = look(staged(samples={"mailer-g1": GOOD, "mailer-g2": GOOD}))
    assert "1 of 1 workers run, 0 % of 3000" in good.reason
    assert "not worse than acceptable" in good.reason


def test_a_worker_of_whose_work_nothing_is_known_is_undecided_and_that_is_told() -> None:
    why = {"mailer-g2": "mailer-g2-0 has not written /run/outcomes/jobs.prom"}
    found = look(staged(samples={"mailer-g1": GOOD}, unread=why))
    assert found.event is None
    assert "no traffic has reached it; mailer-g2 can't be counted: mailer-g2-0 has not written" in found.reason


def test_a_worker_that_has_all_the_work_trips_by_its_outcomes() -> None:
    warm = world(OLD, NEW, serving=2, rollout=going("warm"), running={"mailer-g2": 4}, wish=2)
    assert look(warm).event is None
    tripped = look(replace(warm, recent={"mailer-g2": Sample(30, 20)}))
    assert (tripped.event, tripped.reason) == ("failed", "mailer-g2: 20 of the last 30 requests failed")


def test_a_service_without_outcomes_is_what_it_always_was() -> None:
    plain = Service("mailer", "base", ("mail",))
    image = Image(Identity("", "", (), "", "sha256:one"), ())
    assert "outcomes" not in service_identity(plain)
    assert "outcomes" not in runs_as(Part(plain, image))
    renamed = replace(plain, outcomes=replace(JOBS, good="other"))
    assert runs_as(Part(renamed, image)) == runs_as(Part(replace(plain, outcomes=JOBS), image))  # it does not see that


def test_labels_times_and_other_lines_do_no_harm() -> None:
    text = '# EOF\ngood{a="} 5",b="\\""} 1e2 1700000000\ngood{a="x"}\t3.0\nbad 0\ngoodness 9\nnonsense\n\n'
    assert counts(text, "good", "bad") == Counts(103, 0)
