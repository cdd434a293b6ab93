"""The invariants that services of several kinds, and services that need each other, add to those of `invariants`."""

from __future__ import annotations

from anew.core import aside
from anew.core.names import original
from anew.core.preview import assume
from anew.core.retention import needed
from anew.core.steps import Allot, Begin, Declare, Drain, Enter, Launch, Shift, Step, Stop
from anew.core.tasks import key_before
from anew.core.world import World
from anew.model import Member
from anew.testing.looks import (
    Invariant,
    allotment,
    alone,
    fresh,
    is_handed_over,
    living,
    now,
    serving,
    weighted,
    weights,
)


def reached(world: World) -> dict[tuple[str, str], frozenset[str]]:
    """Return whom each caller can reach through its doors now, by the edge alone: (caller, service) → groups."""
    declared = world.edge.declaration
    out = {}
    for one in declared.listeners if declared and world.edge.is_up else ():
        caller = one.name.partition(">")[0]
        if caller not in {"preview", "public"} and caller in world.peopled:
            has = weights(world).get(one.service, {})
            out[caller, one.service] = frozenset([one.group] if one.group else has)
    return out


def skewed(world: World) -> frozenset[tuple[str, str]]:
    """Return who reaches a callee that it was never released with, or that of the other generation of a rollout."""
    return frozenset(
        (caller, callee)
        for (caller, service), callees in reached(world).items()
        for callee in callees
        if not _may_reach(world, caller, service, callee)
    )


def is_current(world: World, caller: str) -> bool:
    """Say whether a caller belongs to a generation between which traffic passes, or to the one that serves."""
    return any(m.group == original(caller) for n in now(world) for m in world.members(n).values())


def _may_reach(world: World, caller: str, service: str, callee: str) -> bool:
    caller, callee = original(caller), original(callee)
    homes = [n for n, g in world.generations.items() if any(m.group == caller for m in g.members)]
    current = [n for n in now(world) if n in homes]
    # One that was warm and is wanted again is told of its new callee before any traffic.
    is_moving = world.rollout is not None and world.rollout.phase in {"prepare", "rolling back"}
    known = homes if is_moving or not current else current
    may = {m.group for n in known if (m := world.members(n).get(service))}
    if len(current) > 1 and len(may) > 1:
        return True  # both generations share it, and it follows the weights
    beside = {m.group for n in now(world) if (m := world.members(n).get(service))}
    is_one_at_a_time = not (may | beside).isdisjoint(alone(world)) and bool(may - beside or len(beside) > 1)
    # What is only warm stands without its callee after that has been handed over; it has no traffic of its own.
    is_left_behind = not current and not any(world.ready(group) for group in may)
    return callee in may or is_one_at_a_time or is_left_behind or _is_wanted_again(world, homes)


def _lets_generations_meet(world: World, step: Step) -> str:
    """Judge what a step changes: a door that led nowhere good before is not this step's."""
    is_over = isinstance(step, Enter) and step.phase in {"done", "rolled back"}
    if is_over or not isinstance(step, Shift | Declare | Launch | Begin | Enter):
        return ""
    after = assume(world, step)
    worse = sorted(skewed(after) - skewed(world))
    if isinstance(step, Begin | Enter):  # it moves nobody, and of who is left behind nothing is promised before
        worse = [pair for pair in worse if is_current(after, pair[0])]
    return "; ".join(f"{caller} reaches {callee}" for caller, callee in worse)


def _is_wanted_again(world: World, homes: list[int]) -> bool:
    """Say whether a caller from before is to serve again: it has no traffic until it was told of its new callees."""
    rollout = world.rollout
    return rollout is not None and rollout.phase == "prepare" and rollout.old not in homes and len(homes) > 1


def _leaves_callers_alone(world: World, step: Step) -> str:
    if not isinstance(step, Drain | Stop):
        return ""
    one = allotment(world, step.name)
    if one is None or one.task or any(m.group == one.group for n in needed(world) for m in world.members(n).values()):
        return ""
    if is_handed_over(world, one.group):
        return ""
    for (caller, _), callees in reached(world).items():
        if callees == {one.group} and caller != one.group and not world.apart.issuperset(living(world, caller)):
            return f"{caller} still runs, and reaches only {one.group}"
    return ""


def _starts_workers_early(world: World, step: Step) -> str:
    rollout = world.rollout
    if rollout is None or not rollout.old or rollout.phase not in {"prepare", "preview"}:
        return ""
    if not isinstance(step, Allot | Launch) or (isinstance(step, Allot) and step.task):
        return ""
    one = allotment(world, step.name) if isinstance(step, Launch) else None
    if one is not None and one.task:
        return ""
    if step.group in {m.group for m in fresh(world) if m.kind == "worker"}:
        return f"{step.group} works before stage 1"
    return ""


def _takes_the_last_worker(world: World, step: Step) -> str:
    rollout = world.rollout
    if rollout is None or rollout.phase not in {"prepare", "preview", "stage"} or not isinstance(step, Drain):
        return ""
    one = allotment(world, step.name)
    workers = {m.group for m in world.members(rollout.old).values() if m.kind == "worker" and m.size}
    if one is None or one.task or one.group not in workers or not world.is_ready(step.name):
        return ""
    if one.group in alone(world) and aside.must_go(world, one):
        return ""  # its successor can only start when it has ended
    others = [a for a in world.by_group[one.group] if not a.draining and a.name != step.name]
    return "" if others else f"{step.name} is the last of {one.group} before `full`"


