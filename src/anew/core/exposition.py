"""Counts as programs write them for Prometheus: lines of a name, labels that nobody asks for here, and a number.

Source  Prometheus, Exposition formats, text-based format. Times and comments are left out; what has labels is summed.
"""

from __future__ import annotations

import math
import re

from anew.model import Counts

MOST = 2.0**53  # beyond it a float misses numbers
_LINE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?[ \t]+(?P<value>[^ \t]+)(?:[ \t]+-?[0-9]+)?[ \t]*\Z")


def counts(text: str, good: str, bad: str) -> Counts:
    r"""Return what was counted as good and as bad until now, by the names of both counts.

    Raises  ValueError, with a sentence, for a text that is not whole, lacks a count, or has one that is no number.

    >>> found = counts('jobs_total{kind="a"} 7\njobs_total{kind="b"} 2\nfailed_total 1\n', "jobs_total", "failed_total")
    >>> found.requests, found.failures
    (10, 1)
    """
    if not text.endswith("\n"):
        raise ValueError("it is empty, or its last line has no end")
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match is not None and match["name"] in {good, bad}:
            found[match["name"]] = found.get(match["name"], 0.0) + count(match["value"])
    missing = [name for name in (good, bad) if name not in found]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}")
    return Counts(int(found[good]) + int(found[bad]), int(found[bad]))


def count(text: str) -> float:
    """Return a number that can be a count.

    Raises  ValueError, with a sentence, for any other text.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST:
        raise ValueError(f"{text[:40]!r} is no count")
    return value
