"""What is counted of a rollout besides requests at the edge, and how a service is judged by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small import POLICY, generation, going, member, world

from anew.core.exposition import counts
from anew.core.identity import service_identity
from anew.core.judging import criteria, known, verdict_by
from anew.core.measures import Asked, Sent, Written, keys, measures
from anew.core.progress import Happening
from anew.core.progress import look as looked
from anew.core.trials import runs_as
from anew.core.world import World
from anew.model import Counts, Criterion, Identity, Image, Member, Outcomes, Part, Phase, Probe, Sample, Service
from anew.testing.worlds import PREVIEW_PORT

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
    found = [one for one in measures(staged(phase)) if isinstance(one, Written)]
    assert {(one.key, one.instance) for one in found} == wanted


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


def web(group: str, *paths: str) -> Member:
    return member(group, policy=replace(POLICY, probes=tuple(Probe(path) for path in paths)))


def test_both_groups_are_probed_in_stages_alone() -> None:
    old, new = generation(1, web("web-g1", "/old")), generation(2, web("web-g2", "/a", "/b"), outcome="")
    running = {"web-g1": 1, "web-g2": 1}
    for phase in ("prepare", "preview", "full", "warm"):
        assert measures(world(old, new, rollout=going(phase), running=running)) == ()
    found = measures(world(old, new, rollout=going("stage"), running=running))
    hosts = ("g1.web.local.shop.internal", "g2.web.local.shop.internal")
    ends = ("web-g1/probes", "web-g2/probes")
    assert found == tuple(Sent(ends, hosts, PREVIEW_PORT, path, 1.0) for path in ("/a", "/b"))


def test_probes_are_part_of_the_errors_but_a_table_of_their_own() -> None:
    """Added up, a new group that has most of the probes and few of the requests would look bad, or good, for that."""
    old, new = web("web-g1", "/"), web("web-g2", "/")
    real = {"web-g1": (Sample(90_000, 9),), "web-g2": (Sample(10, 0),)}
    probes = {"web-g1/probes": (Sample(100, 50),), "web-g2/probes": (Sample(100, 50),)}
    both = known(criteria(old, new, {**real, **probes}, is_timed=False), new.policy)["errors"]
    assert (both.old, both.new) == (Sample(90_100, 59), Sample(110, 50))
    assert both.harm < 1
    worse = {**probes, "web-g2/probes": (Sample(100, 90),)}
    found = verdict_by(criteria(old, new, worse, is_timed=False), new.policy)
    assert found.kind == "fail"
    assert keys(old, "web-g1", "web-g2") == ("web-g1", "web-g1/probes", "web-g2", "web-g2/probes")


def test_probes_that_fail_on_both_sides_are_not_held_against_the_new_group() -> None:
    old, new = web("web-g1", "/"), web("web-g2", "/")
    bad = (Sample(20, 20),)
    samples = {"web-g1": (Sample(40, 0),), "web-g1/probes": bad, "web-g2/probes": bad}
    assert verdict_by(criteria(old, new, samples, is_timed=False), new.policy).kind == "undecided"
    samples["web-g1/probes"] = (Sample(20, 0),)
    assert verdict_by(criteria(old, new, samples, is_timed=False), new.policy).kind == "fail"


ORDERS = Criterion("orders", "", "http://p/$group", 'n{g="$group",v="$generation",r=~"a$"}', "$service.$environment.$x")
ASKING = replace(POLICY, criteria=(ORDERS, replace(ORDERS, name="rare", acceptable=0.2, tolerated=1.5)))


def test_criteria_are_asked_for_both_groups_and_then_for_the_new_one() -> None:
    old, new = generation(1, member("web-g1")), generation(2, member("web-g2", policy=ASKING), outcome="")
    found = [one for one in measures(world(old, new, rollout=going("prepare"))) if isinstance(one, Asked)]
    assert [one.key for one in found] == ["web-g1/orders", "web-g1/rare", "web-g2/orders", "web-g2/rare"]
    assert found[2].criterion.prometheus == "http://p/web-g2"
    assert found[2].criterion.good == 'n{g="web-g2",v="g2",r=~"a$"}'
    assert found[2].criterion.bad == "web.local.$x"
    late = measures(world(old, new, rollout=going("warm")))
    assert [one.key for one in late if isinstance(one, Asked)] == ["web-g2/orders", "web-g2/rare"]


def test_each_criterion_must_be_good_enough_by_itself_and_by_its_own_margins() -> None:
    old, new = member("web-g1"), member("web-g2", policy=ASKING)
    good = {"web-g1": (Sample(9000, 0),), "web-g2": (Sample(9000, 0),)}
    found = verdict_by(criteria(old, new, good, is_timed=False), new.policy)
    assert found.kind == "undecided"
    some = (Sample(100, 1),)
    ones = known(
        criteria(
            old,
            new,
            {f"{group}/{name}": some for group in ("web-g1", "web-g2") for name in ("orders", "rare")},
            is_timed=False,
        ),
        new.policy,
    )
    assert ones["rare"].safe > ones["orders"].safe
    many = {f"{group}/{name}": (Sample(9000, 0),) for group in ("web-g1", "web-g2") for name in ("orders", "rare")}
    found = verdict_by(criteria(old, new, good | many, is_timed=False), new.policy)
    assert found.kind == "pass"
    found = verdict_by(
        criteria(old, new, good | many | {"web-g2/orders": (Sample(9000, 200),)}, is_timed=False), new.policy
    )
    assert (found.kind, "were bad by orders" in found.reason) == ("fail", True)


def test_when_all_traffic_is_moved_a_criterion_trips_like_the_breaker() -> None:
    old, new = generation(1, member("web-g1")), generation(2, member("web-g2", policy=ASKING), outcome="")
    running = {"web-g1": 1, "web-g2": 1}
    warm = world(old, new, serving=2, rollout=going("warm"), running=running, wish=2)
    assert look(replace(warm, recent={"web-g2/orders": Sample(19, 19)})).event is None
    tripped = look(replace(warm, recent={"web-g2/orders": Sample(20, 10)}))
    assert (tripped.event, tripped.reason) == ("failed", "web-g2: 10 of the last 20 were bad by orders")


def test_what_speaks_http_is_asked_for_its_outcomes_and_judged_by_them_besides() -> None:
    asked = Outcomes(metrics="/metrics")
    old, new = member("web-g1", outcomes=asked), member("web-g2", outcomes=asked)
    (first,) = measures(
        world(
            generation(1, old),
            generation(2, new, outcome=""),
            rollout=going("warm"),
            running={"web-g1": 1, "web-g2": 1},
        )
    )
    assert isinstance(first, Written)
    assert (first.key, first.url) == ("web-g2/outcomes", "http://127.0.0.1:20010/metrics")
    good, bad = {"web-g1": GOOD, "web-g2": GOOD, "web-g1/outcomes": GOOD}, {"web-g2/outcomes": BAD}
    compared = criteria(old, new, good | bad, is_timed=False)
    assert set(compared) == {"errors", "outcomes"}
    found = verdict_by(compared, new.policy)
    assert (found.kind, "were bad by outcomes" in found.reason) == ("fail", True)