def _lets_two_run_that_must_be_alone(world: World, step: Step) -> str:
    if not isinstance(step, Launch) or step.group not in world.groups:
        return ""
    one = allotment(world, step.name)
    if one is None or one.task:
        return ""
    service = world.groups[step.group].group.service
    lonely = alone(world)
    for name, state in world.groups.items():
        is_pair = state.group.service == service and name != step.group
        if is_pair and (name in lonely or step.group in lonely) and living(world, name):
            return f"{step.group} starts while {name} runs"
    sizes = [m.size for g in world.generations.values() for m in g.members if m.group == step.group]
    if step.group in lonely and len(living(world, step.group)) >= max(sizes, default=1):
        return f"{step.name} is one too many of {step.group}"
    return ""


def undone(world: World, member: Member) -> bool:
    """Say whether commands that must run before a fresh member of the rollout have not ended well."""
    rollout = world.rollout
    if rollout is None or rollout.kind == "rollback":
        return False
    keys = [key_before(rollout.new, member.service, n) for n, _ in enumerate(member.before)]
    return not all(key in world.tasks and world.tasks[key].is_passed for key in keys)


def _runs_what_comes_before_otherwise(world: World, step: Step) -> str:
    match step:
        case Allot(_, _, task) if task.startswith("before "):
            if task in world.tasks:
                return f"{task} is run a second time"
            if not world.rollout or not task.startswith(f"before g{world.rollout.new} "):
                return f"{task} does not belong to the rollout"
        case Launch(name, group):
            one = allotment(world, name)
            others = {m.group for n in needed(world) if world.rollout and n != world.rollout.new
                      for m in world.members(n).values()}  # fmt: skip
            for member in fresh(world):
                is_own = member.group == group and group not in others
                if is_own and one is not None and not one.task and undone(world, member):
                    return f"{name} starts before what must run before it has ended"
        case Enter(_, _, "preview" | "stage" | "full") if world.rollout and world.rollout.phase == "prepare":
            left = [m.group for m in fresh(world) if undone(world, m)]
            if left:
                return f"what must run before {', '.join(left)} has not ended well"
    return ""


def _breaks_the_schedule(world: World, step: Step) -> str:
    if not isinstance(step, Allot) or not step.task.startswith("schedule "):
        return ""
    if step.task in world.running:
        return f"{step.task} is under way"
    if step.group not in {m.group for m in world.members(world.serving).values()}:
        return f"{step.group} does not serve"
    if step.task in world.tasks and world.tasks[step.task].due >= step.due:
        return f"{step.task} was run for that time"
    return ""


def _begins_before_the_other_is_back(world: World, step: Step) -> str:
    rollout = world.rollout
    match step:
        case Begin() if rollout is None and world.edge.is_up:
            own = world.members(world.serving)
            is_at_once = step.kind == "rollback" and step.phase == "full"
            back = {m.group for m in world.members(step.new).values()} if is_at_once else set()
            for service, groups in weights(world).items():
                mine = own[service].group if service in own else ""
                left = [g for g in groups if g != mine and original(g) not in back]
                if left and (not mine or serving(world, mine)):
                    return f"{', '.join(left)} of {service} still has traffic"
        case Enter(_, _, "rolled back") if rollout is not None:
            old = world.members(rollout.old)
            left = [
                m.group
                for m in fresh(world)
                if m.group in weighted(world) and (m.service not in old or serving(world, old[m.service].group))
            ]
            return f"{', '.join(left)} still has traffic" if left else ""
        case Enter(_, _, "rolling back") if rollout is not None and world.wish != rollout.new:
            before = world.generations[rollout.new].outcome
            after = assume(world, step).generations[rollout.new].outcome
            if after == "rolled back" != before or (before == "promoted" != after):
                return f"g{rollout.new} was overtaken, and is remembered as {after!r}"
    return ""


SKEW = Invariant(
    "skew", "a caller of one generation of a rollout never reaches a callee of the other", _lets_generations_meet
)
CALLERS = Invariant("callers", "callers leave before their callees", _leaves_callers_alone)
EARLY = Invariant("early", "no worker of the new generation runs before stage 1", _starts_workers_early)
WORKING = Invariant("working", "the old generation keeps at least one worker until `full`", _takes_the_last_worker)
ALONE = Invariant("alone", "what may exist once never exists twice", _lets_two_run_that_must_be_alone)
BEFORE = Invariant(
    "before",
    "a command of `before` runs at most once per generation, ends before the group starts, and its failure stops "
    "the rollout before any traffic",
    _runs_what_comes_before_otherwise,
)
SCHEDULE = Invariant(
    "schedule", "scheduled runs never overlap, and belong to the generation that serves", _breaks_the_schedule
)
SUPERSEDED = Invariant(
    "superseded",
    "the weight that can be taken back is confirmed to be 0 before the next rollout begins, and what was overtaken did "
    "not fail",
    _begins_before_the_other_is_back,
)

INVARIANTS: tuple[Invariant, ...] = (SKEW, CALLERS, EARLY, WORKING, ALONE, BEFORE, SCHEDULE, SUPERSEDED)
