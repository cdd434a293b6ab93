"""How a field says that a value is wrong; `anew.core.spec.complaints` makes a complaint of it."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

NOT_YET = "not_yet"  # type of a complaint about what is designed and not there


def wrong(what: str, hint: str = "", kind: str = "wrong") -> PydanticCustomError:
    """Make a complaint of a field: a sentence about the value, and what to write."""
    return PydanticCustomError(kind, "{what}", {"what": what, "hint": hint})
