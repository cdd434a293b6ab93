"""What holds for every test: where everything is required (`ANEW_REQUIRE_ALL=1`), a test that is skipped has failed.

Those that need a container engine are required by `ANEW_REQUIRE_DOCKER=1`.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

ENGINES = ("container engine", "engine docker", "Podman")  # named by who is skipped for want of one


def is_required(reason: str) -> bool:
    """Say whether what was skipped for a reason should have run: container engines are asked for by themselves."""
    is_for_an_engine = any(one in reason for one in ENGINES)
    return os.environ.get("ANEW_REQUIRE_DOCKER" if is_for_an_engine else "ANEW_REQUIRE_ALL") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail") and is_required(str(report.longrepr)):
        report.outcome = "failed"
        report.longrepr = f"everything is required, but this was skipped: {report.longrepr}"
