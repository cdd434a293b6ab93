"""A wish that a keeper has not taken up yet: whoever asks about its rollout waits a moment for it."""

from __future__ import annotations

import time

from anew.model import Rollout, Scope, Seconds
from anew.ports import Clock
from anew.shell.journal import Journal

BEGINS_WITHIN: Seconds = 10.0
LOOKS_EVERY: Seconds = 0.05


def begun(journal: Journal, scope: Scope, clock: Clock) -> Rollout | None:
    """Return the rollout under way; where another generation is wanted than serves, wait until its rollout begins.

    Blocks  at most `BEGINS_WITHIN`.
    """
    until = clock.monotonic() + BEGINS_WITHIN
    while True:
        rollout, row = journal.rollout(scope), journal.environment(scope.project, scope.environment)
        is_pending = row is not None and row.wish not in {row.serving, rollout.new if rollout else 0}
        if not is_pending or clock.monotonic() > until:
            return rollout
        time.sleep(LOOKS_EVERY)
