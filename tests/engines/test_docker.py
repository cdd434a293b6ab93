"""The engine docker conforms, on Docker and on Podman; what does not apply is named, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from docker_world import World, make_image, world

from anew.model import Image
from anew.testing.conformance import CHECKS, NotOffered
from anew.testing.conformance_bench import Bench

Check = Callable[[Bench], None]
IS_UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()  # control groups of version 2
ADDRESSES = {"check_a_taken_port_is_a_conflict": "instances have addresses of their own"}
LISTS = "Podman puts lists of accounts of its own into every container"
SILENT = "Podman does not tell an end for want of memory on control groups of version 1"
ON_PODMAN = {
    **ADDRESSES,
    "check_a_volume_covers_what_the_image_has_there": LISTS,
    **({} if IS_UNIFIED else dict.fromkeys((
        "check_a_limited_instance_survives_its_launcher",
        "check_a_throwaway_instance_is_limited",
        "check_launchers_that_are_killed_leave_no_instance_without_limits",
        "check_limits_are_its_own",
        "check_memory_is_limited_and_the_end_says_so",
    ), SILENT)),
}  # fmt: skip


def those(not_applicable: Mapping[str, str]) -> list[Any]:
    """Return all checks; those that do not apply are not run, and reported with the reason."""
    why = {name: pytest.mark.xfail(run=False, reason=f"not applicable: {one}") for name, one in not_applicable.items()}
    return [
        pytest.param(one, id=one.__name__, marks=[why[one.__name__]] if one.__name__ in why else []) for one in CHECKS
    ]


@pytest.fixture(scope="module")
def docker() -> Iterator[tuple[World, Image]]:
    with world("docker") as made:
        yield made, make_image(made.store)


@pytest.fixture(scope="module")
def podman() -> Iterator[tuple[World, Image]]:
    with world("podman") as made:
        yield made, make_image(made.store)


@pytest.mark.parametrize("check", those(ADDRESSES))
def test_docker_conforms(check: Check, docker: tuple[World, Image]) -> None:
    conforms(*docker, check)


@pytest.mark.parametrize("check", those(ON_PODMAN))
def test_podman_conforms(check: Check, podman: tuple[World, Image]) -> None:
    conforms(*podman, check)


def test_what_is_said_not_to_apply_is_a_check() -> None:
    assert {one.__name__ for one in CHECKS} >= ON_PODMAN.keys()


def conforms(here: World, image: Image, check: Check) -> None:
    bench = here.bench(image)
    try:
        check(bench)
    except NotOffered as cause:
        pytest.skip(f"the container engine of this machine lacks it: {cause}")  # which fails where engines are required
    finally:
        here.clear(bench)
