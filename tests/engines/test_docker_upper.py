"""What was changed in a container's files is read as an engine would tell it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from anew.engines.docker import upper

CHANGED, ADDED, REMOVED = 0, 1, 2


def said(top: Path, driver: str = "overlay2") -> dict[str, Any]:
    data = {"UpperDir": str(top / "upper"), "LowerDir": f"{top / 'high'}:{top / 'low'}"}
    return {"GraphDriver": {"Name": driver, "Data": data}}


def found(top: Path) -> dict[str, int]:
    changes = upper.changes(said(top))
    assert changes is not None
    return {str(one["Path"]): int(one["Kind"]) for one in changes}


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    for path in ("low/usr/lib", "high/usr/bin", "upper"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "low/usr/lib/one").write_text("1")
    (tmp_path / "low/usr/lib/two").write_text("2")
    (tmp_path / "high/usr/bin/three").write_text("3")
    return tmp_path


def test_an_empty_layer_differs_in_nothing(layers: Path) -> None:
    assert found(layers) == {}


def test_what_was_changed_and_added_is_told_with_its_folders(layers: Path) -> None:
    (layers / "upper/usr/lib").mkdir(parents=True)
    (layers / "upper/usr/lib/one").write_text("other")
    (layers / "upper/usr/lib/new").symlink_to("/nowhere")
    assert found(layers) == {"/usr": CHANGED, "/usr/lib": CHANGED, "/usr/lib/one": CHANGED, "/usr/lib/new": ADDED}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes whiteouts")
def test_what_was_removed_is_told_unless_it_was_never_seen(layers: Path) -> None:
    (layers / "upper/usr/lib").mkdir(parents=True)
    os.mknod(layers / "upper/usr/lib/two", 0o20000, os.makedev(0, 0))
    os.mknod(layers / "upper/usr/lib/never", 0o20000, os.makedev(0, 0))
    assert found(layers) == {"/usr": CHANGED, "/usr/lib": CHANGED, "/usr/lib/two": REMOVED}
    (layers / "high/usr/lib").mkdir()
    os.mknod(layers / "high/usr/lib/one", 0o20000, os.makedev(0, 0))
    (layers / "upper/usr/lib/one").write_text("again")  # an upper layer of the image had removed it
    assert found(layers)["/usr/lib/one"] == ADDED


def test_where_an_engine_keeps_files_otherwise_it_is_asked(layers: Path) -> None:
    assert upper.changes(said(layers, "btrfs")) is None
    assert upper.changes({}) is None
    assert upper.changes(said(layers / "not-there")) is None
