"""What a declaration says that is changed while HAProxy serves: entries of maps, by the name of the map. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from anew.edge.judged import SLOW
from anew.edge.listeners import PINS, pins, with_pins
from anew.model import Declaration

Entries = Mapping[str, str]
NAMES = (PINS, SLOW)


def maps(declaration: Declaration) -> dict[str, dict[str, str]]:
    """Return what each map shall hold."""
    known = _judged(declaration)
    slow = {service: str(limit) for service, limit in declaration.slow if limit and service in known}
    return {PINS: pins(declaration), SLOW: slow}


def lines(entries: Entries) -> list[str]:
    """Return the entries of a map as HAProxy reads them.

    >>> lines({"web-g43>api": "api-g43"})
    ['web-g43>api api-g43']
    """
    return [f"{key} {value}" for key, value in sorted(entries.items())]


def text(entries: Entries) -> str:
    """Return a map as a file."""
    return "".join(f"{line}\n" for line in lines(entries))


def seen(declaration: Declaration, has: Mapping[str, Entries]) -> Declaration:
    """Return the declaration with what the maps really hold, and nothing else of what they could."""
    known, slow = _judged(declaration), has[SLOW]
    limits = {s: int(slow.get(s, 0)) if s in known else limit for s, limit in declaration.slow}
    more = {service: int(limit) for service, limit in sorted(slow.items()) if service not in limits}
    return replace(with_pins(declaration, has[PINS]), slow=(*limits.items(), *more.items()))


def _judged(declaration: Declaration) -> frozenset[str]:
    """Return the services that have groups whose answers are judged; others have no entries."""
    return frozenset(group.service for group in declaration.groups if not group.is_tcp)
