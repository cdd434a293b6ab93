"""Walks: what becomes of a world when everything succeeds, round by round, up to its fixed point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from anew.core.decide import decide
from anew.core.preview import assume, wait
from anew.core.steps import Decision
from anew.core.world import World
from anew.errors import Bug

ROUNDS = 400


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a walk: the world that was decided on, and the decision."""

    world: World
    decision: Decision


def walk(world: World, *, rounds: int = ROUNDS) -> Iterator[Round]:
    """Yield each round; the last is the fixed point: no steps, and nothing to wait for.

    Raises  Bug if there is none within `rounds`.
    """
    for _ in range(rounds):
        decision = decide(world)
        yield Round(world, decision)
        if not decision.steps and decision.wait_until is None:
            return
        world = after(world, decision)
    raise Bug(f"no fixed point within {rounds} rounds", facts={"last": decide(world).reason})


def after(world: World, decision: Decision) -> World:
    """Return the world after one round: its steps taken, or, if there are none, its wait over."""
    for step in decision.steps:
        world = assume(world, step)
    if not decision.steps and decision.wait_until is not None:
        world = wait(world, decision.wait_until)
    return world


def fixed_point(world: World, *, rounds: int = ROUNDS) -> World:
    """Return the world in which nothing is left to do.

    Raises  Bug if there is none within `rounds`.
    """
    for one in walk(world, rounds=rounds):
        world = one.world
    return world
