"""Units and places, which everything else is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Digest = str  # "sha256:" and 64 hexadecimal digits
Seconds = float
PerMille = int
Bytes = int
Weights = Mapping[str, Mapping[str, PerMille]]  # service → group → weight; each service sums to 1000, or is empty

FULL: PerMille = 1000
CLIENT_WINDOW = 10  # whole seconds in which a client that is known is one trial, and at most one bad and one slow one
CHUNK: Bytes = 1 << 18  # read or written at once; writes of a whole MB may take the page cache four times as long
BUILD = "@build"  # stands where an environment does for what belongs to builds; no environment can have this name


@dataclass(frozen=True, slots=True)
class Scope:
    """Where things live: one environment of one project. `owner` is the id of the state that made them."""

    project: str
    environment: str
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.project}/{self.environment}"
