"""The demo is the main job, under load; its report must say that all of it happened."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anew.testing.containers import ContainerEngine
from anew.testing.rig import rig

LIMIT = 280


def demo(tmp_path: Path, home: Path, *options: str) -> dict[str, Any]:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "anew", "demo", *options, "--report", str(report)]
    environment = {**os.environ, "ANEW_HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return dict(json.loads(report.read_text()))


def check(report: dict[str, Any]) -> None:
    assert report["dropped"] == 0
    assert report["requests"] > 1000
    outcomes = {one["name"]: one["outcome"] for one in report["generations"]}
    expected = {"r1": "promoted", "r2": "promoted", "r3": "rolled back", "r4": "rolled back", "r5": "refused"}
    assert outcomes == expected
    assert {name for name, count in report["errors_by_generation"].items() if count} == {"r3"}
    assert report["rollback_ms"] is not None


def test_the_demo_promotes_the_good_and_takes_back_the_bad_without_a_dropped_request(
    tmp_path: Path, traversable: Path
) -> None:
    check(demo(tmp_path, traversable, "--os", "host"))


def test_the_demo_does_the_same_on_an_operating_system_made_from_packages(tmp_path: Path, traversable: Path) -> None:
    if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        pytest.skip("making a Debian head needs root and mmdebstrap")
    check(demo(tmp_path, traversable, "--os", "debian"))


def test_the_demo_does_the_same_on_docker(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not ContainerEngine().answers():
        pytest.skip("no container engine answers here, or we are not root")
    with rig(engine="docker") as one:
        kept = tmp_path / "cache" / "anew" / "demo"
        kept.mkdir(parents=True)
        shutil.copy(one.root / "anew.lock", kept / "debian.lock")  # its head is the rig's
        check(demo(tmp_path, one.home, "--engine", "docker"))
        assert one.containers.containers(one.owner()) == []
        assert one.containers.networks(one.owner()) == []


def test_without_a_container_engine_the_demo_on_docker_says_what_is_missing(tmp_path: Path) -> None:
    environment = {**os.environ, "ANEW_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    command = [sys.executable, "-m", "anew", "demo", "--engine", "docker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 5
    assert f"no container engine answers at {tmp_path}/none.sock" in done.stderr
    assert "hint" in done.stderr


def test_the_machines_own_root_is_no_head_of_the_demo_on_docker(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anew", "demo", "--engine", "docker", "--os", "host"]
    environment = {**os.environ, "ANEW_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave out `--os host`" in done.stderr
