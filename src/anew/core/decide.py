"""`decide`: from one reading of everything to the next steps. Pure and total.

Rules

1. What is committed comes before what it permits: a step that shifts traffic stands behind the commit that says so.
2. The edge is told first: a group gets weight only with a ready instance, and loses instances only without weight.
3. Whatever the world looks like, there is an answer, and repeating the answers reaches a fixed point.
"""

from __future__ import annotations

from dataclasses import replace

from anew.core import aside, control, doors, machine, names, placement, retention, staffing, tasks, traffic
from anew.core.progress import Happening, is_at_hand, look
from anew.core.steps import Allot, Begin, Decision, Declare, Enter, Forget, Keep, Shift, Step, Sweep, Test
from anew.core.world import World
from anew.model import Declaration, Policy, Rollout


def decide(world: World) -> Decision:
    """Return the next steps towards the wish, or when to look again, and why; same world, same decision."""
    rollout = world.rollout
    if rollout is None:
        begun = _begin(world)
        if begun:
            return Decision(begun, reason=_reason(begun))
        return _tend(world, Happening(None, _idle(world)))
    happening = look(world, rollout)
    if happening.event is not None:
        steps = _move(world, rollout, happening)
        return Decision(steps, reason=happening.reason)
    return _tend(world, happening)


def _begin(world: World) -> tuple[Step, ...]:
    if world.wish == world.serving or world.wish not in world.generations:
        return ()
    kind = "rollback" if world.wish_kind == "rollback" else "rollout"
    is_at_once = kind == "rollback" and is_at_hand(world, world.wish) and _is_pinned(world, _rollback(world))
    if _has_foreign_traffic(world, world.wish if is_at_once else 0):
        return ()
    reason = f"g{world.wish} is wanted" + (f", g{world.serving} serves" if world.serving else "")
    if is_at_once:
        wanted = traffic.wanted_weights(world.members(world.serving), world.members(world.wish), "full")
        begin = Begin("rollback", world.serving, world.wish, f"{reason}, and g{world.wish} is warm", "full")
        return (begin, Shift(traffic.guarded(world, wanted))) if world.edge.is_up else (begin,)
    return (Begin("rollback" if kind == "rollback" else "rollout", world.serving, world.wish, reason),)


def _has_foreign_traffic(world: World, back: int) -> bool:
    """Say whether something else than what serves has traffic that can be taken away, which comes first.

    What a control had belongs to the generation `back`, if that is what gets all of the traffic now.
    """
    own, theirs = ({m.group for m in world.members(number).values()} for number in (world.serving, back))
    is_foreign = any(group not in own and names.original(group) not in theirs for group in world.weighted)
    return is_foreign and bool(_shift(world))


def _rollback(world: World) -> Rollout:
    return Rollout(0, "rollback", world.serving, world.wish, "full", world.now)


def _is_pinned(world: World, rollout: Rollout) -> bool:
    """Say whether callers reach already whom they shall reach in `rollout`: traffic is only moved where they do."""
    declared = world.edge.declaration
    wanted = doors.of_callers(traffic.declaration(replace(world, rollout=rollout)))
    return doors.of_callers(declared) == wanted if declared else not wanted


def _move(world: World, rollout: Rollout, happening: Happening) -> tuple[Step, ...]:
    """Commit the event, and let the shift that it permits follow at once."""
    assert happening.event is not None  # noqa: S101 - the caller has looked
    phase = machine.follow(rollout.phase, happening.event)
    stage = rollout.stage + 1 if (rollout.phase, phase) == ("stage", "stage") else 0
    enter = Enter(rollout.id, rollout.version, phase, stage, happening.reason)
    if phase in {"stage", "full", "rolling back"}:
        moved = replace(rollout, phase=phase, stage=stage)
        wanted = traffic.guarded(world, control.weights(world, moved))
        may_shift = world.edge.is_up and _is_pinned(world, rollout) and not traffic.is_set(world, wanted)
        return (enter, Shift(wanted)) if may_shift else (enter,)
    if phase == "done":
        return (enter, *_begin_after(world, rollout))
    return (enter,)


