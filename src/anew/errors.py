"""Every error that anew raises on purpose, in one tree.

::

    AnewError
    ├── SpecError     400  exit 2   what was written in a file or on the command line is wrong
    ├── NotFound      404  exit 3   a named thing does not exist
    ├── Conflict      409  exit 4   somebody else holds it, or it changed meanwhile
    ├── Unsupported   422  exit 5   right, but not possible here or not yet
    ├── GateClosed    412  exit 6   a test, a verdict or an earlier failure forbids it
    ├── EngineError   502  exit 7   a program that anew drives failed
    └── Bug           500  exit 70  anew broke its own rules

Each says *what* is wrong (the thing and its value), *where* (``anew.yaml:14 services.web.size``), and a
*hint*: an act that mends it. One renderer (``anew.faces.render``) turns it into text and JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import ClassVar, Self

_NO_FACTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Complaint:
    """One of several things that are wrong at once; `where` is ``file:line path``."""

    what: str
    where: str = ""
    hint: str = ""


class AnewError(Exception):
    """Something went wrong that a person can understand and act on."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        facts: Mapping[str, str] = _NO_FACTS,
        complaints: Sequence[Complaint] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.facts = dict(facts)
        self.complaints = tuple(complaints)

    def as_json(self) -> dict[str, object]:
        """Return the error as plain data; `from_json` makes the same error of it."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "hint": self.hint,
            "facts": self.facts,
            "complaints": [asdict(one) for one in self.complaints],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> AnewError:
        """Rebuild an error of the class that `code` names; Bug if the code is unknown."""
        facts, complaints = data.get("facts"), data.get("complaints")
        kind = BY_CODE.get(str(data.get("code")), Bug)
        return kind(
            str(data.get("what", "")),
            where=str(data.get("where", "")),
            hint=str(data.get("hint", "")),
            facts={str(k): str(v) for k, v in facts.items()} if isinstance(facts, dict) else {},
            complaints=[Complaint(**one) for one in complaints] if isinstance(complaints, list) else (),
        )

    @classmethod
    def of(cls, complaints: Sequence[Complaint]) -> Self:
        """Make one error of several complaints; with a single one it reads as that one."""
        if len(complaints) == 1:
            (only,) = complaints
            return cls(only.what, where=only.where, hint=only.hint, complaints=complaints)
        return cls(f"{len(complaints)} things are wrong", complaints=complaints)


class SpecError(AnewError):
    """What was written in a file or on the command line is wrong."""

    code, status, exit_code = "spec", 400, 2


class NotFound(AnewError):
    """A named thing does not exist."""

    code, status, exit_code = "not_found", 404, 3


class Conflict(AnewError):
    """Somebody else holds it, or it changed meanwhile."""

    code, status, exit_code = "conflict", 409, 4


class Unsupported(AnewError):
    """Right, but not possible on this machine or not there yet."""

    code, status, exit_code = "unsupported", 422, 5


class GateClosed(AnewError):
    """A test, a verdict or an earlier failure forbids it."""

    code, status, exit_code = "gate_closed", 412, 6


class EngineError(AnewError):
    """A program that anew drives failed; `facts["command"]` is its exact, pasteable command line."""

    code, status, exit_code = "engine", 502, 7


class Bug(AnewError):
    """anew broke its own rules."""

    code, status, exit_code = "bug", 500, 70


BY_CODE: Mapping[str, type[AnewError]] = MappingProxyType(
    {kind.code: kind for kind in (SpecError, NotFound, Conflict, Unsupported, GateClosed, EngineError, Bug)}
)
