"""Windows of evidence: over all stages, over keepers, and never more than so many."""

from __future__ import annotations

from dataclasses import replace

from anew.model import Counts, Rollout, Sample
from anew.shell.evidence import MOST, WINDOW, Evidence

NOTHING_YET = (("web-g1", 0, 0), ("web-g2", 0, 0))
BEGUN = Rollout(7, "rollout", 1, 2, "stage", since=100.0, stage=0, counts=NOTHING_YET)


def counts(old: int, new: int, bad: int = 0) -> dict[str, Counts]:
    return {"web-g1": Counts(old), "web-g2": Counts(new, bad)}


def totals(evidence: Evidence) -> dict[str, tuple[int, int]]:
    return {
        name: (sum(one.requests for one in ones), sum(one.failures for one in ones))
        for name, ones in evidence.samples().items()
    }


def entered(rollout: Rollout, evidence: Evidence, now: float) -> Rollout:
    """Enter the next stage, as the journal does."""
    seen = tuple((name, one.requests, one.failures) for name, one in evidence.last.items())
    return replace(rollout, stage=rollout.stage + 1, since=now, counts=seen, windows=tuple(evidence.windows), version=1)


def test_what_came_before_the_first_stage_is_no_evidence() -> None:
    evidence = Evidence()
    evidence.take(90.0, replace(BEGUN, phase="prepare", since=80.0), counts(500, 0))
    evidence.take(100.0, replace(BEGUN, counts=(("web-g1", 600, 0),)), counts(600, 0))
    evidence.take(101.0, replace(BEGUN, counts=(("web-g1", 600, 0),)), counts(690, 10, 3))
    assert totals(evidence) == {"web-g1": (90, 0), "web-g2": (10, 3)}


def test_evidence_is_that_of_all_stages_and_outlives_the_keeper() -> None:
    evidence = Evidence()
    evidence.take(100.0, BEGUN, counts(0, 0))
    evidence.take(101.0, BEGUN, counts(99, 1))
    second = entered(BEGUN, evidence, 101.0)
    for keeper in (evidence, Evidence()):
        keeper.take(103.0, second, counts(189, 11, 2))
        assert totals(keeper) == {"web-g1": (189, 0), "web-g2": (11, 2)}
        assert [one.stage for one in keeper.windows][-1] == 1


def test_another_commit_in_the_same_stage_changes_no_window() -> None:
    evidence = Evidence()
    for second in range(1, 6):
        evidence.take(100.0 + second, replace(BEGUN, version=second), counts(10 * second, second))
    assert len(evidence.windows) == 5


def test_looks_that_follow_each_other_fast_are_one_window() -> None:
    evidence = Evidence()
    for tick in range(1, 41):
        evidence.take(100.0 + tick * WINDOW / 10, BEGUN, counts(tick, tick))
    assert len(evidence.windows) == 4
    assert totals(evidence) == {"web-g1": (40, 0), "web-g2": (40, 0)}


def test_a_window_never_reaches_over_two_stages() -> None:
    evidence, rollout = Evidence(), BEGUN
    for stage in range(4):
        evidence.take(100.0 + stage * WINDOW / 10, rollout, counts(stage, stage))
        rollout = entered(rollout, evidence, 100.0 + stage * WINDOW / 10)
    assert [one.stage for one in evidence.windows] == [0, 1, 2, 3]


def test_windows_are_joined_when_there_are_too_many() -> None:
    evidence, rollout = Evidence(), BEGUN
    for second in range(1, 1001):
        evidence.take(100.0 + second, rollout, counts(9 * second, second))
        if second == 500:
            rollout = entered(rollout, evidence, 600.0)
        assert len(evidence.windows) <= MOST * (1 if second < 501 else 2)
    assert totals(evidence) == {"web-g1": (9000, 0), "web-g2": (1000, 0)}
    assert [one.stage for one in evidence.windows] == sorted(one.stage for one in evidence.windows)
    assert {one.stage for one in evidence.windows} == {0, 1}


def test_the_windows_of_a_stage_that_was_left_stay_as_they_were() -> None:
    evidence = Evidence()
    for second in range(1, MOST + 1):
        evidence.take(100.0 + second, BEGUN, counts(9 * second, second))
    left, rollout = tuple(evidence.windows), entered(BEGUN, evidence, 100.0 + MOST)
    for second in range(MOST + 1, 4 * MOST):
        evidence.take(100.0 + second, rollout, counts(9 * second, second))
    assert tuple(evidence.windows[:MOST]) == left
    assert len(evidence.windows) <= 2 * MOST


def test_groups_that_did_nothing_are_left_out_of_a_window() -> None:
    evidence = Evidence()
    evidence.take(101.0, BEGUN, counts(5, 0))
    assert evidence.windows[0].samples == {"web-g1": Sample(5, 0)}


def test_counters_that_fell_are_a_new_beginning_and_no_window() -> None:
    """They may be what an edge had saved before the power went: its whole past must not count as of now."""
    evidence = Evidence()
    evidence.take(101.0, BEGUN, counts(1_000_000, 900, 400))
    evidence.take(103.0, BEGUN, counts(999_500, 880, 390))
    evidence.take(105.0, BEGUN, counts(999_600, 890, 391))
    assert totals(evidence) == {"web-g1": (1_000_100, 0), "web-g2": (910, 401)}


def test_a_stage_that_was_entered_without_an_edge_begins_with_what_is_read_first() -> None:
    blind = replace(BEGUN, counts=())
    evidence = Evidence()
    evidence.take(101.0, blind, counts(1_000_000, 0))
    evidence.take(103.0, blind, counts(1_000_090, 10, 1))
    assert totals(evidence) == {"web-g1": (90, 0), "web-g2": (10, 1)}


def test_probes_of_a_side_that_can_not_be_reached_are_no_evidence() -> None:
    evidence = Evidence()
    probed = {"web-g1/probes": Counts(0), "web-g2/probes": Counts(0)}
    evidence.take(100.0, BEGUN, counts(0, 0) | probed)
    outage = {"web-g1/probes": Counts(10, 10), "web-g2/probes": Counts(10, 0)}
    evidence.take(110.0, BEGUN, counts(0, 100, 50) | outage, apart={"web-g1", "web-g2"})
    evidence.take(111.0, BEGUN, counts(9, 109, 50) | outage)
    assert totals(evidence) == {"web-g1": (9, 0), "web-g2": (9, 0)}
