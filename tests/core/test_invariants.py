"""The invariants of the design, each a property of random worlds; each docstring is the design's sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from anew.core.decide import decide
from anew.core.preview import preview
from anew.core.retention import needed, way_back
from anew.core.steps import Allot, Begin, Declare, Drain, Enter, Launch, Retire, Shift, Step, Stop
from anew.core.traffic import is_set, wanted_weights
from anew.core.world import World
from anew.model import FULL, Generation, Member, Rollout, Sample
from anew.testing.disturbed import begun, worlds
from anew.testing.invariants import INVARIANTS, breaches
from anew.testing.looks import LISTENING, Invariant, fresh, in_turn
from anew.testing.simulator import run_kindly
from anew.testing.walks import Round, fixed_point, walk
from anew.testing.worlds import OUTCOMES, histories

IS_COMPLETE = os.environ.get("ANEW_REQUIRE_ALL") == "1"
EXAMPLES = int(os.environ.get("ANEW_EXAMPLES", "500" if IS_COMPLETE else "30"))
SEED = os.environ.get("ANEW_SEED")  # absent: always the same worlds
PHASES = tuple(Phase) if os.environ.get("ANEW_SHRINK", "1") == "1" else (Phase.explicit, Phase.generate)
ROUNDS = 6  # of a walk, that a property of single steps looks at
ONLY = os.environ.get("ANEW_INVARIANT", "")  # the name of the one that is checked; absent: all
CHECKED = tuple(one for one in INVARIANTS if one.name == ONLY or not ONLY)


def of_worlds(*more: st.SearchStrategy[int], times: int = 1) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Run a property on `EXAMPLES` random worlds, or some `times` as many, and on what `more` draws."""

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        chosen = settings(
            max_examples=times * EXAMPLES,
            deadline=None,
            database=None,
            derandomize=SEED is None,
            phases=PHASES,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        property_ = chosen(given(worlds(), *more)(test))
        return seed(int(SEED))(property_) if SEED is not None else property_

    return decorate


# ---------------------------------------------------------------- single steps


@of_worlds(times=2)
def test_no_step_breaks_an_invariant(world: World) -> None:
    """Each sentence of `INVARIANTS` holds for what is decided in a world, and for the next few rounds."""
    for number, one in enumerate(walk(world)):
        assert not list(breaches(one.world, one.decision.steps, CHECKED))
        if number >= ROUNDS:
            return


@pytest.mark.parametrize("one", INVARIANTS, ids=lambda one: one.name)
def test_every_invariant_is_a_sentence(one: Invariant) -> None:
    assert one.sentence == one.sentence.strip()
    assert [other.name for other in INVARIANTS].count(one.name) == 1


# ---------------------------------------------------------------- the way back


@of_worlds(st.integers(1, 4))
def test_what_failed_is_not_the_way_back(world: World, serving: int) -> None:
    """A generation that failed is never chosen as the way back: neither by hand nor automatically."""
    back = way_back(world.generations, serving)
    assert back == 0 or world.generations[back].outcome == "promoted"
    assert back != serving


@of_worlds(st.integers(0, 60))
def test_what_failed_is_not_begun_again(world: World, moment: int) -> None:
    """An automatic rollback sets the wish back: what failed is not tried again unless somebody asks."""
    failed: set[int] = set()
    for number, one in enumerate(_walk_into_trouble(world, moment)):
        for step in one.decision.steps:
            assert not (isinstance(step, Begin) and step.new in failed), number
            is_back = isinstance(step, Enter) and step.phase == "rolling back"
            if is_back and one.world.rollout and one.world.wish == one.world.rollout.new:
                failed.add(one.world.rollout.new)


@of_worlds(st.integers(0, 60))
def test_one_fails_and_all_go_back(world: World, moment: int) -> None:
    """One fails, all go back; what can't take its traffic back in time gets it as soon as it can."""
    going: Rollout | None = None
    last = world
    for one in _walk_into_trouble(world, moment):
        last = one.world
        if last.rollout is not None and last.rollout.phase == "rolling back":
            going = last.rollout
        elif going is not None and (last.rollout is not None or not _left_behind(last, going)):
            break
    assume(going is not None)
    assert going is not None
    assert last.rollout is not None or last.serving == going.old
    assert last.rollout is not None or not _left_behind(last, going)


def _left_behind(world: World, gone: Rollout) -> set[str]:
    """Return the groups that only what went back has, and that still have traffic."""
    left = {m.group for m in world.members(gone.new).values()} - {m.group for m in world.members(gone.old).values()}
    return {g for weights in world.edge.weights.values() for g, w in weights.items() if w and g in left}


def _walk_into_trouble(world: World, moment: int) -> list[Round]:
    """Walk to the first round of a rollout after `moment` rounds, then go on as if an operator aborted it."""
    rounds = list(walk(world))
    for one in rounds[min(moment, len(rounds) - 1) :]:
        rollout = one.world.rollout
        if rollout is not None and rollout.phase != "rolling back":
            return list(walk(replace(one.world, rollout=replace(rollout, asked="abort"))))
    return rounds


# ---------------------------------------------------------------- going back while warm


@of_worlds()
def test_rolling_back_by_hand_to_a_warm_generation_is_only_shifts(world: World) -> None:
    """While the warm groups are fully ready, rolling back emits only shifts."""
    warm = _warm(world)
    assert warm.rollout is not None
    back = warm.rollout.old
    wanted = wanted_weights(warm.members(back), warm.members(back), "done")
    _only_shifts(replace(warm, wish=back, wish_kind="rollback"), wanted)


@of_worlds()
def test_rolling_back_automatically_to_a_warm_generation_is_only_shifts(world: World) -> None:
    """While the warm groups are fully ready, rolling back emits only shifts, and the automatic one too."""
    warm = _warm(world)
    assert warm.rollout is not None
    warm = replace(warm, rollout=replace(warm.rollout, kind="rollout"))
    assume(fresh(warm))  # of what both generations share, going back would mend nothing
    assert warm.rollout is not None
    wanted = wanted_weights(warm.members(warm.rollout.old), {}, "rolling back")
    failing = {m.group: Sample(100, 100) for m in warm.members(warm.rollout.new).values()}
    _only_shifts(replace(warm, recent=failing), wanted)


def _warm(world: World) -> World:
    """Walk until a generation is warm and nothing is left but to wait; nothing in the way takes the rollout back."""
    for one in walk(begun(world)):
        rollout = one.world.rollout
        if rollout is None or rollout.phase != "warm" or one.decision.steps or not rollout.old:
            continue
        old, new = one.world.members(rollout.old), one.world.members(rollout.new)
        kept = [m for s, m in old.items() if not _is_started(m, new.get(s))]
        is_whole = all(_counted(one.world, m) >= m.size for m in kept)
        if old and is_whole and is_set(one.world, wanted_weights(old, new, "warm")):
            return one.world
    assume(condition=False)
    raise AssertionError


def _counted(world: World, member: Member) -> int:
    return world.reachable(member.group) if member.kind in LISTENING else world.ready(member.group)


def _handed_over(world: World) -> frozenset[str]:
    """Return the services that run only while their generation has the traffic, so that a warm one must be started."""
    rollout = world.rollout
    old, new = (world.members(rollout.old), world.members(rollout.new)) if rollout else ({}, {})
    return frozenset(s for s in {*old, *new} if _takes_turns(old.get(s), new.get(s)))


def _takes_turns(one: Member | None, other: Member | None) -> bool:
    both = [m for m in (one, other) if m is not None]
    if len({m.group for m in both}) < len(both):
        return False
    return any(m.kind == "worker" for m in both) or _must_be_alone(*both)


def _is_started(one: Member, other: Member | None) -> bool:
    """Say whether going back must start the group of `one`, however warm its generation is."""
    is_shared = other is not None and other.group == one.group
    return not is_shared and (one.kind == "worker" or _must_be_alone(one, other))


def _must_be_alone(one: Member, other: Member | None = None) -> bool:
    return other is not None and one.group != other.group and (one.is_alone or other.is_alone)


def _only_shifts(world: World, wanted: Mapping[str, Mapping[str, int]]) -> None:
    """Walk until the traffic is back; of what is handed over, instances end and start besides."""
    others = _handed_over(world)
    left = {s: dict(w) for s, w in wanted.items() if s not in others}
    for one in walk(world):
        has = {s: {g: w for g, w in one.world.edge.weights.get(s, {}).items() if w} for s in left}
        if one.world is not world and has == left:
            return
        for step in one.decision.steps:
            may_be = isinstance(step, Begin | Enter | Shift) or (isinstance(step, Declare) and others)
            assert may_be or _service(one.world, step) in others, one.decision
    raise AssertionError


def _service(world: World, step: Step) -> str:
    match step:
        case Allot(group) | Launch(_, group):
            return world.groups[group].group.service
        case Drain(name) | Stop(name) | Retire(name):
            return next(world.groups[a.group].group.service for a in world.allotments if a.name == name)
    return ""


# ---------------------------------------------------------------- what was tested becomes the generation


@of_worlds()
def test_the_tested_instances_become_the_generation(world: World) -> None:
    """What was tested is what serves: while a rollout is promoted no ready instance of its new groups is stopped."""
    tested: set[str] = set()
    for one in walk(world):
        rollout = one.world.rollout
        if rollout is None or rollout.phase == "rolling back":
            tested = set()
            continue
        if rollout.phase == "preview":
            groups = {m.group: m.size for m in fresh(one.world) if not in_turn(one.world, m)}
            kept = [[a.name for a in one.world.by_group.get(g, ()) if one.world.is_ready(a.name)] for g in groups]
            tested = {n for g in kept if len(g) <= min(groups.values(), default=0) for n in g}
            tested -= {a.name for a in one.world.allotments if a.draining}
        assert not tested & {s.name for s in one.decision.steps if isinstance(s, Drain | Stop)}


@of_worlds()
def test_no_ordinal_is_used_twice(world: World) -> None:
    """A dead instance is replaced under a new ordinal: no name is ever allotted or launched twice."""
    allotted = {(a.group, a.ordinal) for a in world.allotments}
    launched = set(world.seen)
    for one in walk(world):
        for step in one.decision.steps:
            if isinstance(step, Allot):
                assert (step.group, step.ordinal) not in allotted
                allotted.add((step.group, step.ordinal))
            if isinstance(step, Launch):
                assert step.name not in launched
                launched.add(step.name)


# ---------------------------------------------------------------- the fixed point


@of_worlds()
def test_a_fixed_point_is_reached_and_nothing_is_orphaned(world: World) -> None:
    """From any world, with a cooperative engine, a fixed point is reached in bounded rounds, and none is orphaned."""
    end = fixed_point(world)
    groups = {m.group for n in needed(end) for m in end.members(n).values()}
    assert not [a.name for a in end.allotments if a.group not in groups]
    assert not end.strays
    assert end.rollout is None
    assert end.wish == end.serving or end.wish not in end.generations
    assert not end.running
    for service, member in end.members(end.serving).items():
        is_behind_edge = member.kind in LISTENING
        assert end.ready(member.group) == member.size
        assert end.weight(service, member.group) == (FULL if is_behind_edge else 0)
        assert end.reachable(member.group) == (member.size if is_behind_edge else 0)


@of_worlds()
def test_decide_is_deterministic_and_total(world: World) -> None:
    """Same world, same decision; and there is one in every world."""
    backwards = replace(
        world,
        allotments=world.allotments[::-1],
        seen=dict(reversed(list(world.seen.items()))),
        groups=dict(reversed(list(world.groups.items()))),
        generations=dict(reversed(list(world.generations.items()))),
    )
    decision = decide(world)
    assert decision == decide(world) == decide(backwards)
    assert decision.reason
    assert decision.wait_until is None or (not decision.steps and decision.wait_until > world.now)


@of_worlds()
def test_a_preview_is_what_a_run_does(world: World) -> None:
    """A preview and a run can't drift apart."""
    world = replace(world, is_testing=False, recent={}, due={})
    run = run_kindly(world)
    assert [s.describe() for s in run.steps] == [s.describe() for s in preview(world, until_warm=False)]
    assert not run.violations


@of_worlds(st.integers(1, 200))
def test_a_keeper_killed_at_any_effect_changes_nothing_in_the_end(world: World, moment: int) -> None:
    """SIGKILL of the keeper before or after any effect, then start again: the same end."""
    world = replace(begun(world), is_testing=False)  # where much is against a rollout, what comes first decides
    whole = run_kindly(world)
    killed = run_kindly(world, lambda boundary: boundary == 1 + moment % max(1, 2 * whole.effects))
    assert killed.crashes == min(1, whole.effects)
    assert not killed.violations
    assert _end(killed.world) == _end(whole.world)


@of_worlds()
def test_effects_that_happen_twice_change_nothing_in_the_end(world: World) -> None:
    """Every effect is named and idempotent: a step in doubt is simply decided again."""
    world = replace(begun(world), is_testing=False)
    doubled = run_kindly(world, is_doubled=True)
    assert not doubled.violations
    assert _end(doubled.world) == _end(run_kindly(world).world)


def _end(world: World | None) -> object:
    assert world is not None
    outcomes = {n: (g.outcome, g.is_retired) for n, g in world.generations.items()}
    running = {
        g: len(ones) for g, ones in world.by_group.items()
    }  # of a surplus, which one stays may depend on the moment
    return world.serving, world.wish, outcomes, running, world.edge.weights, sorted(world.groups)


@settings(max_examples=2 * EXAMPLES, deadline=None, database=None, derandomize=True, phases=PHASES)
@given(histories(), st.data())
def test_the_way_back_is_the_last_that_served_before(history: dict[int, Generation], data: st.DataObject) -> None:
    known = {n: replace(g, outcome=data.draw(st.sampled_from(OUTCOMES))) for n, g in history.items()}
    serving = data.draw(st.sampled_from(tuple(known)))
    back = way_back(known, serving)
    number, chain = known[serving].previous, []
    while number in known:
        chain.append(number)
        number = known[number].previous
    served = [n for n in chain if known[n].outcome == "promoted"]
    assert back == (served[0] if served else 0)
