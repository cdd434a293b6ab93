"""The machine of a rollout: ONE table. The diagram in the documents is drawn from it.

Rules

1. A rollout is in one phase; only a commit moves it, and only along a row of `TABLE`.
2. `decide` turns what it sees into an event; an event that has no row in a phase can't happen there.
3. Every phase in which something is waited for has a row for the end of that wait.
4. A rollback by hand skips preview and stages; once it is `full`, nobody looks for events that would take it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from anew.model import Phase

Event = Literal[
    "ready",  # all new groups are at full size, ready and known to the edge
    "passed",  # the gate of this phase or stage is open
    "last",  # the gate of the last stage is open
    "unjudged",  # there is nothing to compare with: no stages
    "promote",  # an operator skips the stages that remain
    "confirmed",  # the edge confirms that all traffic is on the new groups
    "over",  # the warm window is over, or another wish ended it
    "failed",  # a test, the verdict or the breaker is against the new generation
    "late",  # a bound is over
    "tainted",  # something touched an instance of a new group
    "died",  # instances of the new groups die again and again
    "lost",  # a new group has no ready instance left
    "abort",  # an operator takes it back
    "back",  # the edge confirms that no traffic is left on the new groups
]

BACK: tuple[Event, ...] = ("failed", "late", "tainted", "died", "lost", "abort")

_FORWARD: Mapping[tuple[Phase, Event], Phase] = {
    ("prepare", "ready"): "preview",
    ("prepare", "unjudged"): "full",
    ("preview", "passed"): "stage",
    ("preview", "unjudged"): "full",
    ("preview", "promote"): "full",
    ("stage", "passed"): "stage",
    ("stage", "last"): "full",
    ("stage", "promote"): "full",
    ("full", "confirmed"): "warm",
    ("warm", "over"): "done",
    ("rolling back", "back"): "rolled back",
}

_UNDER_WAY: tuple[Phase, ...] = ("prepare", "preview", "stage", "full", "warm")
_BACKWARD: Mapping[tuple[Phase, Event], Phase] = {
    (phase, event): "rolling back" for phase in _UNDER_WAY for event in BACK
}

TABLE: Mapping[tuple[Phase, Event], Phase] = MappingProxyType({**_FORWARD, **_BACKWARD})
ENDS: frozenset[Phase] = frozenset({"done", "rolled back"})
BEFORE_FULL: frozenset[Phase] = frozenset({"prepare", "preview", "stage"})


def follow(phase: Phase, event: Event) -> Phase:
    """Return the phase that `event` leads to.

    Raises  KeyError if the table has no such row.

    >>> follow("prepare", "ready")
    'preview'
    """
    return TABLE[phase, event]


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for the documents.

    >>> print(diagram().splitlines()[0])
    stateDiagram-v2
    """
    arrows: dict[tuple[str, str], list[str]] = {}
    for (phase, event), after in TABLE.items():
        arrows.setdefault((phase, after), []).append(event)
    lines = ["stateDiagram-v2", "  [*] --> prepare"]
    for (source, target), events in arrows.items():
        lines.append(f"  {_state(source)} --> {_state(target)}: {', '.join(events)}")
    lines += [f"  {_state(end)} --> [*]" for end in sorted(ENDS)]
    return "\n".join(lines)


def _state(phase: str) -> str:
    return phase.replace(" ", "_")
