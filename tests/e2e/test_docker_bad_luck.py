"""The keeper is killed, and misfortunes befall the container engine: a sample of the proofs, on the real thing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anew.testing.containers import ContainerEngine

PROOFS = Path(__file__).parents[2] / "proofs"
NEEDED = ("dockerd", "unshare", "ip")  # for an engine of its own
QUICK = ("outlived", "removed", "edge", "foreign-container", "power")  # misfortunes


def prove(name: str, *arguments: str) -> None:
    command = [sys.executable, str(PROOFS / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("no container engine: it needs root")


def test_a_crash_of_the_keeper_of_containers_changes_nothing_in_the_end() -> None:
    require_root()
    if not ContainerEngine().answers():
        pytest.skip("no container engine answers")
    prove("crash", "--engine", "docker", "--sample", "2")


def test_misfortunes_of_a_container_engine_end_well() -> None:
    require_root()
    missing = [one for one in NEEDED if shutil.which(one) is None]
    if missing:
        pytest.skip(f"no container engine of its own: {', '.join(missing)} is not there")
    prove("misfortunes", "--only", *QUICK)
