"""Durations, shares, sizes and processors: how each amount is written, and how much it is."""

from __future__ import annotations

import re
from typing import Annotated, TypeGuard

from pydantic import BeforeValidator, Field, WithJsonSchema

from anew.core.spec.wrong import wrong

LONGEST = 7 * 86400.0  # seconds: no wait in a rollout is longer than a week
YOUNGEST, OLDEST = 60.0, 365 * 86400.0  # seconds: what `max_age` can be
NEWEST, ANCIENT = 3600.0, 3650 * 86400.0  # seconds: what `max_os_age` can be
LITTLE, MUCH = 4 << 20, 1 << 50  # bytes: with less no program runs in a sandbox; more has no machine
SLOWEST, FASTEST = 0.01, 1024  # processors
MANY = 1000.0  # times
HALF = 0.5
OFTEN = 0.1  # seconds

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)\Z")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([KMG])\Z")
_SIZE_ELSEWHERE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([kmg])i?b?\Z", re.IGNORECASE)
_POWERS = {"K": 10, "M": 20, "G": 30}
_PART = re.compile(r"([1-9][0-9]{0,6})(m|%)\Z")
_PARTS = {"m": 1000, "%": 100}
_CHANCE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,4})?)%\Z")
_QUANTILE = re.compile(r"p([0-9]{2}(?:\.[0-9]{1,2})?)\Z")
_SHARE = re.compile(r"([0-9]{1,3})(?:\.([0-9]))?%\Z")


