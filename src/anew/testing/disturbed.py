"""Worlds in the middle of a life: an arbitrary one, some rounds later, to which something then happens.

Arbitrary worlds are mostly in disorder, so that the first thing to do is to tidy up; here the rest is in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hypothesis import strategies as st

from anew.core.world import Allotment, GroupState, Seen, World
from anew.model import FULL, EdgeReading, Sample
from anew.testing.walks import walk
from anew.testing.worlds import arbitrary

MOST_ROUNDS = 25
Happen = Callable[[World, str], World]  # what happens to a group


def worlds() -> st.SearchStrategy[World]:
    """Return worlds of both kinds: arbitrary, and in order but for what has just happened."""
    return st.one_of(arbitrary(), disturbed(), disturbed())


@st.composite
def disturbed(draw: st.DrawFn) -> World:
    """Return a world some rounds after an arbitrary one, to which up to three things happened since."""
    first = begun(draw(arbitrary()))
    rounds = [one.world for one in walk(_with_others_warm(first) if draw(st.integers(0, 3)) == 0 else first)]
    under_way = [one for one in rounds if one.rollout is not None]
    staged = [one for one in under_way if one.rollout is not None and one.rollout.phase == "stage"]
    choice = draw(st.integers(0, 4))
    among = (staged if choice < 2 else under_way if choice < 4 else rounds) or under_way or rounds
    world = among[draw(st.integers(0, MOST_ROUNDS)) % len(among)]
    happenings = [] if choice == 0 else draw(st.lists(st.sampled_from(HAPPENINGS), min_size=1, max_size=3))
    for happen in happenings:
        if world.groups:
            world = happen(world, draw(st.sampled_from(_by_weight(world))))
    return world


def begun(world: World) -> World:
    """Return `world` with a rollout under way, or wanted, and nothing that speaks against it."""
    rollout = world.rollout and replace(world.rollout, asked="", tested="passed", since=world.now)
    groups = {name: replace(state, deaths=()) for name, state in world.groups.items()}
    others = [n for n, g in world.generations.items() if n != world.serving and not g.is_retired]
    wish = rollout.new if rollout else max(others, default=world.serving)
    return replace(world, trouble="", samples={}, recent={}, rollout=rollout, groups=groups, wish=wish)


def _with_others_warm(world: World) -> World:
    """Let every generation that is kept be warm, for longer than a rollout takes."""
    rollout = world.rollout
    moving = {rollout.old, rollout.new} if rollout else {world.serving, world.wish}
    warm = {
        n: replace(g, outcome="promoted", warm_until=world.now + 5000.0)
        for n, g in world.generations.items()
        if n not in moving and not g.is_retired
    }
    return replace(world, generations={**world.generations, **warm})


def _by_weight(world: World) -> tuple[str, ...]:
    """Return the groups, those that have instances more than once: most happens to them."""
    busy = tuple(sorted(g for g in world.by_group if g in world.groups))
    return (*sorted(world.groups), *busy, *busy)


def _see(world: World, changed: Mapping[str, Seen]) -> World:
    return replace(world, seen={**world.seen, **changed})


def _dies(world: World, group: str) -> World:
    dead = Seen(is_alive=False, is_ready=False, ended="signal 9 (SIGKILL)", since=world.now)
    return _see(world, {a.name: dead for a in world.by_group.get(group, ()) if a.name in world.seen})


def _hangs(world: World, group: str) -> World:
    names = [a.name for a in world.by_group.get(group, ()) if world.is_ready(a.name)]
    return _see(world, {n: replace(world.seen[n], is_ready=False, since=world.now) for n in names})


def _first_hangs(world: World, group: str) -> World:
    names = [a.name for a in world.by_group.get(group, ()) if world.is_ready(a.name)][:1]
    return _see(world, {n: replace(world.seen[n], is_ready=False, since=world.now - 1e4) for n in names})


def _others_die(world: World, group: str) -> World:
    """Leave the first instance, which is draining, alone."""
    ones = world.by_group.get(group, ())[:1]
    if not ones or not world.is_ready(ones[0].name):
        return world
    kept = world.seen[ones[0].name]
    marked = tuple(replace(a, draining=world.now) if a == ones[0] else a for a in world.allotments)
    return replace(_see(_dies(world, group), {ones[0].name: kept}), allotments=marked)


def _others_die_late(world: World, group: str) -> World:
    """Leave the first instance alone, which is draining, and of which the edge knows it."""
    world = _others_die(world, group)
    told = world.edge.declaration
    if told is None:
        return world
    names = {a.name for a in world.by_group.get(group, ()) if a.draining}
    groups = tuple(
        replace(g, targets=tuple(replace(t, is_draining=t.is_draining or t.name in names) for t in g.targets))
        for g in told.groups
    )
    return replace(world, edge=replace(world.edge, declaration=replace(told, groups=groups)))


def _grows(world: World, group: str) -> World:
    """Have one more, ready instance, which the edge does not know yet."""
    state = world.groups[group]
    name = f"{world.scope.project}-{world.scope.environment}-{group}-{state.next_ordinal}"
    one = Allotment(name, group, state.next_ordinal, 30_000)
    groups: dict[str, GroupState] = {**world.groups, group: replace(state, next_ordinal=state.next_ordinal + 1)}
    ready = Seen(is_alive=True, is_ready=True, since=world.now)
    return _see(replace(world, groups=groups, allotments=(*world.allotments, one)), {name: ready})


def _is_forgotten(world: World, group: str) -> World:
    """Let the edge know nothing of the instances of a group."""
    told = world.edge.declaration
    if told is None:
        return world
    groups = tuple(replace(g, targets=()) if g.name == group else g for g in told.groups)
    return replace(world, edge=replace(world.edge, declaration=replace(told, groups=groups)))


def _weighs(world: World, group: str) -> World:
    """Have half of the traffic of its service, or all if no other group has any."""
    service = world.groups[group].group.service
    declared = {g.name for g in world.edge.declaration.groups} if world.edge.declaration else set()
    if group not in declared or not world.edge.is_up:
        return world
    others = [g for g, w in world.edge.weights.get(service, {}).items() if w and g != group]
    mine = {group: FULL // 2, others[0]: FULL // 2} if others else {group: FULL}
    return replace(world, edge=replace(world.edge, weights={**world.edge.weights, service: mine}))


def _is_busy(world: World, group: str) -> World:
    flying = {a.name: 2 for a in world.by_group.get(group, ()) if world.edge.is_up and world.is_ready(a.name)}
    return replace(world, edge=replace(world.edge, in_flight={**world.edge.in_flight, **flying}))


def _fails(world: World, group: str) -> World:
    bad, good = Sample(100, 100), Sample(100, 0)
    samples = {g: (bad if g == group else good,) for g in world.groups}
    return replace(world, samples=samples, recent={group: bad})


def _keeps_dying(world: World, group: str) -> World:
    state = replace(world.groups[group], deaths=(world.now,) * 3, outcome="died, exit code 1")
    return replace(world, groups={**world.groups, group: state})


def _is_touched(world: World, group: str) -> World:
    names = [a.name for a in world.by_group.get(group, ()) if a.name in world.seen][:1]
    return _see(world, {n: replace(world.seen[n], touched="sh (pid 4711) has entered from outside") for n in names})


def _is_tainted(world: World, group: str) -> World:
    ones = world.by_group.get(group, ())
    return _marked(world, {a.name: replace(a, tainted="sh (pid 4711) has entered from outside") for a in ones})


def _is_set_aside(world: World, group: str) -> World:
    ones = world.by_group.get(group, ())
    return _marked(world, {a.name: replace(a, aside="rebirth") for a in ones})


def _is_held(world: World, group: str) -> World:
    """Have its first instance held by somebody who looks into it, and drained."""
    ones = world.by_group.get(group, ())[:1]
    return _marked(world, {a.name: replace(a, aside="debug", hold=world.now + 60, draining=world.now) for a in ones})


def _ages(world: World, group: str) -> World:
    """Let what a group runs be older than it may be."""
    generations = {
        n: replace(g, members=tuple(replace(m, max_age=3.0) if m.group == group else m for m in g.members))
        for n, g in world.generations.items()
    }
    return replace(world, generations=generations)


def _marked(world: World, changed: Mapping[str, Allotment]) -> World:
    return replace(world, allotments=tuple(changed.get(a.name, a) for a in world.allotments))


def _edge_dies(world: World, _group: str) -> World:
    return replace(world, edge=EdgeReading(is_up=False))


def _edge_forgets(world: World, _group: str) -> World:
    return replace(world, edge=replace(world.edge, weights={}))


def _is_aborted(world: World, _group: str) -> World:
    return replace(world, rollout=world.rollout and replace(world.rollout, asked="abort"))


def _is_aborted_while_the_old_hangs(world: World, group: str) -> World:
    for number in (world.rollout.old,) if world.rollout else ():
        for member in world.members(number).values():
            world = _hangs(world, member.group)
    return _is_aborted(world, group)


def _is_promoted(world: World, _group: str) -> World:
    return replace(world, rollout=world.rollout and replace(world.rollout, asked="promote"))


def _is_unwanted(world: World, _group: str) -> World:
    """Want the generation before."""
    if world.rollout is None or world.rollout.phase != "warm":
        return world
    return replace(world, wish=world.rollout.old, wish_kind="rollback")


def _time_passes(world: World, _group: str) -> World:
    return replace(world, now=world.now + 3600.0)


HAPPENINGS: tuple[Happen, ...] = (  # twice, where it takes a rare world besides
    _dies,
    _hangs,
    _first_hangs,
    _others_die,
    _others_die_late,
    _others_die_late,
    _grows,
    _is_forgotten,
    _weighs,
    _is_busy,
    _fails,
    _fails,
    _keeps_dying,
    _is_touched,
    _is_tainted,
    _is_tainted,
    _is_set_aside,
    _is_set_aside,
    _is_held,
    _ages,
    _edge_dies,
    _edge_forgets,
    _is_aborted,
    _is_aborted,
    _is_aborted_while_the_old_hangs,
    _is_promoted,
    _is_unwanted,
    _time_passes,
)
