"""Why a generation is what it is: what it consists of, how its rollouts went, and how its instances ended."""

from __future__ import annotations

from collections.abc import Iterable

from anew.errors import NotFound
from anew.model import Generation, Group, Scope
from anew.ports import Compute
from anew.shell.journal import EnvironmentRow, Journal
from anew.views import Autopsy, Event, Sealed, Why

LINES = 1000  # of an instance's log, at most
SHOWN = 20  # of them, in the answer
EVENTS = 100_000  # that are looked through
UNREMARKABLE = ("stopped, exit code 0", "never started")


def why(journal: Journal, compute: Compute, row: EnvironmentRow, number: int) -> Why:
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
    return Why(
        generation=one.name,
        release=one.release,
        outcome="serves" if number == row.serving else one.outcome or "sealed",
        reason=one.reason,
        at=one.at,
        before=f"g{one.previous}" if one.previous else "",
        sealed=tuple(_sealed(one, group) for group in mine),
        course=tuple(_course(journal, row.scope, one.name)),
        instances=tuple(_instances(journal, compute, row.scope, mine)),
    )


def _sealed(one: Generation, group: Group) -> Sealed:
    seal = group.seal
    limits = {"memory": seal.limits.memory, "cpu": seal.limits.cpu, "pids": seal.limits.pids}
    return Sealed(
        service=group.service,
        group=group.name,
        size=next(m.size for m in one.members if m.group == group.name),
        image=seal.image,
        command=seal.command,
        flags=dict(seal.flags),
        secrets=tuple(f"{pin.name} v{pin.version}" for pin in seal.secrets),
        limits={name: float(value) for name, value in limits.items() if value},
    )


def _course(journal: Journal, scope: Scope, name: str) -> Iterable[Event]:
    return (e for e in journal.ledger.events(scope, EVENTS) if e.facts.get("generation") == name)


def _instances(journal: Journal, compute: Compute, scope: Scope, groups: Iterable[Group]) -> Iterable[Autopsy]:
    """Yield how the instances of `groups` ended, oldest first; what ended as it should has no last words."""
    for group in groups:
        for one in journal.instances.ended(scope, group.name):
            is_remarkable = one.is_death or one.tainted or not one.outcome.startswith(UNREMARKABLE)
            yield Autopsy(
                instance=one.name,
                group=group.name,
                outcome=one.outcome,
                is_death=one.is_death,
                tainted=one.tainted,
                peak_memory=one.peak_memory,
                at=one.at,
                last=_last_words(compute, one.name) if is_remarkable else (),
            )


def _last_words(compute: Compute, name: str) -> tuple[str, ...]:
    try:
        return compute.logs(name, LINES)[-SHOWN:]
    except NotFound:
        return ()  # it was never launched, or its log was collected
