"""The schedule of a service: the five fields of cron, in UTC. What is accepted here is accepted by whoever runs it.

A field is `*`, a value, a range, or a list of these; each but a list may have a step. Months and days of the week have
names. Refused beside nonsense: a step that leaves its field, which looks like a longer interval and is none (`*/90`
minutes is every hour), and a date that no month has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from anew.core.spec.tree import shortened
from anew.core.spec.wrong import wrong

_TERM = re.compile(r"(?:(\*)|([0-9]{1,9}|[A-Za-z]{3})(?:-([0-9]{1,9}|[A-Za-z]{3}))?)(?:/([0-9]{1,9}))?\Z")
_NICKNAMES: Mapping[str, str] = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@midnight": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
    }
)
_DAYS_OF_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    words: tuple[str, ...] = ()  # names of the values from `first` on

    def value(self, text: str) -> int | None:
        """Return the number that `text` means; None if it means none of this field."""
        if text.upper() in self.words:
            return self.first + self.words.index(text.upper())
        return int(text) if text.isdecimal() and self.first <= int(text) <= self.last else None

    def values(self, text: str) -> frozenset[int] | None:
        """Return the numbers of one entry of a list; None if it is not well formed."""
        found = _TERM.match(text)
        if not found:
            return None
        star, start, end, step = found.groups()
        first = self.first if star else self.value(start)
        last = self.last if star else first if end is None else self.value(end)
        if first is None or last is None or first > last:
            return None
        if step is None:
            return frozenset(range(first, last + 1))
        if not 1 <= int(step) <= self.last - self.first:
            return None
        return frozenset(range(first, (self.last if end is None else last) + 1, int(step)))


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    _Field("day of the week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)


def schedule(text: str) -> str:
    """Return a schedule with single blanks between its fields.

    Raises  the complaint of a field, PydanticCustomError, if it is none.

    >>> schedule("0  3 * jan-mar mon,fri")
    '0 3 * jan-mar mon,fri'
    """
    parts = text.split()
    if len(parts) != len(_FIELDS):
        what = "a schedule is five fields: minute, hour, day of the month, month, day of the week"
        raise wrong(what, _advice(parts))
    minutes_to_weekdays = [_values(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    days, months = minutes_to_weekdays[2:4]
    most = max(_DAYS_OF_MONTHS[month - 1] for month in months)
    if parts[4].startswith("*") and min(days) > most:  # else the days of the week are an alternative
        raise wrong(f"no such month has {min(days)} days, so it would never run", f"write a day up to {most}")
    return " ".join(parts)


def _values(field: _Field, text: str) -> frozenset[int]:
    found: set[int] = set()
    for term in text.split(","):
        values = field.values(term)
        if values is None:
            what = f"`{shortened(term)}` is wrong for the {field.name}"
            most = f"at most `*/{field.last - field.first}`"
            numbers = f"{field.first} to {field.last}{_named(field.words)}"
            raise wrong(what, f"write `*` or {numbers}; a range is like `2-5`, a step like `*/2`, {most}")
        found |= values
    return frozenset(found)


def _named(words: Iterable[str]) -> str:
    names = list(words)
    return f" ({names[0]} to {names[-1]})" if names else ""


def _advice(parts: list[str]) -> str:
    nickname = _NICKNAMES.get(parts[0].lower()) if len(parts) == 1 else None
    if nickname:
        return f"write `{nickname}`"
    if parts and parts[0].lower() == "@reboot":
        return "remove `schedule`: a worker runs from the start"
    if len(parts) == len(_FIELDS) + 1:
        return f"leave out the seconds: `{shortened(' '.join(parts[1:]))}`"
    return "write `0 3 * * *` for three o'clock at night"


Schedule = Annotated[
    str, AfterValidator(schedule), WithJsonSchema({"type": "string", "pattern": r"^\s*\S+(\s+\S+){4}\s*$"})
]
