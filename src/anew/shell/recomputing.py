"""The verdict on a generation made again, from the windows that were kept, and compared with what was decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from anew.core import judging
from anew.errors import NotFound
from anew.shell.evidence import samples
from anew.shell.journal import JUDGED, VERDICT
from anew.shell.judgements import compared, rollout_ids
from anew.views import Answer, Decided, Event, Recomputed

if TYPE_CHECKING:
    from anew.model import Member, Rollout, Scope, Verdict, Window
    from anew.shell.journal import Journal

EVENTS = 100_000  # that are looked through


def recomputed(journal: Journal, scope: Scope, number: int) -> tuple[Recomputed, ...]:
    """Judge each service of a generation (0: of the last one) again.

    Raises  NotFound if there is no such generation, it was not judged, or what is needed for it was not kept.
    """
    generations = journal.generations.all(scope)
    number = number or max(generations, default=0)
    if number not in generations:
        known = ", ".join(one.name for one in generations.values())
        raise NotFound(f"{scope} has no generation g{number}", hint=f"it has: {known or 'none'}")
    name = generations[number].name
    events = journal.ledger.events(scope, EVENTS)
    rollout = journal.windows.of(scope, rollout_ids(events, name))
    if rollout is None:
        raise NotFound(f"{name} was never rolled out", where=str(scope))
    members = compared(rollout, generations)
    if not members:
        raise NotFound(f"{name} was not judged: there was nothing to compare it with", where=str(scope))
    if not rollout.windows:
        what = f"no windows are kept of the rollout to {name}: it had no stage, or an older anew made it"
        raise NotFound(what, where=str(scope))
    left = [e for e in events if e.facts.get("rollout") == str(rollout.id) and _verdicts(e)]
    if rollout.phase != "stage" and not left:
        raise NotFound(f"what was decided of {name} is not written down: an older anew did it", where=str(scope))
    return tuple(_recomputed(name, before, after, rollout, left) for before, after in members)


def _verdicts(event: Event) -> dict[str, str]:
    return {key.removeprefix(VERDICT): kind for key, kind in event.facts.items() if key.startswith(VERDICT)}


def _recomputed(name: str, before: Member, after: Member, rollout: Rollout, left: Sequence[Event]) -> Recomputed:
    """Judge one service again; `left` are the events that a stage was left, oldest first."""
    criteria = judging.criteria(before, after, samples(rollout.windows), is_timed=after.service in dict(rollout.slow))
    found = judging.answers(criteria, after.policy)
    decisions = []
    for index, event in enumerate(left):
        was = _verdicts(event).get(after.service)
        if was is None:
            continue  # after all stages not every service is compared
        stage = int(event.facts.get(JUDGED, index))
        seen = sum(window.stage <= stage for window in rollout.windows)
        verdict = found[seen - 1] if seen and found else judging.verdict((), (), after.policy.judge)
        # A worker has to run, too: that may have kept it from passing.
        is_same = was == verdict.kind or (after.kind == "worker" and (was, verdict.kind) == ("undecided", "pass"))
        decisions.append(Decided(stage + 1, was, verdict.kind, verdict.reason, is_same))
    return Recomputed(
        generation=name,
        service=after.service,
        group=after.group,
        windows=len(rollout.windows),
        answers=tuple(_changes(rollout.windows, found)),
        decisions=tuple(decisions),
        is_same=all(one.is_same for one in decisions),
    )


def _changes(windows: Sequence[Window], found: Sequence[Verdict]) -> Iterator[Answer]:
    before = ""
    for window, one in zip(windows, found, strict=False):
        if one.kind != before:
            yield Answer(window.at, window.stage + 1, one.kind, one.reason)
        before = one.kind
