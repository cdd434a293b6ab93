"""The engine docker conforms: on Docker to everything, on Podman to what it may do differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from docker_world import World, make_image, world

from anew.model import Image
from anew.testing.conformance import CHECKS, NotOffered
from anew.testing.conformance_bench import Bench

NOT_OFFERED = {"check_a_taken_port_is_a_conflict"}  # instances have addresses of their own
ON_PODMAN = {
    "check_a_command_that_is_not_there_is_an_end",
    "check_a_limited_instance_does_not_learn_its_name",
    "check_a_secret_is_in_no_list_and_no_descriptor",
    "check_a_throwaway_instance_has_volumes",
    "check_an_end_is_seen_with_its_code",
    "check_an_instance_has_no_power",
    "check_an_instance_survives_its_launcher",
    "check_files_in_memory_count_as_memory",
    "check_grace_is_honoured",
    "check_launches_are_seen_at_once",
    "check_logs_outlive_the_instance",
    "check_nothing_of_the_launcher_is_inside",
    "check_run_returns_what_happened",
    "check_secrets_are_files_that_nobody_can_change",
    "check_the_root_is_read_only",
    "check_two_scopes_do_not_see_each_other",
    "check_volumes_are_listed_and_removed_on_request_only",
    "check_what_an_instance_leaves_behind_is_ended",
}


@pytest.fixture(scope="module")
def docker() -> Iterator[tuple[World, Image]]:
    with world("docker") as made:
        yield made, make_image(made.store)


@pytest.fixture(scope="module")
def podman() -> Iterator[tuple[World, Image]]:
    with world("podman") as made:
        yield made, make_image(made.store)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_docker_conforms(check: Callable[[Bench], None], docker: tuple[World, Image]) -> None:
    here, image = docker
    is_offered = _passes(here, here.bench(image), check)
    assert is_offered == (check.__name__ not in NOT_OFFERED)


@pytest.mark.parametrize(
    "check", [one for one in CHECKS if one.__name__ in ON_PODMAN], ids=lambda check: check.__name__
)
def test_podman_conforms(check: Callable[[Bench], None], podman: tuple[World, Image]) -> None:
    here, image = podman
    assert _passes(here, here.bench(image), check)


def test_what_podman_is_checked_for_is_there() -> None:
    assert {one.__name__ for one in CHECKS} >= ON_PODMAN


def _passes(here: World, bench: Bench, check: Callable[[Bench], None]) -> bool:
    try:
        check(bench)
    except NotOffered:
        return False
    finally:
        here.clear(bench)
    return True
