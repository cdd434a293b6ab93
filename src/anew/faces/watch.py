"""Following a rollout to its end: what a status means for somebody who waits, and the loop that waits.

Rules

1. Watching changes nothing; to stop it stops nothing else.
2. The keeper's own bounds end every rollout, so the loop ends when the rollout does; where no keeper acts, it ends
   after `PATIENCE`.
3. A rollout that was over before the wish was written tells nothing about the wish.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from anew.errors import Conflict, EngineError

if TYPE_CHECKING:
    from anew.model import Seconds
    from anew.views import RolloutView, Status

Wanted = Literal["serves", "leaves", "either"]

INTERVAL: Seconds = 0.1
PATIENCE: Seconds = 15.0


@dataclass(frozen=True, slots=True)
class Watch:
    """What is waited for: that `generation` has all traffic (`serves`), or has none any more (`leaves`)."""

    environment: str
    generation: str  # "g3"
    wanted: Wanted = "serves"
    before: RolloutView | None = None  # the rollout that there was before the wish was written


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    is_good: bool
    reason: str


def ended(status: Status, watch: Watch) -> Ended | None:
    """Say how it ended; None while it goes on.

    Raises  Conflict if something else became the wish meanwhile.
    """
    rollout = status.rollout
    if rollout is not None and rollout.generation == watch.generation and not _is_old(rollout, watch):
        if not rollout.is_over:
            return None
        return Ended(_is_good(rollout, watch.wanted), rollout.reason)
    if watch.wanted != "leaves" and status.serving == watch.generation and (rollout is None or rollout.is_over):
        return Ended(is_good=True, reason=f"{watch.generation} serves already")
    if watch.wanted == "serves" and status.wish not in {"", watch.generation}:
        raise Conflict(
            f"{status.wish} became the wish of {watch.environment} while {watch.generation} was on its way",
            hint=f"`anew status -e {watch.environment}` shows what goes on",
        )
    return None


def _is_good(rollout: RolloutView, wanted: Wanted) -> bool:
    match wanted:
        case "serves":
            return rollout.is_good
        case "leaves":
            return not rollout.is_good
        case "either":  # a rollback without a number takes back what is under way, if anything is
            return rollout.is_good or rollout.kind == "rollout"


def _is_old(rollout: RolloutView, watch: Watch) -> bool:
    before = watch.before
    return (
        before is not None
        and before.is_over
        and (before.generation, before.kind, before.since) == (rollout.generation, rollout.kind, rollout.since)
    )


def follow(
    read: Callable[[], Status], watch: Watch, show: Callable[[Status], None], *, patience: Seconds = PATIENCE
) -> Ended:
    """Show every status until what is watched has ended.

    Blocks  until then; the keeper bounds it.
    Raises  EngineError if no keeper acts for `patience`; Conflict as `ended` does.
    """
    alone_since: float | None = None
    while True:
        status = read()
        show(status)
        end = ended(status, watch)
        if end is not None:
            return end
        now = time.monotonic()
        alone_since = None if status.keeper else (alone_since if alone_since is not None else now)
        if alone_since is not None and now - alone_since >= patience:
            raise EngineError(
                f"nobody acts for {watch.environment}: its keeper does not run",
                hint=f"start one and see what it says: `anew serve -e {watch.environment} --until-idle`",
                facts={"command": f"anew serve -e {watch.environment} --until-idle"},
            )
        time.sleep(INTERVAL)


class Changes:
    """Turns statuses into lines, one per change of phase or reason."""

    def __init__(self, say: Callable[[str], None], watch: Watch) -> None:
        self._say = say
        self._watch = watch
        self._last: tuple[str, str] | None = None

    def __call__(self, status: Status) -> None:
        """Say what changed, if anything did."""
        rollout = status.rollout
        if rollout is None or rollout.generation != self._watch.generation or _is_old(rollout, self._watch):
            return
        if (rollout.phase, rollout.reason) != self._last:
            self._last = (rollout.phase, rollout.reason)
            self._say(f"{rollout.generation}  {rollout.weight / 10:g} %  {rollout.phase}: {rollout.reason}")
