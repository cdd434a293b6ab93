"""What a collection removes from a container engine: what this state brought there, and nobody needs any more."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker_world import World, make_image, world

from anew.build.entries import Entry
from anew.core.digest import PREFIX, digest, short
from anew.engines.docker import doctor
from anew.engines.docker.client import Client
from anew.engines.docker.compute import Docker
from anew.engines.docker.copies import WHAT, DockerCopies
from anew.model import Image
from anew.testing.conformance_bench import SLEEPER, Bench

FOREIGN = "anew.internal/ours-by-no-means:latest"


@pytest.fixture(scope="module", params=["docker", "podman"])
def here(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def image(here: World) -> Image:
    return make_image(here.store)


@pytest.fixture
def bench(here: World, image: Image) -> Iterator[Bench]:
    made = here.bench(image)
    yield made
    here.clear(made)


def copies(here: World) -> DockerCopies:
    return DockerCopies(here.client, here.engine(), here.home)


def more(here: World, image: Image, name: str, size: int) -> Image:
    """Return an image with a layer more, which has so many bytes."""
    entry = Entry(path=name.encode(), kind="file", size=size, content=bytes(size))
    layers = (*image.layers, here.store.add_layer([entry]).digest)
    return Image(here.store.add_image(digest(name), layers, name, is_host=False), layers)


def ask(here: World, act: Any) -> Any:
    with here.client.asking("testing") as api:
        return act(api)


def test_only_what_this_state_brought_and_nobody_needs_goes(here: World, image: Image, bench: Bench) -> None:
    gone, kept, used = (more(here, image, one, 100_000) for one in ("gone", "kept", "used"))
    images, other = here.engine().images, here.engine("another state").images
    for one in (image, gone, kept, used):
        images.admit(one)
    other.admit(gone)
    ask(here, lambda api: api.tag(images.tag(gone.digest), *FOREIGN.split(":")))
    bench.client().launch(replace(bench.order("a", SLEEPER), image=used))
    other.admit(used)  # ours is in use, even if others have it too
    stay = {image.digest, kept.digest}
    try:
        before = set(images.admitted_here())
        for is_dry in (True, False):
            went, left = copies(here).reduce(stay, is_dry=is_dry)
            copied = [one for one in went if one.kind == "copy"]
            assert [(one.name, one.size) for one in copied] == [(gone.digest, 0)], "others have it too"
            assert any(f"{bench.mark}-a" in one.reason and short(used.digest) in one.what for one in left)
            if is_dry:
                assert set(images.admitted_here()) == before
        assert set(images.admitted_here()) == before - {gone.digest}
        assert other.has(gone.digest)
        assert ask(here, lambda api: api.inspect_image(FOREIGN))
        bench.end("a")
        other.remove(used.digest)
        ((last,), _) = copies(here).reduce(stay, is_dry=False)
        assert (last.name, last.size >= 100_000, last.size < 1_000_000) == (used.digest, True, True)
        assert copies(here).reduce(stay, is_dry=False)[0] == ()
        assert bench.output("b", "print(1)") == 1
    finally:
        for one in (gone, used):
            other.remove(one.digest)
        ask(here, lambda api: api.remove_image(FOREIGN))


def test_lists_of_accounts_go_with_their_image(here: World, image: Image) -> None:
    folder = here.home / "accounts"
    for name in (image.digest.removeprefix(PREFIX), "0" * 64, ".made-old", ".made-now"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "etc-passwd").write_text("root:x:0:0::/:/bin/sh\n")
    os.utime(folder / ".made-old", (time.time() - 86400,) * 2)
    ways = [copies(here).reduce({image.digest}, is_dry=is_dry)[0] for is_dry in (True, False, False)]
    went = [sorted(one.name for one in every if one.kind == "accounts") for every in ways]
    assert went == [[".made-old", "0" * 64], [".made-old", "0" * 64], []]
    assert sorted(one.name for one in folder.iterdir()) == [".made-now", image.digest.removeprefix(PREFIX)]


def test_an_engine_that_does_not_answer_is_a_reason_to_keep(tmp_path: Path, here: World) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    client = Client(path)
    engine = Docker(here.home, here.store.blobs, here.owner, client=client)
    went, kept = DockerCopies(client, engine, tmp_path).reduce((), is_dry=False)
    assert went == ()
    assert [one.what for one in kept] == [WHAT]
    assert "no container engine answers" in kept[0].reason
    (found,) = doctor.checks(client)
    assert (found.state, "no container engine answers" in found.detail, bool(found.hint)) == ("limited", True, True)


def test_doctor_says_what_the_engine_offers(here: World) -> None:
    (found,) = doctor.checks(here.client)
    assert str(here.client.socket) in found.detail
    lacks = doctor.unheld(here.client)
    assert [one for one in doctor.LIMITING if f"can't limit {one}" in found.detail] == list(lacks)


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_a_limit_that_an_engine_does_not_have_is_told(kind: str) -> None:
    client = Telling({"ServerVersion": "20.10", "MemoryLimit": False, "PidsLimit": True, "CgroupVersion": "1"}, kind)
    (found,) = doctor.checks(client)
    assert found.state == "limited"
    assert "can limit cpu, pids; can't limit memory" in found.detail
    assert doctor.MOUNT in found.hint
    assert list(doctor.unheld(client)) == ["memory"]


class Telling(Client):
    """A connection to an engine that says of itself what it is given."""

    def __init__(self, said: dict[str, Any], kind: str) -> None:
        super().__init__(Path("/run/engine.sock"))
        self._info = said
        self._is_podman = kind == "podman"

    def require_reach(self) -> None:
        """It is reached."""
