"""The embedded engine conforms: on the machine's own root and on layers, as root and as an ordinary user."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from embedded_world import LIMITS, World, image_of, make_layers, require, world

from anew.engines.embedded import cgroup_places
from anew.model import Image
from anew.testing import conformance_limits
from anew.testing.conformance import CHECKS, NotOffered
from anew.testing.conformance_bench import Bench

ROOT = Path(__file__).parents[2]
ORDINARY = 1001  # a uid that need not have an account


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        require(made.home)
        yield made


@pytest.fixture(scope="module")
def layered(here: World) -> Image:
    return make_layers(here)


@pytest.fixture(params=["host", "layers"])
def bench(request: pytest.FixtureRequest, here: World, layered: Image) -> Iterator[Bench]:
    image = image_of(is_host=True) if request.param == "host" else layered
    made = here.bench(image, f"c{uuid.uuid4().hex[:8]}")
    yield made
    made.clear()
    assert made.processes(made.mark) == ()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_embedded_engine_conforms(check: Callable[[Bench], None], bench: Bench) -> None:
    try:
        check(bench)
    except NotOffered as cause:
        if check in conformance_limits.CHECKS:  # whether this machine offers that is another test's
            pytest.skip(str(cause))
        pytest.fail(f"this engine offers all there is, but: {cause}")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has what was handed over")
def test_root_can_limit_all_there_is() -> None:
    assert sorted(LIMITS) == ["cpu", "memory", "pids"], cgroup_places.places()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
@pytest.mark.timeout(580)  # twice 72 instances and more, on a machine that others use
def test_the_embedded_engine_conforms_as_an_ordinary_user() -> None:
    site = Path(pytest.__file__).parents[1]
    files = sorted(Path(__file__).parent.glob("test_embedded*.py"))
    own = Path(tempfile.mkdtemp(prefix="anew-test-"))
    os.chown(own, ORDINARY, ORDINARY)
    done = subprocess.run(
        [_interpreter(), "-m", "pytest", "-x", "-p", "no:cacheprovider", f"--basetemp={own / 'made'}", *files],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name != "ANEW_REQUIRE_ALL"},  # some need root
            "HOME": "/nonexistent",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{ROOT}/src:{site}",
        },
        user=ORDINARY,
        group=ORDINARY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(own)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    sure = len(CHECKS) - len(conformance_limits.CHECKS)  # of limits an ordinary user has what was handed over
    assert int(passed[1]) > 2 * sure + 50, done.stdout[-2000:]  # most of the other files' tests, too


def _interpreter() -> str:
    """Return a Python that an ordinary user may run: root's own may lie in root's home."""
    for one in (sys.executable, "/usr/bin/python3"):
        try:
            version = subprocess.run(
                [one, "-c", "import sys; print(sys.version_info[:2] == tuple(map(int, sys.argv[1:])))"]
                + [str(part) for part in sys.version_info[:2]],
                user=ORDINARY,
                group=ORDINARY,
                extra_groups=[],
                capture_output=True,
                text=True,
                check=False,
            )
        except PermissionError:
            continue
        if version.stdout == "True\n":
            return one
    pytest.skip("no Python of this version that an ordinary user may run")
