"""Environments, wishes, releases, generations and rollouts: what is committed, and what a commit refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_rows import LOCAL, Ticks, any_port, members, opened, release, sealed, seals

from anew import views
from anew.core.consequences import Change
from anew.core.steps import Begin, Enter
from anew.errors import Bug, Conflict, NotFound
from anew.model import Environment, Override, Rollout, Scope
from anew.shell.journal import Also, Journal, Observed, Stale


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def journal(tmp_path: Path, clock: Ticks) -> Iterator[Journal]:
    made = opened(tmp_path / "journal.db", clock)
    yield made
    assert not made.ledger.verify(LOCAL).wrong
    made.close()


def begun(journal: Journal, web: str) -> Rollout:
    generation = sealed(journal, web=web)
    journal.wish(LOCAL, generation.number, "rollout", None)
    return journal.begin(LOCAL, Begin("rollout", 0, generation.number, "it is wanted"))


def move(rollout: Rollout, phase: str, stage: int = 0, reason: str = "so it goes") -> Enter:
    return Enter(rollout.id, rollout.version, phase, stage, reason)  # type: ignore[arg-type]


# ---------------------------------------------------------------- environments and wishes


def test_an_environment_is_made_once_and_keeps_its_preview_port(journal: Journal) -> None:
    first, second = journal.open_environment("shop", "local"), journal.open_environment("shop", "staging")
    assert journal.open_environment("shop", "local") == first == journal.environment("shop", "local")
    assert first.preview_port != second.preview_port
    assert (first.wish, first.serving, first.settings) == (0, 0, Environment("local"))
    assert first.scope == Scope("shop", "local", journal.owner)
    assert [one.scope.environment for one in journal.environments()] == ["local", "staging"]
    assert journal.environment("shop", "nowhere") is None


def test_a_preview_port_is_one_that_is_free(journal: Journal) -> None:
    assert journal.open_environment("shop", "other", lambda port: port % 1000 == 7).preview_port % 1000 == 7


def test_settings_are_remembered_as_they_were(journal: Journal) -> None:
    settings = Environment("local", host="0.0.0.0", port=80, overrides=(Override("web", 4, (("A", "b"),)),))
    journal.save_settings(LOCAL, settings)
    journal.save_settings(LOCAL, settings)
    row = journal.environment("shop", "local")
    assert row is not None
    assert row.settings == settings
    assert [event.text for event in journal.ledger.events(LOCAL, 10)].count("shop/local has new settings") == 1


def test_a_wish_is_set_only_over_the_wish_that_was_seen(journal: Journal) -> None:
    one, two = sealed(journal, web="a").number, sealed(journal, web="b").number
    journal.wish(LOCAL, one, "rollout", expect=0)
    with pytest.raises(Stale) as caught:
        journal.wish(LOCAL, two, "rollout", expect=0)
    assert caught.value.code == "conflict"
    journal.wish(LOCAL, two, "rollback", expect=one)
    row = journal.environment("shop", "local")
    assert row is not None
    assert (row.wish, row.wish_kind) == (two, "rollback")
    with pytest.raises(NotFound):
        journal.wish(LOCAL, 99, "rollout", None)


def test_an_environment_that_was_never_used_is_not_found(journal: Journal) -> None:
    with pytest.raises(NotFound) as caught:
        journal.rollout(Scope("shop", "nowhere"))
    assert caught.value.hint == "anew up -e nowhere"


def test_a_scope_of_another_state_is_a_conflict(journal: Journal) -> None:
    with pytest.raises(Conflict):
        journal.rollout(Scope("shop", "local", "somebody else"))


# ---------------------------------------------------------------- releases


def test_a_release_has_one_name_for_its_digest(journal: Journal) -> None:
    first, second = journal.releases.add(release(web="a")), journal.releases.add(release(web="b"))
    assert (first.name, second.name, first.at) == ("r1", "r2", 1000.0)
    assert journal.releases.add(release(web="a")) == first
    assert journal.releases.named("shop", "r2") == second
    assert journal.releases.all("shop") == (second, first)
    assert journal.releases.all("other") == ()


@pytest.mark.parametrize("name", ["r7", "web", "", "r0", "r99999999999999999999999999"])
def test_an_unknown_release_names_those_that_are(journal: Journal, name: str) -> None:
    journal.releases.add(release(web="a"))
    with pytest.raises(NotFound) as caught:
        journal.releases.named("shop", name)
    assert caught.value.hint == "there are r1"


def test_a_verdict_is_remembered_under_its_key(journal: Journal) -> None:
    tested = views.Tested("web", "sha256:a", True, False, (("http GET /", ""),), 12.5)
    assert journal.releases.verdict("key") is None
    journal.releases.save_verdict("key", tested)
    journal.releases.save_verdict("key", tested)
    assert journal.releases.verdict("key") == tested


# ---------------------------------------------------------------- generations


def test_a_service_whose_seal_did_not_change_keeps_its_group(journal: Journal) -> None:
    one, two = sealed(journal, web="a", api="x"), sealed(journal, web="b", api="x")
    assert [member.group for member in one.members] == ["api-g1", "web-g1"]
    assert [member.group for member in two.members] == ["api-g1", "web-g2"]
    assert journal.generations.all(LOCAL) == {1: one, 2: two}
    groups = journal.instances.groups(LOCAL)
    assert sorted(groups) == ["api-g1", "web-g1", "web-g2"]
    assert groups["web-g2"].group.image.digest == "sha256:b"
    assert journal.instances.group_images(LOCAL)["web-g1"].digest == "sha256:a"


def test_sealing_the_same_again_gives_the_same_generation(journal: Journal) -> None:
    one = sealed(journal, web="a")
    assert sealed(journal, web="a") == one
    assert sealed(journal, web="a", again=True) == one
    bigger = sealed(journal, web="a", size=2)
    assert (bigger.number, bigger.members[0].group) == (2, "web-g1")


def test_what_was_rolled_back_is_sealed_anew_only_if_asked(journal: Journal) -> None:
    one = sealed(journal, web="a")
    journal.generations.change(LOCAL, [Change(1, outcome="rolled back", reason="it failed")])
    assert sealed(journal, web="a").number == one.number
    assert sealed(journal, web="a", again=True).number == 2


def test_a_group_that_is_disposed_of_is_never_mapped_to_again(journal: Journal) -> None:
    sealed(journal, web="a")
    sealed(journal, web="b")
    with pytest.raises(Stale):
        journal.instances.forget_group(LOCAL, "web-g1")
    journal.generations.change(LOCAL, [Change(1, is_retired=True)])
    journal.instances.forget_group(LOCAL, "web-g1")
    journal.instances.forget_group(LOCAL, "web-g1")
    assert list(journal.instances.groups(LOCAL)) == ["web-g2"]
    assert sealed(journal, web="a").members[0].group == "web-g3"


def test_what_serves_or_is_wanted_is_never_retired(journal: Journal) -> None:
    sealed(journal, web="a")
    journal.wish(LOCAL, 1, "rollout", None)
    with pytest.raises(Stale):
        journal.generations.change(LOCAL, [Change(1, is_retired=True)])
    with pytest.raises(NotFound):
        journal.generations.change(LOCAL, [Change(1, reason="x"), Change(7, reason="y")])
    assert journal.generations.all(LOCAL)[1].reason == ""


def test_two_environments_never_share_names_of_instances(journal: Journal) -> None:
    first = journal.releases.add(release(**{"eu-web": "a"}))
    journal.generations.seal(LOCAL, first, members(first), seals(first), any_port)
    journal.open_environment("shop", "local-eu")
    made = journal.releases.add(release(web="a"))
    with pytest.raises(Conflict) as caught:
        journal.generations.seal(Scope("shop", "local-eu"), made, members(made), seals(made), any_port)
    assert caught.value.where == "shop-local-eu-web-g1"
    assert journal.generations.all(Scope("shop", "local-eu")) == {}


def test_seals_that_do_not_go_with_the_release_are_refused(journal: Journal) -> None:
    made = journal.releases.add(release(web="a"))
    with pytest.raises(Bug):
        journal.generations.seal(LOCAL, made, members(made), seals(release(web="b")), any_port)
    with pytest.raises(Bug):
        journal.generations.seal(LOCAL, made, [], seals(made), any_port)


# ---------------------------------------------------------------- seals that failed


def test_a_seal_that_failed_is_named_with_its_reason(journal: Journal) -> None:
    sealed(journal, web="a")
    assert journal.generations.failure_of(LOCAL, seals(release(web="a"))) == ""
    journal.generations.change(LOCAL, [Change(1, outcome="rolled back", reason="it died")])
    says = journal.generations.failure_of(LOCAL, seals(release(web="a")))
    assert says == "g1 failed with the same seal of web: it died"
    assert journal.generations.failure_of(LOCAL, seals(release(web="b"))) == ""


def test_a_release_that_mends_one_of_two_services_is_not_held_to_the_failure_of_both(journal: Journal) -> None:
    sealed(journal, web="a", api="x")
    sealed(journal, web="b", api="y")
    journal.generations.change(LOCAL, [Change(2, outcome="rolled back", reason="api died")])
    assert journal.generations.failure_of(LOCAL, seals(release(web="b", api="z"))) == ""
    assert "api, web" in journal.generations.failure_of(LOCAL, seals(release(web="b", api="y")))
    assert journal.generations.failure_of(LOCAL, seals(release(web="a", api="x"))) == ""


def test_a_later_success_with_the_same_seal_lifts_a_failure(journal: Journal) -> None:
    sealed(journal, web="a")
    journal.generations.change(LOCAL, [Change(1, outcome="rolled back", reason="it died")])
    again = sealed(journal, web="a", again=True)
    journal.generations.change(LOCAL, [Change(again.number, outcome="promoted")])
    assert journal.generations.failure_of(LOCAL, seals(release(web="a"))) == ""


# ---------------------------------------------------------------- rollouts


def test_a_rollout_passes_through_its_phases(journal: Journal, clock: Ticks) -> None:
    rollout = begun(journal, web="a")
    assert (rollout.phase, rollout.since, rollout.begun, rollout.version) == ("prepare", 1000.0, 1000.0, 0)
    assert journal.rollout(LOCAL) == journal.last_rollout(LOCAL) == rollout
    clock.at = 1010.0
    rollout = journal.enter(LOCAL, move(rollout, "stage", 1), seen=Observed((("web-g1", 5, 1),)))
    assert rollout == journal.rollout(LOCAL)
    assert (rollout.stage, rollout.since, rollout.begun, rollout.version) == (1, 1010.0, 1000.0, 1)
    assert rollout.counts == (("web-g1", 5, 1),)
    also = Also(serving=1, changes=(Change(1, outcome="promoted", warm_until=0.0),))
    rollout = journal.enter(LOCAL, move(rollout, "warm"), also=also)
    row = journal.environment("shop", "local")
    assert row is not None
    assert (row.serving, journal.generations.all(LOCAL)[1].outcome) == (1, "promoted")
    ended = journal.enter(LOCAL, move(rollout, "done"))
    assert journal.rollout(LOCAL) is None
    assert journal.last_rollout(LOCAL) == ended
    with pytest.raises(Stale):
        journal.enter(LOCAL, move(ended, "warm"))
    assert sealed(journal, web="b").previous == 1


def test_a_rollout_begins_in_the_phase_that_the_step_says(journal: Journal) -> None:
    sealed(journal, web="a")
    journal.wish(LOCAL, 1, "rollback", None)
    assert journal.begin(LOCAL, Begin("rollback", 0, 1, "back", "full")).phase == "full"


def test_only_one_rollout_is_under_way(journal: Journal) -> None:
    rollout = begun(journal, web="a")
    with pytest.raises(Conflict, match="under way"):
        journal.begin(LOCAL, Begin("rollout", 0, 1, "once more"))
    journal.enter(LOCAL, move(rollout, "done"))
    assert journal.begin(LOCAL, Begin("rollout", 0, 1, "once more")).id > rollout.id


def test_a_rollout_to_what_is_not_wanted_any_more_does_not_begin(journal: Journal) -> None:
    sealed(journal, web="a")
    sealed(journal, web="b")
    journal.wish(LOCAL, 2, "rollout", None)
    with pytest.raises(Stale):
        journal.begin(LOCAL, Begin("rollout", 0, 1, "an older reading said so"))


def test_a_move_decided_on_an_older_version_is_stale_and_changes_nothing(journal: Journal) -> None:
    rollout = begun(journal, web="a")
    journal.enter(LOCAL, move(rollout, "preview"))
    before = journal.ledger.events(LOCAL, 100)
    with pytest.raises(Stale):
        journal.enter(LOCAL, move(rollout, "stage"), also=Also(serving=1))
    row, after = journal.environment("shop", "local"), journal.rollout(LOCAL)
    assert row is not None
    assert after is not None
    assert (row.serving, after.phase, journal.ledger.events(LOCAL, 100)) == (0, "preview", before)


def test_a_commit_of_which_one_part_fails_is_not_made_at_all(journal: Journal) -> None:
    rollout = begun(journal, web="a")
    with pytest.raises(NotFound):
        journal.enter(LOCAL, move(rollout, "full"), also=Also(serving=1, changes=(Change(9, reason="unknown"),)))
    assert journal.rollout(LOCAL) == rollout
    row = journal.environment("shop", "local")
    assert row is not None
    assert row.serving == 0


def test_an_automatic_rollback_sets_the_wish_back_unless_something_else_is_wanted_by_now(journal: Journal) -> None:
    sealed(journal, web="a")
    rollout = begun(journal, web="b")
    back = journal.enter(LOCAL, move(rollout, "rolling back"), also=Also(wish=1, wish_kind="rollback"))
    row = journal.environment("shop", "local")
    assert row is not None
    assert (row.wish, row.wish_kind) == (1, "rollback")
    sealed(journal, web="c")
    journal.wish(LOCAL, 3, "rollout", None)
    journal.enter(LOCAL, move(back, "rolled back"), also=Also(wish=1))
    row = journal.environment("shop", "local")
    assert row is not None
    assert row.wish == 3


def test_an_intention_moves_the_version_so_that_older_decisions_are_stale(journal: Journal) -> None:
    with pytest.raises(Conflict):
        journal.ask(LOCAL, "abort")
    rollout = begun(journal, web="a")
    asked = journal.ask(LOCAL, "promote")
    assert (asked.asked, asked.version) == ("promote", rollout.version + 1)
    assert journal.ask(LOCAL, "promote") == asked
    with pytest.raises(Stale):
        journal.enter(LOCAL, move(rollout, "stage"))
    assert journal.enter(LOCAL, move(asked, "stage")).asked == "promote"


def test_the_result_of_a_preview_test_belongs_to_its_rollout(journal: Journal) -> None:
    rollout = begun(journal, web="a")
    assert journal.tested(LOCAL, rollout.id, "passed").tested == "passed"
    assert journal.tested(LOCAL, rollout.id, "passed").version == rollout.version + 1
    with pytest.raises(Stale):
        journal.tested(LOCAL, rollout.id + 1, "passed")


def test_an_environment_that_is_vacated_wants_and_serves_nothing(journal: Journal) -> None:
    rollout = begun(journal, web="a")
    warm = Change(1, outcome="promoted", warm_until=9999.0)
    journal.enter(LOCAL, move(rollout, "warm"), also=Also(serving=1, changes=(warm,)))
    journal.vacate(LOCAL)
    told = journal.ledger.events(LOCAL, 100)
    journal.vacate(LOCAL)
    row = journal.environment("shop", "local")
    assert row is not None
    assert (row.wish, row.serving, journal.rollout(LOCAL)) == (0, 0, None)
    assert journal.generations.all(LOCAL)[1].warm_until == 0.0
    assert journal.ledger.events(LOCAL, 100) == told


def test_a_clock_that_steps_back_changes_no_order(journal: Journal, clock: Ticks) -> None:
    rollout = begun(journal, web="a")
    clock.at = 10.0
    rollout = journal.enter(LOCAL, move(rollout, "done"))
    later = journal.begin(LOCAL, Begin("rollout", 0, 1, "once more"))
    assert journal.last_rollout(LOCAL) == later
    assert journal.ledger.events(LOCAL, 1)[0].text == "begin the rollout to g1"
    assert journal.ledger.latest(LOCAL) == 1000.0
    sealed(journal, web="b")
    assert journal.releases.all("shop")[0].name == "r2"


# ---------------------------------------------------------------- transactions


def test_an_error_inside_a_transaction_leaves_nothing_of_it(journal: Journal) -> None:
    sealed(journal, web="a")
    before = journal.ledger.events(LOCAL, 100)

    def wish_and_fail() -> None:
        with journal.transaction():
            journal.wish(LOCAL, 1, "rollout", None)
            journal.wish(LOCAL, 99, "rollout", None)

    with pytest.raises(NotFound):
        wish_and_fail()
    assert journal.ledger.events(LOCAL, 100) == before


def test_a_reading_sees_one_state_while_others_commit(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "journal.db", Ticks())
    sealed(journal, web="a")
    with journal.reading():
        before = journal.environment("shop", "local")
        other.wish(LOCAL, 1, "rollout", None)
        assert journal.environment("shop", "local") == before
        with pytest.raises(Bug):
            journal.wish(LOCAL, 0, "rollout", None)
    after = journal.environment("shop", "local")
    assert after is not None
    assert after.wish == 1
    other.close()


def test_threads_share_one_journal(journal: Journal) -> None:
    def write(mark: str) -> None:
        for n in range(20):
            journal.ledger.attempted(journal.ledger.attempt(LOCAL, f"{mark} {n}"), "ok")

    threads = [threading.Thread(target=write, args=(mark,)) for mark in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    told = [event.text for event in journal.ledger.events(LOCAL, 1000) if event.kind == "effect"]
    assert sorted(told) == sorted(f"{mark} {n}" for mark in "abcd" for n in range(20))
