"""What holds for every test: where everything is required (`ANEW_REQUIRE_ALL=1`), a test that is skipped has failed."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("ANEW_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"everything is required, but this was skipped: {report.longrepr}"
