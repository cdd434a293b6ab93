"""A release with an old head is told, or not brought where its environment takes no such head."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from anew.__main__ import _parts
from anew.build import lock
from anew.build.builder import Builder
from anew.build.definition import Definition, HeadRecord
from anew.build.entries import Entry
from anew.build.store import ImageStore
from anew.core.spec.parse import parse
from anew.errors import GateClosed
from anew.model import Environment, Identity, Image, OsAge, Part, Release, Service
from anew.shell import ageing
from anew.shell.app import App
from anew.shell.clock import SystemClock
from anew.shell.journal import Journal

DAY = 86400.0
NOW = time.time()
SERVICE = Service("web", "base", ("/x",))


def ago(days: float) -> str:
    return datetime.fromtimestamp(NOW - days * DAY, UTC).strftime(lock.TIME)


class Shop:
    """A project with one head, as if its packages had been resolved."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.store = ImageStore(folder / "images")
        self.builder = Builder(folder, self.store, folder)

    def layer(self, content: bytes = b"x") -> str:
        return self.store.add_layer([Entry(b"a", "file", size=len(content), content=content)]).digest

    def locked(self, layer: str, days: float) -> None:
        lock.with_head(self.root, "base", lock.LockedHead("sha256:r", layer, "sha256:t", (), ago(days)))

    def image(self, layer: str, kind: str = "debian", resolved: str = "") -> Image:
        record = HeadRecord(kind, "base", layer=layer, resolved=resolved)
        definition = Definition(1, "shop", "web", record, (), ())
        return Image(
            Identity("", "", (), "", "sha256:m"), (layer,), inputs=(self.store.blobs.add_bytes(definition.text()),)
        )

    def age(self, image: Image, made_days: float = 0.0) -> list[tuple[float, bool]]:
        parts = [Part(SERVICE, image)]
        found = ageing.of_parts(self.builder, parts, NOW - made_days * DAY if made_days else 0.0, NOW)
        return [(round(one.age / DAY, 1), one.is_at_least) for one in found]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_the_lock_tells_the_age_of_a_head_that_was_found_to_be_the_newest_again(shop: Shop) -> None:
    layer = shop.layer()
    image = shop.image(layer, resolved=ago(41))
    assert shop.age(image) == [(41.0, False)]
    shop.locked(layer, 2)
    assert shop.age(image) == [(2.0, False)]


def test_an_old_release_is_judged_by_its_own_head_and_not_by_the_lock(shop: Shop) -> None:
    image = shop.image(shop.layer(b"old"), resolved=ago(41))
    shop.locked(shop.layer(b"new"), 1)
    assert shop.age(image) == [(41.0, False)]


def test_an_image_that_recorded_no_time_is_as_old_as_its_release_at_least(shop: Shop) -> None:
    image = shop.image(shop.layer())
    assert shop.age(image, made_days=50) == [(50.0, True)]
    assert shop.age(replace(image, inputs=()), made_days=50) == []
    shop.store.blobs.path(image.inputs[0]).unlink()
    assert shop.age(image, made_days=50) == []


def test_archives_and_the_machines_own_root_have_no_age(shop: Shop) -> None:
    for kind in ("tar", "host"):
        assert shop.age(shop.image(shop.layer(), kind), made_days=50) == []


def test_an_image_that_is_not_built_yet_has_the_age_of_its_locked_head(shop: Shop) -> None:
    unbuilt = Image(Identity("", "", (), "", ""), ())
    assert shop.age(unbuilt) == []
    shop.locked(shop.layer(), 3)
    assert shop.age(unbuilt) == [(3.0, False)]


def test_an_old_head_is_told_or_refused_as_the_environment_says(shop: Shop) -> None:
    image = shop.image(shop.layer(), resolved=ago(41))
    release = Release("shop", "r7", "sha256:r", (Part(SERVICE, image),), NOW)
    heads = ageing.of_parts(shop.builder, release.parts, release.at, NOW)
    said: list[str] = []

    def judge(bound: OsAge, *, is_there: bool = False) -> list[str]:
        said.clear()
        environment = Environment("production", max_os_age=bound)
        ageing.require_young(release, heads, environment, said.append, is_there=is_there)
        assert (
            ageing.notes(heads, environment) == tuple(line.removeprefix("r7: ").partition(";")[0] for line in said)
            or is_there
        )
        return said

    assert judge(OsAge()) == []
    assert judge(OsAge(50 * DAY)) == []
    assert judge(OsAge(30 * DAY)) == [
        "r7: the head base (web) is 41 days old, more than 30 days; `anew lock --update base` moves it"
    ]
    with pytest.raises(
        GateClosed, match=r"r7 is not brought to production: the head base \(web\) is 41 days"
    ) as caught:
        judge(OsAge(30 * DAY, 40 * DAY))
    assert caught.value.hint.startswith("`anew lock --update base`, then `anew up -e production`")
    assert len(judge(OsAge(30 * DAY, 40 * DAY), is_there=True)) == 1


def test_outdated_names_the_environments_for_which_a_head_is_too_old(shop: Shop) -> None:
    text = """
project: shop
os: {base: {debian: bookworm}}
services: {web: {os: base, command: [/x]}}
max_os_age: 30d
environments: {local: {}, production: {max_os_age: {warn: 20d, refuse: 40d}}, other: {max_os_age: 90d}}
"""
    spec = parse(text)
    heads = shop.builder._heads
    lock.with_head(
        shop.root, "base", lock.LockedHead(heads.recipe(spec.heads[0]), shop.layer(), "sha256:t", (), ago(41))
    )
    views = shop.builder.lock(spec, ["base"], lambda _: None, update=False)
    (one,) = ageing.overdue(views, spec)
    assert one.overdue == ("local warns of what is older than 30 days", "production takes none older than 40 days")


def test_up_refuses_an_old_head_before_anything_is_sealed(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    root.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "anew.yaml").write_text(
        "project: shop\nos: {base: {debian: bookworm}}\nservices: {web: {os: base, command: [/x]}}\n"
        f"environments: {{local: {{listen: '127.0.0.1:{port}', max_os_age: {{warn: 10d, refuse: 30d}}}}}}\n"
    )
    journal = Journal(home / "state.db", SystemClock())
    shop = Shop(root)
    shop.store = ImageStore(home / "images")
    image = shop.image(shop.layer(), resolved=ago(41))
    journal.releases.add(Release("shop", "", "sha256:r", (Part(SERVICE, image),)))
    app = App(home, root, SystemClock(), journal, _parts(home, root, journal))
    said: list[str] = []
    with pytest.raises(GateClosed, match=r"r1 is not brought to local: the head base \(web\) is 41 days old"):
        app.up("local", "r1", said.append)
    row = journal.environment("shop", "local")
    assert row is not None
    assert (row.wish, dict(journal.generations.all(row.scope))) == (0, {})
    journal.close()
