"""What a run would do: the same `decide`, folded over assumed success until nothing is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from anew.core import names
from anew.core.consequences import Change, consequences
from anew.core.control import groups_beside, wanted
from anew.core.decide import decide
from anew.core.machine import ENDS
from anew.core.measures import keys
from anew.core.steps import (
    Allot,
    Begin,
    Declare,
    Drain,
    Enter,
    Forget,
    Keep,
    Launch,
    Retire,
    Shift,
    Step,
    Stop,
    Sweep,
    Taint,
    Test,
)
from anew.core.verdict import PLENTY
from anew.core.world import PASSED, Allotment, GroupState, Seen, TaskState, World
from anew.errors import Bug
from anew.model import EdgeReading, Generation, Judge, Policy, Rollout

ROUNDS = 10_000


def preview(world: World, *, until_warm: bool = True) -> list[Step]:
    """Return every step until nothing is left, assuming that all succeeds and every verdict passes.

    `until_warm` stops where the new generation has all the traffic: what follows happens when the warm window is over.
    Raises  Bug if no fixed point is reached.
    """
    steps: list[Step] = []
    world = replace(_contented(ageless(world)), due={})  # what the clock brings goes on for ever
    for _ in range(ROUNDS):
        if until_warm and world.rollout is not None and world.rollout.phase == "warm":
            return steps
        decision = decide(world)
        for step in decision.steps:
            steps.append(step)
            world = assume(world, step)
        if not decision.steps:
            if decision.wait_until is None:
                return steps
            world = wait(world, decision.wait_until)
    raise Bug(f"no fixed point within {ROUNDS} rounds", facts={"last": steps[-1].describe() if steps else ""})


def wait(world: World, until: float) -> World:
    """Return the world at `until`, if by then everything that runs became ready and good traffic came.

    Who is too old by now is reborn; but that others grow old goes on for ever, and is left out.
    """
    seen = {n: replace(s, is_ready=True, since=world.now) if s.is_alive and not s.is_ready else s
            for n, s in world.seen.items()}  # fmt: skip
    for one in world.running.values():
        if one.name in seen:
            seen[one.name] = Seen(is_alive=False, is_ready=False, ended=PASSED)
    members = [member for one in world.generations.values() for member in one.members]
    counted = [(member, member.group) for member in members]
    beside = [one for one in wanted(world) if one.group in world.groups]
    counted += [(member, one.group) for one in beside for member in members if member.service == one.service]
    samples = {key: (PLENTY,) for member, group in counted for key in keys(member, group)}
    return replace(ageless(world), now=max(world.now, until), seen=seen, samples=samples, recent={})


def ageless(world: World) -> World:
    """Return `world` if instances may grow as old as they like."""
    generations = {
        number: replace(one, members=tuple(replace(m, max_age=0.0) for m in one.members))
        for number, one in world.generations.items()
    }
    return replace(world, generations=generations)


def _contented(world: World) -> World:
    """Return `world` if every verdict can pass by good requests alone, without any bad ones to compare."""

    def eased(policy: Policy) -> Policy:
        least = Judge().acceptable
        own = tuple(
            one if one.acceptable is None else replace(one, acceptable=max(one.acceptable, least))
            for one in policy.criteria
        )
        judge = replace(policy.judge, acceptable=max(policy.judge.acceptable, least))
        return replace(policy, judge=judge, criteria=own)

    generations = {
        number: replace(one, members=tuple(replace(m, policy=eased(m.policy)) for m in one.members))
        for number, one in world.generations.items()
    }
    return replace(world, generations=generations)


def assume(world: World, step: Step) -> World:  # noqa: PLR0911 - one arm for each step
    """Return the world as it would be if `step` succeeded at once."""
    match step:
        case Begin() | Enter() | Test():
            return _assume_phase(world, step)
        case Allot():
            return _assume_allotted(world, step)
        case Launch(name):
            return _assume_launched(world, name)
        case Declare(declaration):
            if not declaration.groups:
                return replace(world, edge=EdgeReading(is_up=False))
            return replace(world, edge=replace(world.edge, is_up=True, declaration=declaration))
        case Shift(weights):
            return replace(world, edge=replace(world.edge, weights=weights))
        case Taint() | Drain() | Stop():
            return _assume_leaving(world, step)
        case Retire(name, outcome, is_death):
            return _assume_retired(world, name, outcome, is_death=is_death)
        case Forget(group):
            return replace(world, groups={n: g for n, g in world.groups.items() if n != group})
        case Sweep(name):
            return replace(world, strays=tuple(n for n in world.strays if n != name))
        case Keep(retired):
            return replace(world, generations=_changed(world, [Change(n, is_retired=True) for n in retired]))


def _assume_allotted(world: World, step: Allot) -> World:
    name = names.instance_name(world.scope, step.group, step.ordinal)
    state = world.groups[step.group]
    one = Allotment(name, step.group, step.ordinal, 0, task=step.task)
    return replace(
        world,
        groups={**world.groups, step.group: replace(state, next_ordinal=max(state.next_ordinal, step.ordinal + 1))},
        allotments=(*world.allotments, one),
        tasks={**world.tasks, step.task: TaskState(name, step.due)} if step.task else world.tasks,
    )


def _assume_launched(world: World, name: str) -> World:
    """What is launched is ready at once; a task has ended well at once."""
    is_task = any(one.name == name for one in world.running.values())
    ended = PASSED if is_task else ""
    seen = Seen(not is_task, not is_task, ended, since=world.now, started=world.now)
    return replace(world, seen={name: seen, **world.seen})


def _assume_leaving(world: World, step: Taint | Drain | Stop) -> World:
    if isinstance(step, Taint):
        tainted = tuple(replace(a, tainted=step.evidence) if a.name == step.name else a for a in world.allotments)
        group = next((a.group for a in world.allotments if a.name == step.name), "")
        is_leaving = world.environment.taint == "replace"
        groups = {
            n: _died(world, s, f"tainted: {step.evidence}") if n == group and is_leaving else s
            for n, s in world.groups.items()
        }
        return replace(world, allotments=tainted, groups=groups)
    if isinstance(step, Drain):
        marked = tuple(replace(a, draining=world.now) if a.name == step.name else a for a in world.allotments)
        return replace(world, allotments=marked)
    before = world.seen.get(step.name, Seen(is_alive=True, is_ready=False))
    ended = replace(before, is_alive=False, is_ready=False, ended="exit code 0")
    flying = {name: number for name, number in world.edge.in_flight.items() if name != step.name}
    return replace(world, seen={**world.seen, step.name: ended}, edge=replace(world.edge, in_flight=flying))


def _assume_retired(world: World, name: str, outcome: str, *, is_death: bool) -> World:
    gone = next((a for a in world.allotments if a.name == name), None)
    groups = dict(world.groups)
    if gone is not None and is_death and gone.group in groups:
        groups[gone.group] = _died(world, groups[gone.group], outcome)
    tasks = dict(world.tasks)
    if gone is not None and gone.task:
        tasks[gone.task] = replace(tasks[gone.task], outcome=outcome)
    return replace(
        world,
        groups=groups,
        tasks=tasks,
        allotments=tuple(a for a in world.allotments if a.name != name),
        seen={n: s for n, s in world.seen.items() if n != name},
    )


def _died(world: World, state: GroupState, outcome: str) -> GroupState:
    return replace(state, deaths=(*state.deaths, world.now)[-10:], outcome=outcome)


def _assume_phase(world: World, step: Begin | Enter | Test) -> World:
    match step:
        case Begin(kind, old, new, reason, phase):
            begun = Rollout(1, kind, old, new, phase, world.now, reason=reason, begun=world.now)
            after = replace(world, rollout=begun, samples={}, recent={})
            return replace(after, groups={**world.groups, **groups_beside(after)})
        case Test():
            rollout = replace(world.rollout, tested="passed") if world.rollout else None
            return replace(world, rollout=rollout)
        case Enter(_, version, phase, stage, reason):
            return _entered(world, Enter(step.rollout, version, phase, stage, reason))


def _entered(world: World, step: Enter) -> World:
    rollout = world.rollout
    if rollout is None:
        return world
    moved = replace(
        rollout, phase=step.phase, stage=step.stage, since=world.now, reason=step.reason, version=rollout.version + 1
    )
    also = consequences(world, moved)
    return replace(
        world,
        rollout=None if step.phase in ENDS else moved,
        serving=world.serving if also.serving is None else also.serving,
        wish=world.wish if also.wish is None else also.wish,
        generations=_changed(world, also.generations),
        samples={} if step.phase in ENDS else world.samples,  # evidence is that of all stages
        recent={},
        trouble="",
    )


def _changed(world: World, changes: Iterable[Change]) -> dict[int, Generation]:
    out = dict(world.generations)
    for change in changes:
        if change.number in out:
            out[change.number] = change.applied(out[change.number])
    return out
