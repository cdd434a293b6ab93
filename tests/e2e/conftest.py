import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anew.testing.rig import Rig, rig
from anew.testing.rig import free_port as any_free_port


@pytest.fixture
def free_port() -> int:
    return any_free_port()


@pytest.fixture
def traversable() -> Iterator[Path]:
    """A state folder that instances, which run under other uids, can reach into."""
    folder = Path(tempfile.mkdtemp(prefix="anew-e2e-"))
    folder.chmod(0o755)
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def project() -> Iterator[Rig]:
    with rig() as one:
        yield one


def is_required() -> bool:
    return os.environ.get("ANEW_REQUIRE_ALL") == "1"
