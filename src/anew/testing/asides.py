"""The invariants of instances that leave though they live: touched ones, old ones, those that somebody asked for."""

from __future__ import annotations

from anew.core import staffing
from anew.core.steps import Drain, Enter, Step, Stop
from anew.core.world import World
from anew.testing.looks import Invariant, allotment, fresh


def _promotes_what_was_touched(world: World, step: Step) -> str:
    rollout = world.rollout
    if not isinstance(step, Enter) or step.phase not in {"preview", "stage", "full"} or rollout is None:
        return ""
    if rollout.kind == "rollback" or world.environment.taint != "replace":
        return ""
    for member in fresh(world):
        for one in world.by_group.get(member.group, ()):
            if one.tainted:
                return f"{one.name} is tainted: {one.tainted}"
    return ""


def _leaves_a_gap(world: World, step: Step) -> str:
    """Only what is tainted goes before its successor is ready, and what may exist once."""
    if not isinstance(step, Drain):
        return ""
    one = allotment(world, step.name)
    if one is None or one.task or one.draining or not world.is_ready(one.name) or one.group in world.turns:
        return ""
    is_tainted = one.tainted and world.environment.taint == "replace"
    size = staffing.sizes(world).get(one.group, 0)
    if is_tainted or one.group in world.alone or not (one.aside or size):
        return ""
    left = sum(1 for a in world.by_group[one.group] if a != one and not a.draining and world.is_ready(a.name))
    return f"{one.group} has {left} ready without {one.name}, and needs {size}" if left < size else ""


def _ends_what_is_kept(world: World, step: Step) -> str:
    if not isinstance(step, Stop) or not world.wish:
        return ""
    one = allotment(world, step.name)
    if one is None or not one.aside or one.hold <= world.now or one.group in world.alone | world.turns:
        return ""
    if one.group in world.groups and world.groups[one.group].group.seal.kind == "worker":
        return ""  # it would go on working
    return f"{one.name} is held until {one.hold:g}, and it is {world.now:g}"


TOUCHED = Invariant("touched", "what was touched is never promoted", _promotes_what_was_touched)
GAP = Invariant("gap", "what leaves though it is sound leaves no gap: its successor is ready first", _leaves_a_gap)
HELD = Invariant("held", "what somebody holds for inspection is not ended meanwhile", _ends_what_is_kept)

INVARIANTS: tuple[Invariant, ...] = (TOUCHED, GAP, HELD)
