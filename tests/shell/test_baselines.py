"""What a rollout writes down of the groups that stand beside the new ones, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from journal_rows import LOCAL, any_port, image, opened

from anew.core.steps import Allot, Begin, Enter
from anew.model import Generation, Member, Need, Part, Policy, Release, Rollout, Seal, Service
from anew.shell.journal import Also, Journal

FRESH = Policy(stages=(100,), baseline="fresh")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path / "journal.db")
    yield made
    assert not made.ledger.verify(LOCAL).wrong
    made.close()


def sealed(journal: Journal, mark: str) -> Generation:
    """Seal a release of `web`, which calls `api`."""
    part = Part(Service("web", "base", ("run",)), image(mark))
    made = journal.releases.add(Release("shop", "", f"sha256:{mark}", (part,)))
    members = [Member("web", "", 1, FRESH, hosts=("web.test",))]
    seals = [Seal("web", part.image.digest, ("run",), health="/", needs=(Need("api"),))]
    return journal.generations.seal(LOCAL, made, members, seals, any_port)


def begun(journal: Journal, old: int, new: int) -> Rollout:
    journal.wish(LOCAL, new, "rollout", None)
    return journal.begin(LOCAL, Begin("rollout", old, new, "it is wanted"), any_port)


def ended(journal: Journal, rollout: Rollout, phase: str, serving: int) -> None:
    enter = Enter(rollout.id, rollout.version, phase, 0, "so it goes")  # type: ignore[arg-type]
    journal.enter(LOCAL, enter, also=Also(serving=serving))


@pytest.fixture
def moving(journal: Journal) -> Rollout:
    """Return the rollout from g1 to g2."""
    sealed(journal, "a")
    ended(journal, begun(journal, 0, 1), "done", 1)
    sealed(journal, "b")
    return begun(journal, 1, 2)


@pytest.mark.usefixtures("moving")
def test_a_baseline_is_written_down_when_the_rollout_begins(journal: Journal) -> None:
    groups = journal.instances.groups(LOCAL)
    assert sorted(groups) == ["web-g1", "web-g1b2", "web-g2"]
    one, original = groups["web-g1b2"].group, groups["web-g1"].group
    assert (one.seal, one.digest, one.image) == (original.seal, original.digest, original.image)
    assert len({group.group.doors[0].port for group in groups.values()}) == 3


def test_no_generation_is_mapped_to_a_baseline(journal: Journal, moving: Rollout) -> None:
    ended(journal, moving, "done", 2)
    part = Part(Service("web", "base", ("other",)), image("a"))
    made = journal.releases.add(Release("shop", "", "sha256:c", (part,)))
    seals = [Seal("web", part.image.digest, ("run",), health="/", needs=(Need("api"),))]
    third = journal.generations.seal(LOCAL, made, [Member("web", "", 1, FRESH)], seals, any_port)
    assert [member.group for member in third.members] == ["web-g1"]


def test_a_baseline_that_was_disposed_of_stands_again_and_its_ordinals_go_on(journal: Journal, moving: Rollout) -> None:
    allotted = journal.instances.allot(LOCAL, Allot("web-g1b2", 0), any_port)
    journal.instances.retire(allotted.name, "exit code 1", is_death=True)
    ended(journal, moving, "rolled back", 1)
    journal.instances.forget_group(LOCAL, "web-g1b2")
    assert sorted(journal.instances.groups(LOCAL)) == ["web-g1", "web-g2"]
    journal.wish(LOCAL, 1, "rollout", None)
    begun(journal, 1, 2)
    again = journal.instances.groups(LOCAL)["web-g1b2"]
    assert (again.next_ordinal, again.deaths) == (1, ())
    ports = {door.port for group in journal.instances.groups(LOCAL).values() for door in group.group.doors}
    assert len(ports) == 3
    assert journal.ports.lend(lambda port: port in ports or port == max(ports) + 1) == max(ports) + 1


def test_a_rollback_by_hand_has_no_baseline(journal: Journal, moving: Rollout) -> None:
    ended(journal, moving, "done", 2)
    journal.wish(LOCAL, 1, "rollback", None)
    journal.begin(LOCAL, replace(Begin("rollback", 2, 1, "back"), phase="full"), any_port)
    assert "web-g2b1" not in journal.instances.groups(LOCAL)
