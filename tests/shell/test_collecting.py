"""Collections: what is needed stays, whole; all else goes; and nothing that happens at the same time is hurt."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from collecting_state import DAY, LATER, Shelf, State, blobs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anew import views
from anew.build.evidence import Evidence
from anew.core.collection import Holding, Use, choose, held, outlived, running
from anew.engines.embedded.records import ENDED
from anew.errors import Conflict, NotFound
from anew.model import (
    Generation,
    Group,
    Identity,
    Image,
    Member,
    Policy,
    Remains,
    Rollout,
    Scope,
    Seal,
    Stock,
    StoredImage,
)
from anew.shell.collecting import admit
from anew.views import Collected

SCOPE = Scope("shop", "local")
MEMORY = Path("/dev/shm")
NOTHING = Image(Identity("", "", (), "", ""), ())


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path / "home")
    yield made
    made.journal.close()


def why(found: Collected, name: str) -> str:
    return next(one.reason for one in found.kept if name in one.what)


def inodes(*folders: Path) -> dict[int, int]:
    """Return what takes room, by inode: the bytes of each file and folder."""
    out = {}
    for folder in folders:
        for top, names, files in os.walk(folder):
            for name in (*names, *files):
                at = Path(top, name).lstat()
                if name not in {"index.json", "drafts"}:  # the one is written anew, the other is where it is done
                    out[at.st_ino] = at.st_blocks * 512
    return out


def listing(folder: Path) -> dict[str, tuple[int, float]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime)
        for path in folder.rglob("*")
        if "state.db" not in path.name
    }


# ------------------------------------------------------------ what stays


def test_what_nobody_needs_goes_and_everything_kept_has_its_reason(state: State) -> None:
    for n in range(1, 5):
        release = state.release("shop", {"web": state.image("shop", "web", [f"app {n}"], head="base")})
        state.up(release, "production", keep=2)
    unreleased = state.image("shop", "web", ["app of nobody"], head="other")
    built = state.image("shop", "web", ["app 5"], head="base")
    state.release("shop", {"web": built})
    found = state.collect()
    named = {image.digest: name for image, name in ((unreleased, "nobody"), (built, "five"))}
    assert sum(line.startswith("image ") for line in found.removed) == 3
    assert "head other" in found.removed
    reasons = sorted(one.reason for one in found.kept if one.what.startswith("image "))
    assert reasons == [
        "g3 is kept as a way back of shop/production (keep: 2)",
        "g4 serves shop/production",
        "r5 is the newest release of shop",
    ]
    assert why(found, "head base").startswith("the head of shop-web-")
    assert set(state.store.blobs.images()) & named.keys() == {built.digest}
    assert state.collect().removed == ()
    assert state.collect().freed == 0


def test_an_engines_copies_go_with_their_images_and_if_these_went_long_ago(state: State, tmp_path: Path) -> None:
    images = [state.image("shop", "web", [f"app {n}"], head="base") for n in range(4)]
    for image in images:
        state.up(state.release("shop", {"web": image}), "production", keep=2)
    shelf = Shelf(tmp_path / "shelf")
    shelf.bring(*images)
    shelf.answers = False
    found = state.collect(copies=[shelf])
    assert (why(found, "throwaway"), why(found, "on the shelf")) == ("nobody answers", "nobody answers")
    assert len(state.store.blobs.images()) == 2, "all else is collected all the same"
    shelf.answers = True
    for is_dry, left in ((True, 4), (False, 2)):
        found = state.collect(copies=[shelf], is_dry=is_dry)
        assert found.removed == (
            "throwaway instance shop-production-web-run-1",
            "2 images in the container engine: 2.0 kB",
        )
        assert (found.freed, len(shelf.has())) == (2000, left)
    assert shelf.has() == {image.digest for image in images[2:]}


def test_what_was_used_lately_stays_for_somebody_may_be_building(state: State) -> None:
    image = state.image("shop", "web", ["app"])
    assert state.collect(by=3500).removed == ()
    assert why(state.collect(by=3500), "image shop-web") == "used less than an hour ago: somebody may be building"
    os.utime(state.store.blobs.path(image.digest), (0, 0))
    state.store.blobs.verify(image.digest)
    os.utime(state.store.blobs.mark(image.digest), (0, 0))
    assert state.collect(by=3500, is_dry=True).removed != ()
    assert state.store.record(image.identity.input) == image
    assert state.collect(by=3500).removed == (), "recognising an image is using it"
    assert not state.store.has("sha256:" + "0" * 64)
    found = state.collect(by=3700)
    assert [line for line in found.removed if line.startswith("image")] != []
    assert state.store.checkpoint(next(iter(checkpoints(state)))) is not None, "a build may still begin with its layers"
    assert state.collect(by=LATER).removed != ()
    assert blobs(state.home) == set()
    assert checkpoints(state) == []


def test_every_reason_is_said_in_words() -> None:
    def generation(number: int, **changes: Any) -> Generation:
        member = Member("web", f"web-g{number}", 1, Policy())
        return replace(Generation(number, "r1", "", (member,), outcome="promoted"), **changes)

    ones = {
        1: generation(1, is_retired=True),
        2: generation(2, outcome="rolled back"),
        3: generation(3),
        4: generation(4, warm_until=10.0),
        5: generation(5),
        6: generation(6, outcome=""),
        7: generation(7, outcome=""),
    }
    names = [f"web-g{n}" for n in ones]
    going = Rollout(1, "rollout", 5, 6, "stage", 0.0)
    known = replace(holding(*names, "web-g8"), generations=ones, serving=5, wish=7, rollout=going)
    assert [use.why for use in held(known, 5.0)] == [
        "g2 is not retired yet in shop/local",
        "g3 is kept as a way back of shop/local (keep: 5)",
        "g4 is warm in shop/local",
        "g5 serves shop/local",
        "g6 takes part in the rollout under way in shop/local",
        "g7 is wanted in shop/local",
        "web-g1 of shop/local is not disposed of yet",
        "web-g8 of shop/local is not disposed of yet",
    ]
    (one, two) = running({"a": "sha256:1", "b": "sha256:1", "c": "sha256:2"}, {})
    assert (one.why, two.why) == ("a and 1 more run from it", "c runs from it")


def checkpoints(state: State) -> list[str]:
    return [f"sha256:{path.stem}" for path in (state.store.root / "checkpoints").iterdir()]


def test_the_image_of_a_living_instance_stays(state: State) -> None:
    image = state.image("shop", "web", ["app"])
    name = "shop-gate-web-0"
    place = state.ended(Scope("shop", "gate"), "web-gate", 0, ago=0).rename(state.instances / name)
    record = json.loads((place / "record.json").read_text())
    (place / "record.json").write_text(json.dumps(record | {"name": name, "image": image.digest}))
    (place / "status.json").write_text('{"child-pid": 1}\n')
    locks = [os.open(place / file, os.O_RDWR | os.O_CREAT) for file in ("alive", "status.json")]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert why(state.collect(), "image shop-web") == f"{name} runs from it"
    state.check(image)
    for lock in locks:
        os.close(lock)
    state.collect()
    assert blobs(state.home) == set()


def test_an_image_whose_parts_can_not_be_told_stops_everything() -> None:
    damaged = StoredImage("sha256:a", "shop-web-1", "", (), 0.0)
    with pytest.raises(Conflict, match="can't be told"):
        choose(Stock((damaged,), blobs={"sha256:b": 0.0}), [Use("sha256:a", (), "web-1 runs from it")], 1e9)
    kept = choose(Stock((damaged,)), [Use("sha256:a", ("sha256:a", "sha256:c", "sha256:b"), "g1 serves")], 1e9)
    assert kept.selection.blobs == {"sha256:a", "sha256:b", "sha256:c"}


def test_a_release_whose_image_was_collected_says_how_to_get_it_before_anything_is_sealed(state: State) -> None:
    first = state.release("shop", {"web": state.image("shop", "web", ["app 1"])})
    second = state.release("shop", {"web": state.image("shop", "web", ["app 2"])})
    state.up(second, "local")
    state.collect()
    with pytest.raises(NotFound) as caught:
        state.up(first, "local")
    assert caught.value.what == "the image of web in r1 is not there any more: it was collected"
    assert "check out what r1 was made from and run `anew up`" in caught.value.hint
    assert len(state.journal.generations.all(SCOPE)) == 1
    state.image("shop", "web", ["app 1"])
    assert state.up(first, "local").release == "r1", "the same files make it again"


def test_a_layer_that_was_lost_is_not_called_collected(state: State) -> None:
    image = state.image("shop", "web", ["app 1"])
    release = state.release("shop", {"web": image})
    state.store.blobs.path(image.layers[0]).unlink()
    with pytest.raises(NotFound, match="is missing"):
        admit(state.store, release)


# ------------------------------------------------------------ random histories

CONTENTS = st.lists(st.sampled_from("abcdef"), min_size=0, max_size=3)
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["up", "up", "fail", "release", "build", "collect"]),
        st.sampled_from(["shop", "blog"]),
        st.sampled_from(["local", "production"]),
        st.integers(1, 3),
        CONTENTS,
        CONTENTS,
        st.sampled_from(["", "base", "slim"]),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts=ACTS)
def test_after_any_history_what_is_needed_is_whole_and_nothing_else_is_there(
    acts: list[tuple[str, str, str, int, list[str], list[str], str]],
) -> None:
    # In memory where there is such a folder: what is written is written durably, and a disk takes its time.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        state = State(Path(folder) / "home")
        with contextlib.closing(state.journal):
            for act, project, environment, keep, web, api, head in acts:
                if act == "collect":
                    state.collect()
                    continue
                images = {"web": state.image(project, "web", web, head=head), "api": state.image(project, "api", api)}
                if act == "build":
                    continue
                release = state.release(project, images)
                if act != "release":
                    state.up(release, environment, keep=keep, outcome="promoted" if act == "up" else "rolled back")
            hold_up(state)


def hold_up(state: State) -> None:
    """Collect, and check all that a collection promises."""
    folders = (state.home / "images", state.instances)
    before, files = inodes(*folders), listing(state.home)
    dry = state.collect(is_dry=True)
    assert listing(state.home) == files
    found = state.collect()
    assert (found.removed, found.freed, found.kept) == (dry.removed, dry.freed, dry.kept)
    after = inodes(*folders)
    assert found.freed == sum(size for inode, size in before.items() if inode not in after)
    needed = state.needed()
    parts = {one for image in needed.values() for one in (image.digest, image.identity.config, *image.layers)}
    layers = {layer for image in needed.values() for layer in image.layers}
    root = state.store.root
    assert blobs(state.home) == parts
    assert names_in(root / "trees") == {state.store.folder(one).name for one in layers}
    assert names_in(root / "listings") == {one[7:] for one in layers}
    assert names_in(root / "verified") == {one[7:] for one in parts}
    assert len(names_in(root / "records")) >= len(needed)
    assert names_in(root / "heads") <= {one[7:] for one in layers}
    assert set(state.store.blobs.images()) == set(needed)
    assert sum(one.what.startswith("image ") for one in found.kept) == len(needed)
    for image in needed.values():
        state.check(image)
    again = state.collect()
    assert (again.removed, again.freed) == ((), 0)


def names_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()} if folder.exists() else set()


# ------------------------------------------------------------ at the same time, killed, damaged


def lived_in(home: Path) -> State:
    state = State(home)
    for n in range(1, 7):
        release = state.release("shop", {"web": state.image("shop", "web", [f"low {n // 2}", f"app {n}"], head="base")})
        state.up(release, "local", keep=2)
    return state


def run(task: str, home: Path, argument: object) -> subprocess.Popen[str]:
    program = str(Path(__file__).with_name("collecting_state.py"))
    argv = [sys.executable, "-W", "error", program, task, str(home), str(argument)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_a_collection_that_is_killed_before_any_effect_breaks_nothing_and_the_next_one_ends_it(tmp_path: Path) -> None:
    lived_in(tmp_path / "origin").journal.close()
    after, kills = set[str](), 0
    for effect in range(0, 1000, 3):
        home = tmp_path / f"home{effect}"
        shutil.copytree(tmp_path / "origin", home, symlinks=True)
        one = run("die", home, effect)
        one.communicate(timeout=60)
        state = State(home)
        for image in state.needed().values():
            state.check(image)
        state.collect()
        found = {str(path.relative_to(home)) for path in (home / "images").rglob("*") if path.name != "use.lock"}
        for image in state.needed().values():
            state.check(image)
        state.journal.close()
        assert found == (after or found)
        after = found
        shutil.rmtree(home)
        if one.returncode == 0:
            break
        assert one.returncode == -signal.SIGKILL
        kills += 1
    assert kills > 10


def test_builders_and_collections_at_once_never_lose_what_was_released(tmp_path: Path) -> None:
    home = tmp_path / "home"
    state = State(home)
    state.journal.open_environment("shop", "local")
    ones = [run("collect", home, 8) for _ in range(2)] + [run("build", home, 8) for _ in range(3)]
    answers = [json.loads(one.communicate(timeout=120)[0]) for one in ones]
    assert [one.returncode for one in ones] == [0] * 5
    assert sum(answers[:2]) > 0, "the collections removed something meanwhile"
    assert sum(count for count, _ in answers[2:]) > 10
    for image in state.needed().values():
        state.check(image)
    state.journal.close()


def test_a_damaged_index_stops_a_collection_before_it_removes_anything(state: State) -> None:
    state.image("shop", "web", ["app"])
    (state.store.root / "index.json").write_text("{")
    before = listing(state.home)
    with pytest.raises(Conflict, match="index of the image store is damaged") as caught:
        state.collect()
    assert "index.json.damaged" in caught.value.hint
    assert {k for k in listing(state.home) if "drafts" not in k} == {k for k in before if "drafts" not in k}


def test_what_is_said_of_a_kept_image_stays_also_if_the_index_was_lost(state: State) -> None:
    kept, gone = state.image("shop", "web", ["app 1"]), state.image("shop", "web", ["app 2"])
    state.up(state.release("shop", {"web": kept}), "local")
    evidence = Evidence(state.store)
    stays, goes = (evidence.add(one.digest, "https://slsa.dev", one.digest.encode()) for one in (kept, gone))
    (state.store.root / "index.json").unlink()
    state.collect()
    assert (evidence.filed(kept.digest), evidence.read(stays)) == ((stays,), kept.digest.encode())
    assert evidence.filed(gone.digest) == ()
    assert not state.store.blobs.path(goes.digest).exists()
    state.check(kept)


def test_damaged_notes_and_manifests_go_and_what_is_needed_stays(state: State) -> None:
    kept, gone = state.image("shop", "web", ["app 1"]), state.image("shop", "web", ["app 2"])
    state.up(state.release("shop", {"web": kept}), "local")
    for kind in ("records", "checkpoints", "listings", "verified"):
        for path in (state.store.root / kind).iterdir():
            path.write_bytes(b"\xff")
    for image in (kept, gone):
        state.store.blobs.path(image.digest).write_bytes(b"{")
    found = state.collect()
    assert why(found, "image shop-web") == "g1 serves shop/local; r1 is the newest release of shop"
    assert blobs(state.home) == {kept.digest, kept.identity.config, *kept.layers}
    assert state.collect().removed == ()


def test_a_collection_waits_for_who_uses_the_store(state: State) -> None:
    state.image("shop", "web", ["app"])
    before = blobs(state.home)
    with state.store.blobs.shared():
        begun = time.monotonic()
        held = run("collect", state.home, 0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            held.wait(1.0)
        assert blobs(state.home) == before
    assert held.communicate(timeout=60)[0]
    assert (held.returncode, time.monotonic() - begun < 60) == (0, True)


# ------------------------------------------------------------ records, logs, the journal


def test_the_newest_logs_stay_and_a_dry_run_touches_nothing(state: State) -> None:
    release = state.release("shop", {"web": state.image("shop", "web", ["app"])})
    state.up(release, "local")
    for n in range(8):
        state.ended(SCOPE, "web-g1", n, ago=100 - n)
        state.ended(SCOPE, "web-gone", n, ago=40 * DAY - n)
    state.ended(Scope("shop", "other"), "api-g1", 0, ago=40 * DAY)
    stranger = state.ended(SCOPE, "cache-g1", 0, ago=400 * DAY, owner="another state")
    before = listing(state.instances)
    dry = state.collect(is_dry=True)
    assert listing(state.instances) == before
    found = state.collect()
    assert found == Collected(dry.removed, dry.freed, dry.kept)
    left = sorted(path.name for path in (state.instances / ENDED).iterdir())
    assert left == [
        *(["shop-local-cache-g1-0"]),
        *(f"shop-local-web-g1-{n}" for n in range(3, 8)),
        "shop-other-api-g1-0",
    ]
    assert stranger.is_dir()
    assert "11 logs of ended instances, with their records" in " ".join(found.removed)


def remains(count: int, group: str, *, ago: float, environment: str = "local") -> list[Remains]:
    scope = Scope("shop", environment)
    return [Remains(f"{environment}-{group}-{n}", scope, group, -ago + n, -ago + n) for n in range(count)]


def holding(*groups: str, disposed: tuple[str, ...] = ()) -> Holding:
    known = {name: Group(name, name.partition("-")[0], "", Seal("", "", ()), NOTHING) for name in groups}
    return Holding(SCOPE, 5, 0, 0, None, {}, known, frozenset(disposed))


def test_logs_of_a_group_that_was_disposed_of_stay_for_a_month_and_the_last_of_a_service_for_good() -> None:
    old, new = remains(7, "web-g1", ago=31 * DAY), remains(2, "web-g2", ago=DAY)
    lately = remains(7, "api-g1", ago=29 * DAY)
    known = holding("web-g1", "web-g2", "api-g1", disposed=("web-g1", "api-g1"))
    found = outlived([*old, *new, *lately], [known], 0.0)
    assert found == ("local-api-g1-0", "local-api-g1-1", *(f"local-web-g1-{n}" for n in range(4)))
    live = holding("web-g1", "web-g2", "api-g1")
    assert outlived(old, [live], 0.0) == ("local-web-g1-0", "local-web-g1-1")
    assert outlived(old, [], 0.0) == ("local-web-g1-0", "local-web-g1-1"), "the last five of a service stay for good"
    assert outlived([], [known], 0.0) == ()


def test_verdicts_of_images_that_are_gone_and_old_attempts_go_and_the_ledger_stays(state: State) -> None:
    kept, gone = state.image("shop", "web", ["app 1"]), state.image("shop", "web", ["app 2"])
    state.up(state.release("shop", {"web": kept}), "local")
    for image in (kept, gone):
        tested = views.Tested("web", image.digest, is_passed=True, is_reused=False, results=(), at=0.0)
        state.journal.releases.save_verdict(f"key of {image.digest}", tested)
    state.clock.by = -31 * DAY
    old = state.journal.ledger.attempt(SCOPE, "launch a")
    state.journal.ledger.attempted(old, "ok")
    state.clock.by = 0.0
    young = state.journal.ledger.attempt(SCOPE, "launch b")
    events = state.journal.ledger.events(SCOPE, 99)
    dry, found = state.collect(is_dry=True), state.collect()
    assert dry.removed == found.removed
    assert {"1 verdict about an image that is gone", "1 attempt at an effect, more than 30 days ago"} <= set(
        found.removed
    )
    assert state.journal.releases.verdict(f"key of {kept.digest}") is not None
    assert state.journal.releases.verdict(f"key of {gone.digest}") is None
    assert state.journal.ledger.events(SCOPE, 99) == events
    state.journal.ledger.attempted(young, "ok")
    with pytest.raises(NotFound):
        state.journal.ledger.attempted(old, "ok")
    assert state.collect().removed == ()
    assert state.journal.ledger.verify(SCOPE).wrong == ""


def test_what_killed_builds_left_is_counted_and_removed(state: State) -> None:
    state.image("shop", "web", ["app"])
    left = state.home / "work" / "999999999-5-left"
    left.mkdir(parents=True)
    (left / "upper").write_bytes(b"x" * 100_000)
    mine = state.home / "work" / "somebody else's"
    mine.mkdir()
    assert state.collect(by=0, is_dry=True).freed == state.collect(by=0).freed > 100_000
    assert (left.exists(), mine.exists()) == (False, True)
