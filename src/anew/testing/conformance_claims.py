"""PUBLIC: how a check of conformance says that something is not as promised, or not offered at all."""

from __future__ import annotations

from collections.abc import Callable

from anew.errors import AnewError


class Nonconforming(AssertionError):  # noqa: N818 - it reads as what it says
    """An engine does not do what the port promises."""


class NotOffered(Exception):  # noqa: N818 - it reads as what it says
    """The check is about something that the engine does not offer: skip it."""


def expect(claim: str, *, actual: object, expected: object = True) -> None:
    """Raise Nonconforming unless `actual` equals `expected`."""
    if actual != expected:
        raise Nonconforming(f"{claim}: expected {expected!r}, found {actual!r}")


def expect_error(kind: type[AnewError], act: Callable[[], object], claim: str) -> AnewError:
    """Return the error of that kind that `act` raises; raise Nonconforming if it raises none."""
    try:
        act()
    except kind as error:
        return error
    raise Nonconforming(f"{claim}: expected {kind.__name__}")
