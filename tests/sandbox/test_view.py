"""What a stack of layers shows is what overlayfs shows."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from anew.sandbox import view


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, ...]:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for folder in ("a/deep", "gone", "opaque", "turned"):
        (lower / folder).mkdir(parents=True)
        (lower / folder / "file").write_text("lower")
    (lower / "link").symlink_to("/a/deep")
    (lower / "round").symlink_to("round")
    (upper / "a").mkdir(parents=True)
    (upper / "a" / "more").write_text("upper")
    (upper / "opaque").mkdir()
    os.setxattr(upper / "opaque", view.OPAQUE, b"y")
    (upper / "turned").write_text("now a file")
    whiteout(upper / "gone")
    return lower, upper


def kind(layers: tuple[Path, ...], path: str) -> str | None:
    found = view.entry(layers, path)
    return found.kind if found else None


def test_folders_are_merged(layers: tuple[Path, ...]) -> None:
    found = view.entry(layers, "/a")
    assert found == view.Entry("folder", (layers[0] / "a", layers[1] / "a"))
    assert view.names(found.places) == ("deep", "more")


def test_a_whiteout_takes_away(layers: tuple[Path, ...]) -> None:
    assert kind(layers, "/gone") is None
    assert kind(layers, "/gone/file") is None
    assert "gone" not in view.names(layers)


def test_an_opaque_folder_hides_what_is_below(layers: tuple[Path, ...]) -> None:
    assert kind(layers, "/opaque") == "folder"
    assert kind(layers, "/opaque/file") is None


def test_a_file_replaces_a_folder(layers: tuple[Path, ...]) -> None:
    assert kind(layers, "/turned") == "file"
    assert kind(layers, "/turned/file") is None


def test_links_are_followed_within_the_layers(layers: tuple[Path, ...]) -> None:
    assert view.resolve(layers, "/link/file") == "/a/deep/file"
    assert view.resolve(layers, "/link/../new/x") == "/a/new/x"


def test_a_circle_of_links_is_an_error(layers: tuple[Path, ...]) -> None:
    with pytest.raises(OSError, match="too many levels"):
        view.resolve(layers, "/round/x")
