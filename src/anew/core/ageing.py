"""How old operating-system heads are, and whether an environment still takes them. Pure: `now` is given.

A head is as old as the last time that somebody looked what there is: moved to the newest packages, or found that they
are the newest. A head that nobody can look that up for (a tar archive, the machine's own root) has no age.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anew.model import HeadTime, OsAge, Seconds

_HOUR: Seconds = 3600.0
_DAY: Seconds = 86400.0


@dataclass(frozen=True, slots=True)
class Aged:
    """A head, how old it is, and which services stand on it."""

    head: str
    age: Seconds
    services: tuple[str, ...]
    is_at_least: bool = False  # nobody wrote down when it was resolved: it is as old as the release, or older


def aged(times: Iterable[tuple[str, HeadTime]], made: float, now: float) -> tuple[Aged, ...]:
    """Return the heads of services that have an age, oldest first; `made` is when their release was."""
    found: dict[tuple[str, float], list[str]] = {}
    for service, time in times:
        if time.head:
            found.setdefault((time.head, time.at), []).append(service)
    ones = [
        Aged(head, max(0.0, now - (at or made)), tuple(sorted(services)), not at)
        for (head, at), services in found.items()
        if at or made
    ]
    return tuple(sorted(ones, key=lambda one: (-one.age, one.head)))


def exceeded(age: Seconds, bound: OsAge) -> tuple[str, Seconds]:
    """Return which bound an age exceeds, and how much that is.

    >>> exceeded(20.0, OsAge(warn=10.0)), exceeded(20.0, OsAge(warn=5.0, refuse=10.0)), exceeded(20.0, OsAge())
    (('warn', 10.0), ('refuse', 10.0), ('', 0.0))
    """
    if bound.refuse and age > bound.refuse:
        return "refuse", bound.refuse
    return ("warn", bound.warn) if bound.warn and age > bound.warn else ("", 0.0)


def sentence(one: Aged, bound: Seconds) -> str:
    """Say that a head is too old."""
    least = "at least " if one.is_at_least else ""
    return (
        f"the head {one.head} ({', '.join(one.services)}) is {least}{spelled(one.age)} old, more than {spelled(bound)}"
    )


def spelled(span: Seconds) -> str:
    """Write an age for people.

    >>> spelled(41.9 * 86400), spelled(86400 * 1.5), spelled(60)
    ('41 days', '36 hours', 'less than an hour')
    """
    if span >= 2 * _DAY:
        return f"{int(span // _DAY)} days"
    hours = int(span // _HOUR)
    return "less than an hour" if not hours else f"{hours} hour{'s' if hours > 1 else ''}"
