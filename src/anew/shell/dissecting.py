"""What is kept of an instance that died, failed or was touched, besides its end and its log: its order and its files.

It is written into the ledger before the instance is disposed of, because nobody can tell afterwards. A decision that is
carried out twice writes it twice; the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from anew.errors import AnewError
from anew.model import Bytes, Limits, Order
from anew.ports import Inspection
from anew.shell.journal import Journal
from anew.views import Event, Ordered

MOST = 200  # files that are named
ORDERED, CHANGED, MORE, PEAK = "ordered", "changed", "more_changed", "peak_memory"  # the facts of an event


@dataclass(frozen=True, slots=True)
class Found:
    """What was kept of one instance."""

    ordered: Ordered
    changed: tuple[str, ...]
    more: int
    peak_memory: Bytes


def dissect(journal: Journal, inspection: Inspection, order: Order) -> None:
    """Write down what an instance was given and which of its files were changed; where nobody can tell, why."""
    changed: tuple[str, ...] = ()
    peak, trouble = 0, ""
    try:
        peak = inspection.peak_memory(order.name)
        changed = inspection.changes(order.name)
    except AnewError as error:
        trouble = error.what
    facts = {
        "instance": order.name,
        "group": order.group,
        ORDERED: msgspec.json.encode(ordered(order)).decode(),
        CHANGED: "\n".join(line.replace("\n", "?") for line in changed[:MOST]),
        MORE: str(max(0, len(changed) - MOST)),
        PEAK: str(peak),
    }
    files = "its files could not be looked at: " + trouble if trouble else f"{len(changed) or 'no'} changed files"
    journal.ledger.note(order.scope, "note", f"autopsy of {order.name}: {files}", facts)


def ordered(order: Order) -> Ordered:
    """Return an order as it is shown."""
    return Ordered(
        image=order.image.digest,
        command=order.command,
        environment=dict(order.environment),
        port=order.port,
        writable=order.writable,
        volumes={one.name: one.path for one in order.volumes},
        secrets=tuple(f"{pin.name} v{pin.version}" for pin in order.secrets),
        limits=limits(order.limits),
    )


def limits(said: Limits) -> Mapping[str, float]:
    """Return the limits that there are."""
    every = {"memory": said.memory, "cpu": said.cpu, "pids": said.pids}
    return {name: float(value) for name, value in every.items() if value}


def found(events: Iterable[Event]) -> dict[str, Found]:
    """Return what was kept of each instance, by name; `events` are oldest first, and the last one counts."""
    return {e.facts["instance"]: _of(e.facts) for e in events if ORDERED in e.facts}


def _of(facts: Mapping[str, str]) -> Found:
    lines = tuple(facts[CHANGED].splitlines()) if facts[CHANGED] else ()
    return Found(msgspec.json.decode(facts[ORDERED], type=Ordered), lines, int(facts[MORE]), int(facts[PEAK]))
