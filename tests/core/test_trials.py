"""What the image gate tries together, and which old callers meet which new callees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anew import model
from anew.core.trials import is_tried, key, needed, skews, trial_of
from anew.model import Actor, Http, Identity, Image, Part, Policy, Release, Service, Trial, Volume


def image(name: str) -> Image:
    return Image(Identity("", "", (), "", f"sha256:{name}"), ())


def part(name: str, *needs: str, image_: str = "") -> Part:
    return Part(Service(name, "base", (name,), http=Http(), needs=needs), image(image_ or name))


def release(*parts: Part) -> Release:
    return Release("shop", "r1", "", parts)


def cast(trial: Trial) -> list[tuple[str, list[str]]]:
    """Show a trial by images: each actor, and whom it calls."""
    digests = [actor.part.image.digest.removeprefix("sha256:") for actor in trial.actors]
    return [(digests[n], [digests[c] for c in actor.needs]) for n, actor in enumerate(trial.actors)]


SHOP = {p.service.name: p for p in (part("web", "api", "cache"), part("api", "db", "cache"), part("db"), part("cache"))}


def test_a_trial_holds_all_that_is_needed_once_and_callees_first() -> None:
    assert cast(trial_of(SHOP["web"], SHOP)) == [
        ("db", []),
        ("cache", []),
        ("api", ["db", "cache"]),
        ("web", ["api", "cache"]),
    ]
    assert cast(trial_of(SHOP["db"], SHOP)) == [("db", [])]


def test_a_long_chain_and_a_dense_net_are_no_burden() -> None:
    chain = {f"s{n}": part(f"s{n}", *([f"s{n + 1}"] if n < 3000 else [])) for n in range(3001)}
    assert len(trial_of(chain["s0"], chain).actors) == 3001
    net = {f"s{n}": part(f"s{n}", *(f"s{m}" for m in range(n + 1, 60))) for n in range(60)}
    assert len(trial_of(net["s0"], net).actors) == 60


def test_a_need_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        trial_of(part("web", "nobody"), {})


def test_needs_of_several_leave_out_what_nobody_needs() -> None:
    needs = {name: one.service.needs for name, one in SHOP.items()}
    assert needed(("cache",), needs) == ()
    assert needed(("db", "api"), needs) == ("db", "cache")


@pytest.mark.parametrize(
    "change",
    [
        {"command": ("other",)},
        {"flags": (("A", "1"),)},
        {"http": Http("/other")},
        {"http": None, "is_tcp": True},
        {"writable": ("/x",)},
        {"volumes": (Volume("data", "/data"),)},
        {"secrets": ("password",)},
        {"policy": Policy(ready=1.0)},
        {"ready_after": 9.0},
    ],
    ids=str,
)
def test_a_verdict_falls_with_what_ran_in_its_trial(change: dict[str, object]) -> None:
    for name in ("web", "api", "cache"):  # itself, what it calls, and what that calls
        one = SHOP[name]
        changed = SHOP | {name: replace(one, service=replace(one.service, **change))}  # type: ignore[arg-type]  # fields
        assert key(trial_of(changed["web"], changed)) != key(trial_of(SHOP["web"], SHOP))


def test_a_verdict_falls_with_an_image_far_below_and_with_a_need() -> None:
    stands = key(trial_of(SHOP["web"], SHOP))
    changed = SHOP | {"db": part("db", image_="db2")}
    assert key(trial_of(SHOP["web"], changed)) != stands
    fewer = SHOP | {"api": part("api", "db")}
    assert key(trial_of(SHOP["web"], fewer)) != stands


def test_a_verdict_falls_with_a_kind_and_with_who_calls_whom() -> None:
    worker = replace(part("db"), service=replace(part("db").service, http=None))
    tcp = replace(worker, service=replace(worker.service, is_tcp=True))
    assert key(trial_of(worker, {})) != key(trial_of(tcp, {}))
    two = (Actor(part("db")), Actor(part("db")))
    assert key(Trial((*two, Actor(part("web", "db"), (0,))))) != key(Trial((*two, Actor(part("web", "db"), (1,)))))


def test_a_verdict_falls_with_its_own_tests_and_stands_with_those_of_others() -> None:
    stands = key(trial_of(SHOP["web"], SHOP))

    def tested(name: str, test: model.Test) -> str:
        changed = SHOP | {name: replace(SHOP[name], service=replace(SHOP[name].service, tests=(test,)))}
        return key(trial_of(changed["web"], changed))

    assert tested("web", model.Test(get="/")) != stands
    assert tested("web", model.Test(get="/", at="preview")) == stands
    assert tested("api", model.Test(get="/")) == stands


def test_a_verdict_stands_when_only_the_rollout_or_the_size_changes() -> None:
    stands = key(trial_of(SHOP["web"], SHOP))
    service = replace(SHOP["api"].service, size=7, hosts=("x",), policy=Policy(stages=(1,)))
    changed = SHOP | {"api": replace(SHOP["api"], service=service)}
    assert key(trial_of(SHOP["web"], changed)) == stands


def test_an_old_caller_meets_the_new_callee_where_both_changed() -> None:
    old = release(part("web", "api", "cache"), part("api", "db"), part("cache"), part("db"))
    new = release(
        part("web", "api", "cache", image_="web2"), part("api", "db", image_="api2"), part("cache"), part("db")
    )
    (skew,) = skews(old, new)
    assert (skew.caller, skew.callee) == ("web", "api")
    assert cast(skew.trial) == [("cache", []), ("db", []), ("api2", ["db"]), ("web", ["api2", "cache"])]


def test_what_both_stand_on_runs_in_both_versions() -> None:
    old = release(part("web", "api", "db"), part("api", "db"), part("db"))
    new = release(part("web", "api", "db", image_="web2"), part("api", "db", image_="api2"), part("db", image_="db2"))
    shown = {(s.caller, s.callee): cast(s.trial) for s in skews(old, new)}
    assert shown == {
        ("api", "db"): [("db2", []), ("api", ["db2"])],
        ("web", "api"): [("db", []), ("db2", []), ("api2", ["db2"]), ("web", ["api2", "db"])],
        ("web", "db"): [("db", []), ("api", ["db"]), ("db2", []), ("web", ["api", "db2"])],
    }


def test_there_is_no_skew_where_only_one_changed_or_one_is_new_or_gone() -> None:
    old = release(part("web", "api"), part("api"))
    assert skews(old, old) == ()
    assert skews(old, release(part("web", "api", image_="web2"), part("api"))) == ()
    assert skews(old, release(part("web", "api"), part("api", image_="api2"))) == ()
    assert skews(old, release(part("web", image_="web2"))) == ()
    assert skews(old, release(part("api", image_="api2"))) == ()
    assert skews(release(part("web"), part("api")), release(part("web", "api"), part("api", image_="api2"))) == ()


def test_a_definition_that_changed_is_a_change_and_a_size_is_none() -> None:
    old = release(part("web", "api"), part("api"))

    def changed(**change: object) -> Release:
        parts = (replace(p, service=replace(p.service, **change)) for p in old.parts)  # type: ignore[arg-type]  # fields
        return release(*parts)

    assert len(skews(old, changed(flags=(("A", "1"),)))) == 1
    assert skews(old, changed(size=9, tests=(model.Test(get="/"),))) == ()


def test_an_old_job_without_tests_is_not_tried() -> None:
    job = part("job", "api")
    job = replace(job, service=replace(job.service, http=None, schedule="* * * * *"))
    tested = replace(job, service=replace(job.service, tests=(model.Test(run=("x",)),)))
    new = release(replace(job, image=image("job2")), part("api", image_="api2"))
    assert not is_tried(job)
    assert skews(release(job, part("api")), new) == ()
    assert [(s.caller, s.callee) for s in skews(release(tested, part("api")), new)] == [("job", "api")]
