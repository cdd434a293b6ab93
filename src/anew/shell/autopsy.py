"""Why a generation is what it is: what it consists of, how its rollouts went, and how its instances ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from anew.core import names
from anew.core.world import Allotment
from anew.errors import NotFound
from anew.model import Generation, Group, Rollout, Scope
from anew.ports import Compute
from anew.shell import dissecting
from anew.shell.dissecting import Found, limits
from anew.shell.instances import Ended
from anew.shell.journal import EnvironmentRow, Journal
from anew.shell.judgements import judgements, rollout_ids
from anew.views import Autopsy, Event, Sealed, Why

LINES = 1000  # of an instance's log, at most
SHOWN = 20  # of them, in the answer
EVENTS = 100_000  # that are looked through
UNREMARKABLE = ("stopped, exit code 0", "never started")


def why(
    journal: Journal, compute: Compute, row: EnvironmentRow, number: int, up_to_now: Callable[[Rollout], Rollout]
) -> Why:
    """Return what is known of a generation (0: of the last one that was wanted).

    Raises  NotFound if there is none.
    """
    generations = journal.generations.all(row.scope)
    number = number or max(generations, default=0)
    if number not in generations:
        known = ", ".join(g.name for g in generations.values())
        raise NotFound(f"{row.scope} has no generation g{number}", hint=f"it has: {known or 'none'}")
    one = generations[number]
    groups, _ = journal.instances.all_groups(row.scope)
    mine = [groups[m.group] for m in one.members if m.group in groups]
    beside = [group for name, group in groups.items() if names.beside(name) == number]
    events = journal.ledger.events(row.scope, EVENTS)
    rollout = journal.windows.of(row.scope, rollout_ids(events, one.name))
    if rollout is not None:
        rollout = up_to_now(rollout)
    return Why(
        generation=one.name,
        release=one.release,
        outcome="serves" if number == row.serving else one.outcome or "sealed",
        reason=one.reason,
        at=one.at,
        before=f"g{one.previous}" if one.previous else "",
        sealed=tuple(_sealed(one, group) for group in mine),
        course=tuple(_course(events, one.name)),
        instances=_Autopsies(journal, compute, row.scope, dissecting.found(events)).of([*mine, *beside]),
        judgements=judgements(rollout, generations) if rollout else (),
    )


def _sealed(one: Generation, group: Group) -> Sealed:
    seal = group.seal
    return Sealed(
        service=group.service,
        group=group.name,
        size=next(m.size for m in one.members if m.group == group.name),
        image=seal.image,
        command=seal.command,
        flags=dict(seal.flags),
        secrets=tuple(f"{pin.name} v{pin.version}" for pin in seal.secrets),
        limits=limits(seal.limits),
    )


def _course(events: Iterable[Event], name: str) -> Iterable[Event]:
    return (e for e in events if e.facts.get("generation") == name)


@dataclass(frozen=True, slots=True)
class _Autopsies:
    journal: Journal
    compute: Compute
    scope: Scope
    found: Mapping[str, Found]

    def of(self, groups: Iterable[Group]) -> tuple[Autopsy, ...]:
        """Return how the instances of `groups` ended, oldest first, and what those that were touched are like."""
        names = {group.name for group in groups}
        ended = [(one, name) for name in sorted(names) for one in self.journal.instances.ended(self.scope, name)]
        touched = [a for a in self.journal.instances.allotments(self.scope) if a.tainted and a.group in names]
        return (*(self._of_ended(one, name) for one, name in ended), *(self._of_touched(one) for one in touched))

    def _of_ended(self, one: Ended, group: str) -> Autopsy:
        """Return how an instance ended; what ended as it should has no last words."""
        is_kept = one.is_death or one.tainted or one.name in self.found
        is_remarkable = is_kept or not one.outcome.startswith(UNREMARKABLE)
        plain = Autopsy(
            instance=one.name,
            group=group,
            outcome=one.outcome,
            is_death=one.is_death,
            tainted=one.tainted,
            peak_memory=one.peak_memory,
            at=one.at,
            last=_last_words(self.compute, one.name) if is_remarkable else (),
        )
        return self._with_files(plain)

    def _of_touched(self, one: Allotment) -> Autopsy:
        """Return what an instance is like that was touched, and is still there."""
        where = "kept for inspection" if one.draining else "in traffic until another takes its place"
        plain = Autopsy(
            instance=one.name,
            group=one.group,
            outcome=f"tainted ({one.tainted}), {where}",
            is_death=False,
            tainted=one.tainted,
            peak_memory=0,
            at=one.draining,
            last=_last_words(self.compute, one.name),
        )
        return self._with_files(plain)

    def _with_files(self, one: Autopsy) -> Autopsy:
        found = self.found.get(one.instance)
        if found is None:
            return one
        peak = max(one.peak_memory, found.peak_memory)
        return replace(one, peak_memory=peak, changed=found.changed, more_changed=found.more, ordered=found.ordered)


def _last_words(compute: Compute, name: str) -> tuple[str, ...]:
    try:
        return compute.logs(name, LINES)[-SHOWN:]
    except NotFound:
        return ()  # it was never launched, or its log was collected
