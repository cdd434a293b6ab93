"""What becomes of a stage whose time (`at_most`) is over while its verdict is still undecided.

Rules

1. A verdict that fails takes the rollout back at once, and one that passes lets it go on, whatever is said here.
2. `promote` goes on, for what is undecided is at least healthy; `rollback` goes back.
3. `extend` waits on for evidence, `TIMES` times its time in all, and then goes back.
4. `ask` waits for somebody to promote it or to take it back, for `ANSWER`, and then goes back.
5. Services move together: the stage goes on once nobody holds it, and goes back as soon as one of them must.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from anew.model import Environment, OnUndecided, Policy, Seconds

TIMES = 10  # a stage that is extended lasts so many times its `at_most` in all
ANSWER: Seconds = 86_400.0  # somebody who is asked may take so long
LOCAL = "local"  # the environment of whoever writes the program: there is hardly any traffic, so hardly any evidence
_LEFT: Mapping[OnUndecided, str] = MappingProxyType(
    {
        "extend": f"still undecided after {TIMES} times its time",
        "ask": "undecided, and nobody answered",
        "rollback": "undecided when its time was over",
    }
)


@dataclass(frozen=True, slots=True)
class Overtime:
    """How a stage goes on after its time; `until` (None: nobody holds it) is when it goes back, if it still waits."""

    says: str
    until: float | None = None
    is_over: bool = False  # it goes back now


def chosen(policy: Policy, environment: Environment) -> OnUndecided:
    """Return what holds for a service: its own word, or its environment's, or what is usual there.

    >>> chosen(Policy(), Environment("local")), chosen(Policy(), Environment("production"))
    ('promote', 'extend')
    >>> chosen(Policy(), Environment("production", on_undecided="rollback"))
    'rollback'
    """
    usual: OnUndecided = "promote" if environment.name == LOCAL else "extend"
    return policy.on_undecided or environment.on_undecided or usual


def settled(policy: Policy, environment: Environment) -> Policy:
    """Return the policy of a service as a generation has it, which says what was left to the environment."""
    return replace(policy, on_undecided=chosen(policy, environment))


def overtime(policies: Sequence[Policy], environment: Environment, since: float, over: float, now: float) -> Overtime:
    """Say how a stage goes on that was entered at `since`, and whose time was over at `over`, not after `now`.

    `policies` are those of the services that are undecided.
    """
    ways = [(chosen(one, environment), one) for one in policies]
    ends = [(_end(way, one, since, over), way) for way, one in ways if way != "promote"]
    if not ends:
        return Overtime("undecided when its time was over, and it is healthy")
    until, way = min(ends)
    if now >= until:
        return Overtime(f"{_LEFT[way]}, so it goes back", until, is_over=True)
    if any(way == "ask" for _, way in ends):
        promote, rollback = (f"`anew {one} -e {environment.name}`" for one in ("promote", "rollback"))
        says = f"undecided, so you are asked: {promote} gives it all the traffic, {rollback} takes it back"
        return Overtime(f"{says}; without an answer it goes back after {_span(until - over)}", until)
    return Overtime(f"undecided, so it waits for more evidence, {_span(until - since)} in all at most", until)


def told(policy: Policy) -> str:
    """Say in one line what the stages of a service are, and what becomes of one that is undecided.

    >>> told(Policy((10, 500), 10.0, 60.0, "extend"))
    '1 %, 50 %; each 10 s to 60 s; if undecided then: extend it to 600 s at most, then roll back'
    """
    becomes = {
        "extend": f"extend it to {_span(TIMES * policy.at_most)} at most, then roll back",
        "promote": "promote what is healthy",
        "rollback": "roll back",
        "ask": f"ask, and roll back after {_span(ANSWER)} without an answer",
        "": "as is usual in its environment",
    }
    stages = ", ".join(f"{weight / 10:g} %" for weight in policy.stages)
    lasts = f"each {_span(policy.each)} to {_span(policy.at_most)}"
    return f"{stages}; {lasts}; if undecided then: {becomes[policy.on_undecided]}"


def _end(way: OnUndecided, policy: Policy, since: float, over: float) -> float:
    """Return when a stage that is held goes back."""
    match way:
        case "extend":
            return max(over, since + TIMES * policy.at_most)
        case "ask":
            return over + ANSWER
        case _:
            return over


def _span(seconds: Seconds) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 and seconds % 3600 == 0 else f"{seconds:g} s"