def _begin_after(world: World, rollout: Rollout) -> tuple[Step, ...]:
    """A wish that ends a warm window begins in the same breath, so that going back costs no further round."""
    return _begin(replace(world, rollout=None)) if world.wish != rollout.new else ()


def _tend(world: World, happening: Happening) -> Decision:
    """Heal, tell the edge, move traffic where it belongs, and clear away: all that needs no event."""
    told = _declare(world)
    shifted = () if told else _shift(world)
    wants_test = happening.wants_test and world.rollout is not None
    tests = (Test(world.rollout.new),) if wants_test and world.rollout is not None else ()
    steps, waits = _place(world)
    work = tasks.look(world, {step.group for step in steps if isinstance(step, Allot)})
    steps += work.steps
    waits += work.waits
    ended = _forget(world) if not (told or shifted or steps) else ()
    tainted = aside.touched(world)
    swept = tuple(Sweep(name) for name in world.strays)
    every = (*tainted, *told, *shifted, *tests, *steps, *ended, *swept)
    if happening.until is not None:
        waits.append(happening.until)
    later = [at for at in waits if at > world.now]
    if not every and waits and not later:
        later = [world.now + 1.0]  # something must change by itself: look again soon
    reason = happening.reason if world.rollout is not None or not every else _reason(every)
    return Decision(every, min(later, default=None) if not every else None, reason)


def _declare(world: World) -> tuple[Step, ...]:
    wanted = traffic.declaration(world)
    if not wanted.groups:
        is_gone = not world.edge.is_up and world.edge.declaration is None
        empty = Declaration(wanted.host, wanted.port, wanted.preview_port)
        return () if is_gone else (Declare(empty),)
    if world.edge.is_up and world.edge.declaration == wanted:
        return ()
    return (Declare(wanted),)


def _shift(world: World) -> tuple[Step, ...]:
    if not world.edge.is_up:
        return ()
    rollout = world.rollout
    if rollout is None:
        members = world.members(world.serving)
        wanted = traffic.wanted_weights(members, members, "done")
    else:
        wanted = control.weights(world, rollout)
    wanted = traffic.guarded(world, wanted)
    return () if traffic.is_set(world, wanted) else (Shift(wanted),)


def _place(world: World) -> tuple[list[Step], list[float]]:
    sizes, called = staffing.sizes(world), doors.called(world)
    steps: list[Step] = []
    waits: list[float] = []
    for name in sorted(world.groups):
        policy = _policy(world, name)
        if sizes.get(name):
            placed = placement.place(world, name, sizes[name], policy)
        elif name in world.weighted and not staffing.must_yield(world, name):
            continue  # the shift comes first
        elif name not in sizes and name in called:
            continue  # so do its callers
        else:
            placed = placement.clear(world, name, policy)
        steps += placed.steps
        waits += placed.waits
    waits += [g.warm_until for n, g in world.generations.items() if n != world.serving and g.warm_until > world.now]
    return steps, waits


def _policy(world: World, name: str) -> Policy:
    """Return the policy of a group: the newest generation that maps to it says it."""
    numbers = world.homes.get(name, ())
    member = world.members(numbers[-1]).get(world.groups[name].group.service) if numbers else None
    return member.policy if member else Policy()


def _forget(world: World) -> tuple[Step, ...]:
    if world.rollout is not None and world.rollout.phase != "warm":
        return ()
    retired = retention.expired(world)
    kept = {m.group for n, g in world.generations.items() if not g.is_retired for m in g.members}
    kept |= {m.group for m in control.wanted(world)}
    forgotten = tuple(Forget(name) for name in sorted(world.groups) if name not in kept and name not in world.peopled)
    return (*((Keep(retired),) if retired else ()), *forgotten)


def _idle(world: World) -> str:
    if not world.serving:
        return "nothing serves yet"
    warm = [g.name for n, g in sorted(world.generations.items()) if n != world.serving and g.warm_until > world.now]
    return f"g{world.serving} serves" + (f"; {', '.join(warm)} warm" if warm else "")


def _reason(steps: tuple[Step, ...]) -> str:
    first = steps[0].describe()
    return first if len(steps) == 1 else f"{first} (and {len(steps) - 1} more)"