def is_number(value: object) -> TypeGuard[int | float]:
    """Say whether a value is a number as it is written: true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def seconds(value: object) -> float:
    """Return the seconds of a duration as it is written.

    >>> seconds("30m"), seconds("500ms"), seconds("1.5h")
    (1800.0, 0.5, 5400.0)
    """
    found = _seconds(value)
    if found > LONGEST:
        raise wrong("no wait may be longer than a week", "write `7d` or less")
    return found


def _seconds(value: object, units: tuple[str, str] = ("s", "m")) -> float:
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match:
        meant = " or ".join(f"`{value}{unit}`" for unit in units)
        hint = f"write {meant}" if is_number(value) else "write `500ms`, `10s`, `30m`, `1h` or `7d`"
        raise wrong("a duration is a number and a unit", hint)
    return round(float(match[1]) * _UNITS[match[2]], 6)


def _age(value: object) -> float:
    found = _seconds(value, ("h", "d"))
    if found < YOUNGEST:
        raise wrong("an instance would hardly be ready before it is too old", "write `1m` or more")
    if found > OLDEST:
        raise wrong("an age of more than a year is none", "write `365d` or less, or remove it")
    return found


def _os_age(value: object) -> float:
    found = _seconds(value, ("h", "d"))
    if found < NEWEST:
        raise wrong("a head would be too old before it is rolled out", "write `1h` or more; `30d` is usual")
    if found > ANCIENT:
        raise wrong("no head is older than ten years", "write `3650d` or less, or remove it")
    return found


def memory(value: object) -> int:
    """Return the bytes of a size as it is written.

    >>> memory("256M"), memory("1.5G"), memory(8388608)
    (268435456, 1610612736, 8388608)
    """
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match:
        found = int(float(match[1]) * (1 << _POWERS[match[2]]))
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        meant = _SIZE_ELSEWHERE.match(value) if isinstance(value, str) else None
        hint = f"write `{meant[1]}{meant[2].upper()}`" if meant else "write `256M` or `1G`"
        raise wrong("a size is a number and K, M or G, or a whole number of bytes", hint)
    if found < LITTLE:
        is_bare = is_number(value) and found << 20 >= LITTLE
        hint = f"write `{value}M` if that is meant" if is_bare else "write `4M` or more"
        raise wrong("no program runs in less than 4M of memory", hint)
    if found > MUCH:
        raise wrong("no machine has so much memory", "write less, or remove it")
    return found


def _processors(value: object) -> float:
    if not is_number(value):
        raise wrong("this is a number of processors", f"write `{_meant(value):g}`")
    if not SLOWEST <= value <= FASTEST:
        raise wrong(f"a number of processors is from {SLOWEST:g} to {FASTEST}", "write `0.5` for half of one")
    return float(value)


def _meant(value: object) -> float:
    """Return the processors that other tools write as `500m` or `50%`; half of one for anything else."""
    match = _PART.match(value) if isinstance(value, str) else None
    return int(match[1]) / _PARTS[match[2]] if match else 0.5


def _some_seconds(value: object) -> float:
    found = seconds(value)
    if found <= 0:
        raise wrong("this must be more than nothing", "write `10s`")
    return found


def _every(value: object) -> float:
    found = seconds(value)
    if found < OFTEN:
        raise wrong("that would be load, and no look", "write `100ms` or more")
    return found


def per_mille(value: object) -> int:
    """Return the weight of a share as it is written.

    >>> per_mille("1%"), per_mille("0.5%"), per_mille("100%")
    (10, 5, 1000)
    """
    match = _SHARE.match(value) if isinstance(value, str) else None
    if not match:
        hint = f"write `{value}%`" if is_number(value) else "write `1%`, `0.5%` or `100%`"
        raise wrong("a share is a percentage in steps of 0.1", hint)
    found = int(match[1]) * 10 + int(match[2] or 0)
    if not 0 < found <= 1000:
        raise wrong("a share is more than 0% and at most 100%", "write `0.1%` to `100%`")
    return found


def _times(value: object) -> float:
    if not is_number(value):
        raise wrong("this is a number of times", "write `1.2` or `2`")
    if not 1 <= value <= MANY:
        raise wrong(f"a number of times is from 1 to {MANY:g}", "write `2` for twice as often")
    return float(value)


def chance(value: object) -> float:
    """Return the part, 0 to 0.5, of a percentage as it is written.

    >>> chance("1%"), chance("0.25%"), chance("0%")
    (0.01, 0.0025, 0.0)
    """
    match = _CHANCE.match(value) if isinstance(value, str) else None
    if not match:
        raise wrong("this is a percentage", f"write `{value}%`" if is_number(value) else "write `1%` or `0.5%`")
    found = float(match[1]) / 100
    if found > HALF:
        raise wrong("more than half is no bound", "write `50%` or less")
    return found


def quantile(value: object) -> float:
    """Return the part that a quantile is of, as it is written; 0 for ``never``.

    >>> quantile("p95"), quantile("p99.9"), quantile("never")
    (0.95, 0.999, 0.0)
    """
    if value == "never":
        return 0.0
    match = _QUANTILE.match(value) if isinstance(value, str) else None
    if not match:
        raise wrong("this is a quantile of the times of answers", "write `p95`, `p99`, or `never`")
    found = round(float(match[1]) / 100, 6)
    if found < HALF:
        raise wrong("more than half of all answers would be slow", "write `p50` or more, or `never`")
    return found


_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"})
_SHARE_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9])?%$"})

Duration = Annotated[float, BeforeValidator(seconds), _DURATION_SCHEMA]
Wait = Annotated[float, BeforeValidator(_some_seconds), _DURATION_SCHEMA]
Every = Annotated[float, BeforeValidator(_every), _DURATION_SCHEMA]
Age = Annotated[float, BeforeValidator(_age), _DURATION_SCHEMA]
OsAge = Annotated[float, BeforeValidator(_os_age), _DURATION_SCHEMA]
Memory = Annotated[
    int,
    BeforeValidator(memory),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?[KMG]$", "minimum": LITTLE}),
]
Processors = Annotated[
    float, BeforeValidator(_processors), WithJsonSchema({"type": "number", "minimum": SLOWEST, "maximum": FASTEST})
]
Pids = Annotated[int, Field(ge=2, le=1 << 22)]  # the kernel has no more
Quantile = Annotated[
    float,
    BeforeValidator(quantile),
    WithJsonSchema({"type": "string", "pattern": r"^(p[0-9]{2}(\.[0-9]{1,2})?|never)$"}),
]
Times = Annotated[float, BeforeValidator(_times), WithJsonSchema({"type": "number", "minimum": 1, "maximum": MANY})]
Chance = Annotated[
    float, BeforeValidator(chance), WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,4})?%$"})
]
Share = Annotated[int, BeforeValidator(per_mille), _SHARE_SCHEMA]
