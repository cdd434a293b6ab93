"""The folder from which apt installs the packages of a head."""

from __future__ import annotations

import os
from pathlib import Path

from anew.build.packages import repository
from anew.build.store import ImageStore


def test_every_user_may_read_it_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert repository((), ImageStore(tmp_path / "images").blobs, "bookworm", tmp_path).endswith("/pool ./")
    finally:
        os.umask(before)
    pool = tmp_path / "pool"
    modes = {one.name: one.stat().st_mode & 0o777 for one in (pool, *pool.iterdir())}
    assert modes == {"pool": 0o755, "Packages": 0o644, "Release": 0o644}
