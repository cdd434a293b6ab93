"""What an environment says differently of a service, in its seal and in the member of a generation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anew.model import (
    Environment,
    Http,
    Identity,
    Image,
    Limits,
    Member,
    Outcomes,
    Override,
    Part,
    Policy,
    Release,
    Scope,
    Seal,
    Service,
)
from anew.shell.sealing import seal

NOTHING = "sha256:" + "0" * 64
SERVICE = Service("web", "base", ("a",), http=Http(), limits=Limits(256 << 20, 0.5, 100), max_age=3600.0)


def sealed(service: Service, *overrides: Override, environment: Environment | None = None) -> tuple[Seal, Member]:
    place = environment or Environment("local", overrides=overrides)
    image = Image(Identity(NOTHING, NOTHING, (), NOTHING, NOTHING), ())
    release = Release("shop", "r1", NOTHING, (Part(service, image),))
    made = seal(Scope("shop", place.name), release, place)
    return made.seals[0], made.members[0]


@pytest.mark.parametrize(
    ("here", "wanted"),
    [
        (None, Limits(256 << 20, 0.5, 100)),
        (Limits(memory=1 << 30), Limits(1 << 30, 0.5, 100)),
        (Limits(cpu=2.0), Limits(256 << 20, 2.0, 100)),
        (Limits(1 << 30, 2.0, 400), Limits(1 << 30, 2.0, 400)),
    ],
)
def test_an_environment_says_each_limit_by_itself(here: Limits | None, wanted: Limits) -> None:
    assert sealed(SERVICE, Override("web", limits=here))[0].limits == wanted
    assert sealed(SERVICE, Override("other", limits=here))[0].limits == SERVICE.limits


def test_a_service_without_limits_has_those_of_its_environment() -> None:
    assert sealed(replace(SERVICE, limits=Limits()), Override("web", limits=Limits(pids=7)))[0].limits == Limits(pids=7)


def test_the_age_belongs_to_the_member_and_not_to_the_seal() -> None:
    first, member = sealed(SERVICE)
    second, other = sealed(SERVICE, Override("web", max_age=60.0))
    assert first == second
    assert (member.max_age, other.max_age) == (3600.0, 60.0)


def test_what_becomes_of_an_undecided_stage_is_settled_by_the_environment_and_is_no_part_of_the_seal() -> None:
    places = (Environment("local"), Environment("production"), Environment("production", on_undecided="rollback"))
    made = [sealed(SERVICE, environment=one) for one in places]
    assert [member.policy.on_undecided for _, member in made] == ["promote", "extend", "rollback"]
    assert len({seal for seal, _ in made}) == 1
    asks = replace(SERVICE, policy=Policy(on_undecided="ask"))
    assert [sealed(asks, environment=one)[1].policy.on_undecided for one in places] == ["ask"] * 3


def test_a_worker_sees_where_its_outcomes_go_and_not_how_they_are_called() -> None:
    worker = Service("mailer", "base", ("a",), writable=("/srv/a",), outcomes=Outcomes("jobs.prom"))
    first, member = sealed(worker)
    second, other = sealed(replace(worker, outcomes=Outcomes("jobs.prom", good="sent_total")))
    assert first == second
    assert first.flags == (("OUTCOMES", "/run/outcomes/jobs.prom"),)
    assert first.writable == ("/srv/a", "/run/outcomes")
    assert (member.outcomes, other.outcomes) == (Outcomes("jobs.prom"), Outcomes("jobs.prom", good="sent_total"))
