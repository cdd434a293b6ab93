"""The HAProxy edge does what every edge must do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from anew.testing.conformance_edge import CHECKS, Bench


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.__name__.removeprefix("check_"))
def test_the_edge_conforms(check: Callable[[Bench], None], bench: Bench) -> None:
    check(bench)
