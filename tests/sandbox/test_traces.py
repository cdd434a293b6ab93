"""What was changed in a writable root, read from the upper folder of its overlay."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from anew.sandbox.traces import traces


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def file(path: Path, text: str = "", mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def told(upper: Path, *roots: Path, mounted: tuple[str, ...] = ()) -> dict[str, str]:
    return {one.path: one.what for one in traces(upper, roots, mounted)}


def test_what_was_created_changed_and_deleted_is_told(tmp_path: Path) -> None:
    need_root()
    lower, more, upper = tmp_path / "lower", tmp_path / "more", tmp_path / "upper"
    for name in ("same", "content", "mode", "owner", "gone", "was-file"):
        file(lower / "etc" / name, name)
    file(more / "etc" / "content", "of the layer above")
    (lower / "etc" / "link").symlink_to("a")
    (lower / "etc" / "kept").symlink_to("a")
    upper.mkdir()
    file(upper / "etc" / "same", "same")  # it was only opened
    file(upper / "etc" / "content", "content")  # as below, but not as the layer above
    file(upper / "etc" / "mode", "mode", 0o600)
    file(upper / "etc" / "owner", "owner")
    os.chown(upper / "etc" / "owner", 1, 1)
    whiteout(upper / "etc" / "gone")
    whiteout(upper / "etc" / "never")  # was made and removed again
    (upper / "etc" / "was-file").mkdir()
    (upper / "etc" / "link").symlink_to("b")
    (upper / "etc" / "kept").symlink_to("a")
    file(upper / "opt" / "new" / "file")
    assert told(upper, lower, more) == {
        "/etc/content": "changed",
        "/etc/gone": "deleted",
        "/etc/link": "changed",
        "/etc/mode": "changed",
        "/etc/owner": "changed",
        "/etc/was-file": "changed",
        "/opt": "created",
        "/opt/new": "created",
        "/opt/new/file": "created",
    }


def test_a_folder_that_was_made_anew_has_lost_what_was_in_it(tmp_path: Path) -> None:
    need_root()
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    file(lower / "srv" / "old")
    file(lower / "srv" / "both", "x")
    file(upper / "srv" / "both", "x")
    os.setxattr(upper / "srv", "user.overlay.opaque", b"y")
    assert told(upper, lower) == {"/srv/old": "deleted"}


def test_mount_points_are_no_changes(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "srv").mkdir(parents=True)
    (upper / "srv" / "new" / "app").mkdir(parents=True)
    file(upper / "srv" / "new" / "beside")
    assert told(upper, lower, mounted=("/srv/new/app",)) == {"/srv/new/beside": "created"}
    assert set(told(upper, lower)) == {"/srv/new", "/srv/new/app", "/srv/new/beside"}
