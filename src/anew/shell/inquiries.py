"""Criteria of a service's own: counts that somebody else keeps, asked for over HTTP.

Rules

1. What has been counted by the first answer is from before, and no evidence.
2. A count that falls is a sum in which something is missing now, or that began anew: nobody knows which, so nothing is
   new until it has passed what it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from anew.core import exposition
from anew.core.measures import Asked
from anew.model import Counts, Sample, Seconds
from anew.shell.fetching import Call, NoAnswer
from anew.shell.sources import OK, Since, Unread

CRITERIA_EVERY: Seconds = 2.0
PATIENCE: Seconds = 4.0  # for one answer


@dataclass(slots=True)
class Inquiry:
    """The counts of one criterion for one group."""

    measure: Asked
    patience: Seconds = PATIENCE
    every: Seconds = CRITERIA_EVERY
    since: Since = field(default_factory=lambda: Since(is_whole=False, has_parts=True))
    keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Note what it counts."""
        self.keys = (self.measure.key,)

    def read(self) -> Mapping[str, Sample]:
        """Ask for what has been counted until now, and return what is new."""
        one = self.measure.criterion
        try:
            good, bad = self._by_http(one.http) if one.http else self._by_prometheus()
        except NoAnswer as cause:
            raise Unread(f"{one.http or one.prometheus}: {cause}") from cause
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as cause:
            raise Unread(f"{one.http or one.prometheus} answers what is no count: {_short(cause)}") from cause
        if good is None and bad is None:
            self.since.last = self.since.last or Counts()  # all that will come is new
            raise Unread(f"{one.prometheus} has no result for either query")
        counted = Counts(int(good or 0) + int(bad or 0), int(bad or 0))
        return {self.measure.key: self.since.take(counted)}

    def close(self) -> None:
        """Let go of nothing: no call outlives a reading."""

    def _by_http(self, url: str) -> tuple[float, float]:
        said = self._json(url)
        return _count(said["good"]), _count(said["bad"])

    def _by_prometheus(self) -> tuple[float | None, float | None]:
        one = self.measure.criterion
        asked = f"{one.prometheus.rstrip('/')}/api/v1/query?query="
        return self._result(asked + _quoted(one.good)), self._result(asked + _quoted(one.bad))

    def _result(self, url: str) -> float | None:
        """Return the sum of what a query results in; None if it has no result.

        Source  Prometheus, HTTP API, instant queries.
        """
        said = self._json(url)
        if said["status"] != "success":
            raise ValueError(str(said.get("error", said["status"])))
        kind, result = said["data"]["resultType"], said["data"]["result"]
        if kind == "scalar":
            return exposition.count(str(result[1]))
        if kind != "vector":
            raise ValueError(f"a {kind}, and no vector")
        values = [exposition.count(str(one["value"][1])) for one in result]
        return math.fsum(values) if values else None

    def _json(self, url: str) -> Any:
        status, body = Call.to(url, self.patience).answer()
        said: Any = {}
        try:
            said = json.loads(body)
        except ValueError:
            if status == OK:
                raise
        if status != OK:
            why = said.get("error") if isinstance(said, dict) else None
            raise NoAnswer(f"status {status}" + (f", {str(why)[:200]}" if why else ""))
        return said


def _count(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return exposition.count(str(value))


def _quoted(query: str) -> str:
    return quote(query, safe="")


def _short(cause: Exception) -> str:
    if isinstance(cause, KeyError):
        return f"{cause.args[0]!r} is missing"
    return str(cause)[:200] or type(cause).__name__
