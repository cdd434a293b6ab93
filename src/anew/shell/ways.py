"""Ways back: which generation `rollback` goes to, and why another is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anew.core import retention
from anew.errors import Conflict, GateClosed, NotFound
from anew.shell import custody

if TYPE_CHECKING:
    from anew.model import Generation
    from anew.shell.journal import EnvironmentRow, Journal


def chosen(journal: Journal, row: EnvironmentRow, number: int) -> int:
    """Return the generation to go back to: `number`, or if that is 0 the last that served before and did not fail.

    Raises  NotFound if there is none; Conflict if it serves or is no longer kept; GateClosed if it failed, or holds a
            secret that was revoked.
    """
    generations = journal.generations.all(row.scope)
    revoked = journal.vault.revoked(row.scope)
    lost = custody.holders(journal, row.scope, revoked) if revoked else {}
    target = number or retention.way_back(generations, row.serving, lost)
    if not target:
        raise NotFound(
            f"{row.scope} has no generation to go back to",
            hint="`anew history` shows what served; failed ones don't count",
        )
    if target not in generations:
        known = ", ".join(g.name for g in generations.values())
        raise NotFound(f"{row.scope} has no generation g{target}", hint=f"it has: {known or 'none'}")
    _require_kept(generations[target], row.serving)
    if target in lost:
        raise GateClosed(
            f"g{target} holds {lost[target]}, which is revoked, so nothing of it can be started any more",
            hint=f"`anew up {generations[target].release}` seals its release anew, with what is valid now",
        )
    return target


def _require_kept(one: Generation, serving: int) -> None:
    if one.number == serving:
        raise Conflict(f"{one.name} is the one that serves", hint="name another, or none for the one before")
    if one.is_retired:
        raise Conflict(
            f"{one.name} is no longer kept", hint=f"`anew up {one.release}` makes a new generation of its release"
        )
    if one.outcome in {"rolled back", "withdrawn"}:
        raise GateClosed(
            f"{one.name} was {one.outcome}: {one.reason}",
            hint=f"`anew up {one.release} --again` rolls its release out anew, in stages",
        )
    if one.outcome != "promoted":
        raise GateClosed(
            f"{one.name} never served here", hint=f"`anew up {one.release}` rolls its release out, in stages"
        )
