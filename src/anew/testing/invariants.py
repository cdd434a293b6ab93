"""The invariants of the design that a single step can break, as checks of (world, step).

`breaches` checks the steps of one decision, each in the world that those before it leave behind. The property tests
call it on random worlds, the simulator on every decision of a run. Those that services of several kinds and services
that need each other add stand in `passages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from anew.core import aside
from anew.core.machine import TABLE
from anew.core.names import original
from anew.core.preview import assume
from anew.core.steps import Allot, Begin, Declare, Drain, Enter, Launch, Retire, Shift, Step, Stop
from anew.core.world import World
from anew.model import FULL, Member
from anew.testing import asides, passages
from anew.testing.looks import (
    AFTER_FULL,
    Breach,
    Invariant,
    allotment,
    beside,
    fresh,
    in_turn,
    is_handed_over,
    is_leaving,
    policy,
    served,
    serving,
    weighted,
    weights,
)


def breaches(world: World, steps: Iterable[Step], invariants: Iterable[Invariant] | None = None) -> Iterator[Breach]:
    """Yield what `steps` break, each checked in the world that the steps before it leave."""
    checks = INVARIANTS if invariants is None else tuple(invariants)
    read = world
    for step in steps:
        for one in checks:
            says = one.breach(read if one.is_seen else world, step)
            if says:
                yield Breach(one.name, step.describe(), says)
        world = assume(world, step)


# ---------------------------------------------------------------- the checks


def _takes_the_last_ready(world: World, step: Step) -> str:
    match step:
        case Shift(wanted):
            for service, has in weights(world).items():
                was = [g for g in has if serving(world, g)]
                will = [g for g, w in wanted.get(service, {}).items() if w and serving(world, g)]
                if was and not will and service in served(world):
                    return f"{service} had {was}, and has nothing ready in traffic"
        case Drain(name) | Stop(name):
            one = allotment(world, name)
            if one is None or one.group not in weighted(world) or not world.is_ready(name):
                return ""
            if is_handed_over(world, one.group) or (
                (one.draining or is_leaving(world, one)) and one.group in world.alone
            ):
                return ""  # its successor can only start when it has ended
            others = [n for n in serving(world, one.group) if n != name]
            if not others and world.ready(one.group) <= (not one.draining):
                return f"{name} is the last ready instance of {one.group}, which has traffic"
        case Declare():
            after = assume(world, step)
            for group in weighted(world):
                if is_handed_over(world, group) or group in world.alone:
                    continue
                if serving(world, group) and not serving(after, group):
                    return f"the edge is told of no ready instance of {group}, which has traffic"
    return ""


def _raises_what_is_not_ready(world: World, step: Step) -> str:
    if not isinstance(step, Shift):
        return ""
    for service, wanted in step.weights.items():
        for group, weight in wanted.items():
            if weight > world.weight(service, group) and not serving(world, group):
                return f"{group} is raised to {weight}, and has nothing ready"
    return ""


def _relaunches_what_was_tested(world: World, step: Step) -> str:
    rollout = world.rollout
    if rollout is None or rollout.phase == "rolling back" or not isinstance(step, Drain):
        return ""
    one = allotment(world, step.name)
    for member in fresh(world):
        if in_turn(world, member) and rollout.phase not in AFTER_FULL:
            continue  # its size is the weight of the stage
        if passages.undone(world, member):
            continue  # nothing of it may run yet, so nothing of it was tested
        if one and (aside.must_go(world, one) or (rollout.phase == "warm" and is_leaving(world, one))):
            continue  # it is not fit to be promoted, or was
        if one and one.group == member.group and world.is_ready(step.name) and world.ready(one.group) <= member.size:
            return f"{step.name} is ready, and one of the {member.size} that {one.group} needs"
    return ""


def _breaks_the_sum(world: World, step: Step) -> str:
    if not isinstance(step, Shift):
        return ""
    for service, wanted in step.weights.items():
        has = weights(world).get(service, {})
        if sum(wanted.values()) not in {0, FULL} or not all(0 <= w <= FULL for w in wanted.values()):
            return f"{service} gets {dict(wanted)}"
        for group, weight in wanted.items():
            state = world.groups.get(group)
            if weight and group not in has and (state is None or state.group.service != service):
                return f"{service} gets {group}, which is not one of its groups"
    return ""


def _gives_traffic_to_what_has_none(world: World, step: Step) -> str:
    """Zero weight means zero requests: only the groups of the generations in the phase may have any."""
    if not isinstance(step, Shift):
        return ""
    rollout = world.rollout
    if rollout is None:
        numbers = {world.serving}
    elif rollout.phase == "stage":
        numbers = {rollout.old, rollout.new}
    else:
        is_watched = any(m.policy.warm_control for m in world.members(rollout.new).values())
        is_after = rollout.phase in AFTER_FULL
        numbers = {rollout.new if is_after else rollout.old}
        numbers |= {rollout.old} if is_after and is_watched and rollout.kind == "rollout" else set()
    may = {m.group for n in numbers for m in world.members(n).values()} | beside(world)
    for service, wanted in step.weights.items():
        for group, weight in wanted.items():
            if weight > world.weight(service, group) and group not in may:
                return f"{group} gets {weight} in a phase in which it has no traffic"
    return ""


def _stops_what_serves(world: World, step: Step) -> str:
    if isinstance(step, Retire):
        seen = world.seen.get(step.name)
        return f"{step.name} is alive" if seen is not None and seen.is_alive else ""
    if not isinstance(step, Stop):
        return ""
    one = allotment(world, step.name)
    if one is None or not one.draining:
        return f"{step.name} was not committed to drain"
    if world.edge.is_up and world.told.get(step.name) is False:
        return f"the edge still sends requests to {step.name}"
    if not world.edge.is_up and one.group in weighted(world):
        return f"the edge does not answer, and {one.group} had traffic"
    over = world.now >= one.draining + policy(world.generations, one.group).drain
    if world.edge.in_flight.get(step.name, 0) and not over:
        return f"{step.name} has requests in flight, and its bound is not over"
    return ""


def _uses_an_instance_twice(world: World, step: Step) -> str:
    match step:
        case Launch(name):
            one = allotment(world, name)
            if one is None or one.draining:
                return f"{name} is not allotted, or is to go"
            if name in world.seen:
                return f"{name} was launched before"
        case Allot(group, ordinal):
            has = {a.ordinal for a in world.by_group.get(group, ())}
            if ordinal in has or ordinal < world.groups[group].next_ordinal:
                return f"ordinal {ordinal} of {group} was used before"
    return ""


def _goes_back_to_what_failed(world: World, step: Step) -> str:
    if isinstance(step, Enter) and step.phase == "rolling back" and world.rollout is not None:
        old = world.generations.get(world.rollout.old)
        if old is not None and old.outcome == "rolled back":
            return f"{old.name} failed"
        after = assume(world, step)
        before, failed = world.generations.get(world.rollout.new), after.generations.get(world.rollout.new)
        if world.rollout.asked == "abort" and before is not None and before.outcome == "promoted":
            if failed != replace(before, warm_until=0.0):
                return f"{before.name} was only taken back by hand, and is remembered as {failed}"
        elif failed is not None and world.wish == failed.number and failed.outcome != "rolled back":
            return f"{failed.name} fails, and is remembered as {failed.outcome!r}"
        if after.wish == world.rollout.new:
            return f"g{after.wish} fails, and is still wanted"
    return ""


def prepared(world: World) -> tuple[Member, ...]:
    """Return the members of the new generation that must be ready before any traffic."""
    members = world.members(world.rollout.new).values() if world.rollout else ()
    return tuple(m for m in members if not in_turn(world, m))


def _gives_traffic_before_all_are_prepared(world: World, step: Step) -> str:
    match step:
        case Begin("rollback", _, new, _, "full"):
            after = assume(world, step)
            short = [m for m in world.members(new).values() if world.ready(m.group) < m.size and not in_turn(after, m)]
        case Enter(_, _, "preview") if world.rollout:
            short = [m for m in prepared(world) if world.ready(m.group) < m.size]
        case Enter(_, _, "full") if world.rollout and world.rollout.phase == "prepare":
            short = [m for m in prepared(world) if world.ready(m.group) < m.size]
        case Enter(_, _, "stage" | "full"):
            short = [m for m in fresh(world) if m.size and not world.ready(m.group) and not in_turn(world, m)]
        case _:
            return ""
    return f"{', '.join(m.group for m in short)} not ready" if short else ""


def _takes_the_control(world: World, step: Step) -> str:
    rollout = world.rollout
    if rollout is None or rollout.phase != "stage" or not isinstance(step, Shift):
        return ""
    old, new = world.members(rollout.old), world.members(rollout.new)
    for service in old.keys() & new.keys():
        before, after = old[service], new[service]
        ours = [before.group, *(g for g in beside(world) if original(g) == before.group)]
        wanted = step.weights.get(service, {})
        left = sum(wanted.get(group, 0) for group in ours)
        least = min(after.policy.control, sum(world.weight(service, group) for group in ours))
        if before.group != after.group and left < least:
            return f"{before.group} keeps {left}, and the control is {after.policy.control}"
        if any(wanted.get(group) for group in ours[1:]) and not wanted.get(before.group):
            return f"{before.group} keeps nothing beside its baseline"
    return ""


def _leaves_the_machine(world: World, step: Step) -> str:
    rollout = world.rollout
    match step:
        case Begin():
            if rollout is not None:
                return f"rollout {rollout.id} is under way"
        case Enter(number, version, phase):
            if rollout is None or (number, version) != (rollout.id, rollout.version):
                return "it is not the rollout that was seen"
            if phase not in {after for (before, _), after in TABLE.items() if before == rollout.phase}:
                return f"there is no row from {rollout.phase} to {phase}"
            is_back = phase == "rolling back" and rollout.phase in AFTER_FULL
            if is_back and rollout.kind == "rollback":
                return "it rolls a rollback back"
    return ""


LAST_READY = Invariant(
    "last ready",
    "no step removes or unweights a service's last ready instance while another choice exists",
    _takes_the_last_ready,
)
RAISED = Invariant("raised", "no step raises the weight of a group with no ready instance", _raises_what_is_not_ready)
TESTED = Invariant("tested", "no step relaunches for promotion what was tested", _relaunches_what_was_tested)
SUMS = Invariant("sums", "weights of a service sum to 1000, or it has none", _breaks_the_sum)
ZERO = Invariant("zero", "zero weight means zero requests", _gives_traffic_to_what_has_none)
DRAINED = Invariant(
    "drained",
    "traffic moved away is confirmed by the edge, and drained, before an instance is stopped",
    _stops_what_serves,
    is_seen=True,
)
IN_PLACE = Invariant(
    "in place",
    "no instance is modified or restarted in place: a dead one is replaced under a new ordinal",
    _uses_an_instance_twice,
)
WAY_BACK = Invariant("way back", "a generation that failed is never chosen as the way back", _goes_back_to_what_failed)
TOGETHER = Invariant("together", "all are prepared before any gets traffic", _gives_traffic_before_all_are_prepared)
CONTROL = Invariant("control", "a judged stage leaves the old group at least its control", _takes_the_control)
MACHINE = Invariant(
    "machine", "a rollout moves along the table, and nothing rolls a rollback back", _leaves_the_machine
)

INVARIANTS: tuple[Invariant, ...] = (
    LAST_READY,
    RAISED,
    TESTED,
    SUMS,
    ZERO,
    DRAINED,
    IN_PLACE,
    WAY_BACK,
    TOGETHER,
    CONTROL,
    MACHINE,
    *passages.INVARIANTS,
    *asides.INVARIANTS,
)
SKEW, CALLERS, EARLY, WORKING, ALONE, BEFORE, SCHEDULE, SUPERSEDED = passages.INVARIANTS
TOUCHED, GAP, HELD = asides.INVARIANTS
