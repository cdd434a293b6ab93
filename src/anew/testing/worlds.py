"""Hypothesis strategies for worlds: consistent with what the journal and an edge can hold, otherwise arbitrary.

Any phase, any intention, any reading of the edge, instances in any state, a clock that may have stepped back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, TypeVar

from hypothesis import strategies as st

from anew.core import names, tasks
from anew.core.control import baselines
from anew.core.traffic import declaration as wanted_declaration
from anew.core.world import PASSED, Allotment, GroupState, Seen, TaskState, World
from anew.model import (
    FULL,
    Declaration,
    EdgeGroup,
    EdgeReading,
    Environment,
    Generation,
    Kind,
    Member,
    Need,
    Phase,
    Policy,
    Rollout,
    Sample,
    Scope,
    Target,
    Task,
    Test,
)
from anew.testing.groups import SCHEDULE, fits, group_for, needs_of

NOW = 1_000_000.0
SCOPE = Scope("shop", "local", "owner")
ENVIRONMENT = Environment("local", keep=3)
PREVIEW_PORT = 9000
Value = TypeVar("Value")
Known = tuple[Member, tuple[Need, ...]]
Outcome = Literal["", "promoted", "rolled back"]
OUTCOMES: tuple[Outcome, ...] = ("", "promoted", "rolled back")
SERVICES = ("api", "web", "worker", "cache", "mailer", "nightly", "search", "shop")
COUNTS = (1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 8)
KINDS: tuple[Kind, ...] = ("http", "http", "http", "http", "tcp", "worker", "worker", "job")
COMMANDS = (
    (),
    (),
    (),
    (),
    (Task(("/bin/prepare",), 10.0),),
    (Task(("/bin/prepare",), 10.0), Task(("/bin/check",), 5.0)),
)
OFFSETS = (-5000.0, -601.0, -100.0, -31.0, -10.0, -1.0, 0.0, 7.0, 900.0)  # the last two: the clock stepped back
PREVIEW_TEST = Test(get="/ready", at="preview", eventually=5.0)
POLICIES = (
    Policy(),
    Policy(stages=(), warm=0.0),
    Policy(stages=(500,), each=0.0, at_most=20.0, on_undecided="rollback", warm=60.0),
    Policy(stages=(1, 999), control=50, drain=0.0, ready=5.0, on_undecided="ask"),
    Policy(stages=(10, 1000), control=500, warm=10.0, on_undecided="extend"),
    Policy(stages=(600, 990), each=0.0, control=100),
    Policy(stages=(10, 500), baseline="fresh", warm=60.0),
    Policy(stages=(300,), each=0.0, baseline="fresh", warm=60.0, warm_control=20),
    Policy(stages=(1, 980), warm=30.0, warm_control=500),
)
PHASES: tuple[Phase, ...] = ("prepare", "preview", "stage", "full", "warm", "rolling back")


@dataclass(slots=True)
class Draft:
    """What a world is drawn from, step by step; each part is consistent with those before it."""

    now: float = NOW
    generations: dict[int, Generation] = field(default_factory=dict)
    groups: dict[str, GroupState] = field(default_factory=dict)
    rollout: Rollout | None = None
    serving: int = 0
    allotments: tuple[Allotment, ...] = ()
    seen: dict[str, Seen] = field(default_factory=dict)
    tasks: dict[str, TaskState] = field(default_factory=dict)


COIN = st.booleans()
TIMES = st.sampled_from([NOW + offset for offset in OFFSETS])
DEATHS = st.lists(TIMES, max_size=4)
ORDINALS = st.lists(st.integers(0, 5), max_size=4, unique=True)
SEEN = st.sampled_from(
    [
        *(Seen(is_alive=True, is_ready=True, since=NOW + offset) for offset in OFFSETS for _ in range(2)),
        *(Seen(is_alive=True, is_ready=False, since=NOW + offset) for offset in OFFSETS),
        *(Seen(is_alive=False, is_ready=False, ended="signal 9 (SIGKILL)", since=NOW + offset) for offset in OFFSETS),
        *[None] * len(OFFSETS),
    ]
)


@cache
def _any(*values: Value) -> st.SearchStrategy[Value]:
    return st.sampled_from(values)


@cache
def _upto(least: int, most: int) -> st.SearchStrategy[int]:
    return st.integers(least, most)


def _is_one_in(draw: st.DrawFn, number: int) -> bool:
    return draw(_upto(1, number)) == number


@st.composite
def histories(draw: st.DrawFn) -> dict[int, Generation]:
    """Return 1 to 4 generations of 1 to 8 services of all kinds that share, change, add and remove groups.

    A service calls only those before it, so that needs go in no circle.
    """
    services = SERVICES[: draw(_any(*COUNTS))]
    kinds: dict[str, Kind] = {s: draw(_any(*KINDS)) for s in services}
    known: dict[str, list[Known]] = {}
    out: dict[int, Generation] = {}
    for number in range(1, draw(_upto(1, 4)) + 1):
        members: dict[str, Member] = {}
        for service in services:
            member = _draw_member(draw, service, number, known.get(service, []), members, kinds[service])
            if member is not None:
                members[service] = member
                known.setdefault(service, []).append((member, needs_of(member, members)))
        if not members:
            members["web"] = Member("web", names.group_name("web", number), 1, Policy())
        previous = draw(_any(number - 1, 0, max(0, number - 2)))
        listed = tuple(members.values())
        out[number] = Generation(number, f"r{number}", f"sha256:r{number}", listed, previous, at=NOW - 100)
    return out


def _draw_member(
    draw: st.DrawFn,
    service: str,
    number: int,
    known: list[Known],
    calls: Mapping[str, Member],
    kind: Kind,
) -> Member | None:
    choice = draw(_upto(0, 9))
    if choice == 9:
        return None
    policy, size = draw(_any(*POLICIES)), draw(_upto(1, 3))
    fitting = [m for m, needs in known if fits(needs, calls)]
    if choice >= 5 and fitting:
        again = draw(st.sampled_from(fitting))
        size = again.size if again.kind == "job" or again.is_alone else size
        return replace(again, policy=policy, size=size)
    if choice == 4:
        kind = draw(_any(*KINDS))
    listening = [s for s, m in calls.items() if m.kind in {"http", "tcp"}]
    needs = tuple(sorted(draw(st.sets(st.sampled_from(listening), max_size=2)))) if listening else ()
    is_alone = _is_one_in(draw, 5)
    return Member(
        service,
        names.group_name(service, number),
        0 if kind == "job" else 1 if is_alone and kind == "worker" else size,
        policy,
        tests=(PREVIEW_TEST,) if kind == "http" and choice == 3 else (),
        hosts=(f"{service}.test",) if kind == "http" and choice < 3 else (),
        kind=kind,
        needs=needs,
        port=6000 + 10 * SERVICES.index(service) + number % 2 if kind == "tcp" and choice < 2 else 0,
        before=draw(_any(*COMMANDS)),
        is_alone=is_alone,
    )


@st.composite
def arbitrary(draw: st.DrawFn) -> World:
    """Return a world: any that a journal, an engine and an edge can come to hold, however unlikely."""
    draft = Draft(generations=draw(histories()))
    _draw_rollout(draw, draft)
    _draw_outcomes(draw, draft)
    _draw_instances(draw, draft)
    _draw_tasks(draw, draft)
    edge = _draw_edge(draw, draft)
    wish = draft.rollout.new if draft.rollout else draft.serving
    if _is_one_in(draw, 3):
        wish = draw(_any(0, *draft.generations))
    world = World(
        now=draft.now,
        scope=SCOPE,
        environment=ENVIRONMENT,
        preview_port=PREVIEW_PORT,
        wish=wish,
        wish_kind=draw(st.sampled_from(("rollout", "rollback"))),
        serving=draft.serving,
        generations=draft.generations,
        groups=draft.groups,
        rollout=draft.rollout,
        allotments=draft.allotments,
        seen=draft.seen,
        edge=edge,
        samples=_draw_samples(draw, draft),
        recent={g: _draw_sample(draw) for g in draft.groups if _is_one_in(draw, 3)},
        is_testing=draw(COIN),
        tasks=draft.tasks,
        due={SCHEDULE: (draw(_any(0.0, NOW - 30.0)), 0.0)},
        strays=(f"{SCOPE.project}-{SCOPE.environment}-web-g1-99",) if _is_one_in(draw, 5) else (),
        trouble="launch: no space left" if _is_one_in(draw, 6) else "",
    )
    return _up_to_date(world) if edge.is_up and draw(COIN) else world


def _up_to_date(world: World) -> World:
    return replace(world, edge=replace(world.edge, declaration=wanted_declaration(world)))


def _draw_rollout(draw: st.DrawFn, draft: Draft) -> None:
    numbers = tuple(draft.generations)
    draft.serving = draw(_any(*numbers, 0))
    others = tuple(n for n in numbers if n != draft.serving)
    if not others or _is_one_in(draw, 4):
        return
    phase = draw(_any(*PHASES))
    old, new = draft.serving, draw(_any(*others))
    if phase == "warm" or (phase == "rolling back" and old and draw(COIN)):
        draft.serving = new
    kind: Literal["rollout", "rollback"] = "rollback" if old and _is_one_in(draw, 3) else "rollout"
    if kind == "rollback" and phase in {"preview", "stage"}:
        kind = "rollout"
    begun = draw(TIMES)
    draft.rollout = Rollout(
        id=draw(_upto(1, 9)),
        kind=kind,
        old=old,
        new=new,
        phase=phase,
        since=draw(TIMES),
        stage=draw(_upto(0, 2)) if phase == "stage" else 0,
        asked=draw(st.sampled_from(("", "", "abort", "promote"))),
        reason="it was wanted",
        version=draw(_upto(0, 9)),
        tested=draw(st.sampled_from(("", "passed", "http GET /ready: 500"))),
        begun=begun,
    )


def _draw_outcomes(draw: st.DrawFn, draft: Draft) -> None:
    """Let the serving one have served, the failing one have failed, and the others be anything."""
    rollout = draft.rollout
    for number, generation in draft.generations.items():
        outcome = draw(st.sampled_from(OUTCOMES))
        warm = draw(TIMES) if outcome != "" and draw(COIN) else 0.0
        is_retired = _is_one_in(draw, 4)
        if rollout is not None and number in {rollout.old, rollout.new}:
            is_retired = False
        if rollout is not None and rollout.phase == "rolling back" and number == rollout.new:
            outcome, warm = "rolled back", 0.0
        elif number == draft.serving or (rollout is not None and number == rollout.old):
            is_back = rollout is not None and rollout.phase == "warm" and rollout.kind == "rollback"
            outcome = "rolled back" if number != draft.serving and is_back else "promoted"
            is_retired = False
        draft.generations[number] = replace(generation, outcome=outcome, warm_until=warm, is_retired=is_retired)


def _draw_instances(draw: st.DrawFn, draft: Draft) -> None:
    kept = {m.group: (g, m) for g in draft.generations.values() for m in g.members if not g.is_retired}
    left = {m.group: (g, m) for g in draft.generations.values() for m in g.members if g.is_retired}
    beside = _draw_beside(draw, draft)
    kept |= beside
    allotments: list[Allotment] = []
    for number, (name, (generation, member)) in enumerate(sorted({**left, **kept}.items())):
        ordinals = draw(ORDINALS) if member.kind != "job" else []
        if name not in kept and not ordinals:
            continue  # disposed of
        for ordinal in sorted(ordinals):
            one, seen = _draw_instance(draw, name, ordinal, 20_000 + len(allotments))
            allotments.append(one)
            if seen is not None:
                draft.seen[one.name] = seen
        first = max(ordinals, default=-1) + 1 + draw(_upto(0, 2))
        deaths = tuple(sorted(draw(DEATHS))) if _is_one_in(draw, 3) else ()
        group = group_for(member, {m.service: m.kind for m in generation.members}, 40_000 + 10 * number)
        draft.groups[name] = GroupState(group, first, deaths, "exit code 1" if deaths else "")
    draft.allotments = tuple(allotments)


def _draw_beside(draw: st.DrawFn, draft: Draft) -> dict[str, tuple[Generation, Member]]:
    """Return the baselines of the rollout, all of them unless it is an older anew's."""
    rollout = draft.rollout
    if rollout is None or not rollout.old or _is_one_in(draw, 6):
        return {}
    old, new = (draft.generations[number] for number in (rollout.old, rollout.new))
    members = [{m.service: m for m in one.members} for one in (old, new)]
    return {m.group: (old, m) for m in baselines(rollout, *members)}


def _draw_tasks(draw: st.DrawFn, draft: Draft) -> None:
    """Let commands of `before` have got as far as the phase says, and scheduled runs be anywhere."""
    rollout = draft.rollout
    members = {} if rollout is None else {m.service: m for m in draft.generations[rollout.new].members}
    for member in members.values() if rollout is not None and rollout.kind == "rollout" else ():
        keys = (
            [tasks.key_before(rollout.new, member.service, n) for n, _ in enumerate(member.before)] if rollout else []
        )
        is_over = rollout is not None and rollout.phase != "prepare"
        done = len(keys) if is_over else draw(_upto(0, len(keys)))
        for key in keys[:done]:
            _draw_run(draw, draft, member.group, key, states=("passed",))
        if done < len(keys):
            _draw_run(draw, draft, member.group, keys[done], states=("", "runs", "failed", "allotted"))
    serving = draft.generations.get(draft.serving)
    for member in serving.members if serving else ():
        if member.kind == "job":
            key = tasks.key_scheduled(member.service)
            _draw_run(draw, draft, member.group, key, states=("", "runs", "passed", "failed", "allotted"))


def _draw_run(draw: st.DrawFn, draft: Draft, group: str, key: str, *, states: tuple[str, ...]) -> None:
    state = draw(_any(*states))
    if not state or group not in draft.groups:
        return
    ordinal = draft.groups[group].next_ordinal
    draft.groups[group] = replace(draft.groups[group], next_ordinal=ordinal + 1)
    name = names.instance_name(SCOPE, group, ordinal)
    outcome = {"passed": PASSED, "failed": "exit code 1"}.get(state, "")
    draft.tasks[key] = TaskState(name, NOW - 90.0 if key.startswith("schedule") else 0.0, outcome)
    if state in {"runs", "allotted"}:
        draining = draw(TIMES) if _is_one_in(draw, 6) else 0.0
        draft.allotments += (Allotment(name, group, ordinal, 50_000 + len(draft.tasks), draining, key),)
    if state == "runs":
        started = NOW - draw(_any(1.0, 4.0, 100.0))
        draft.seen[name] = Seen(is_alive=draw(_any(True, True, False)), is_ready=False, since=started, started=started)


def _draw_instance(draw: st.DrawFn, group: str, ordinal: int, port: int) -> tuple[Allotment, Seen | None]:
    draining = draw(TIMES) if _is_one_in(draw, 4) else 0.0
    one = Allotment(names.instance_name(SCOPE, group, ordinal), group, ordinal, port, draining)
    return one, draw(SEEN)


def _draw_edge(draw: st.DrawFn, draft: Draft) -> EdgeReading:
    is_up = not _is_one_in(draw, 5)
    if not is_up and draw(COIN):
        return EdgeReading(is_up=False)
    listening = [name for name in sorted(draft.groups) if draft.groups[name].group.seal.listens]
    groups = tuple(_draw_edge_group(draw, name, draft) for name in listening if not _is_one_in(draw, 5))
    declaration = Declaration(ENVIRONMENT.host, ENVIRONMENT.port, PREVIEW_PORT, (), groups)
    weights: dict[str, dict[str, int]] = {}
    for service in sorted({g.service for g in groups}):
        own = [g.name for g in groups if g.service == service]
        weights[service] = _draw_shares(draw, own)
    launched = [t.name for g in groups for t in g.targets if t.name in draft.seen] if is_up else []
    flying = {name: draw(_upto(0, 2)) for name in launched if _is_one_in(draw, 3)}
    return EdgeReading(is_up, declaration, weights, {}, flying)


def _draw_edge_group(draw: st.DrawFn, name: str, draft: Draft) -> EdgeGroup:
    own = tuple(a for a in draft.allotments if a.group == name and not a.task)
    targets = tuple(
        Target(a.name, a.port, is_draining=bool(a.draining) and draw(COIN)) for a in own if not _is_one_in(draw, 4)
    )
    group = draft.groups[name].group
    host = names.preview_host(SCOPE, name)
    return EdgeGroup(name, group.service, group.seal.health, targets, host, group.seal.kind == "tcp")


def _draw_shares(draw: st.DrawFn, groups: list[str]) -> dict[str, int]:
    if _is_one_in(draw, 6):
        return {}
    first = draw(_any(*groups))
    others = [g for g in groups if g != first]
    if not others or _is_one_in(draw, 3):
        return {first: FULL}
    share = draw(_any(0, 1, 10, 500, 980, 999))
    return {first: FULL - share, draw(_any(*others)): share}


def _draw_sample(draw: st.DrawFn) -> Sample:
    requests = draw(_any(0, 1, 19, 20, 49, 50, 1000))
    part = draw(_any(0.0, 0.01, 0.03, 0.5, 1.0))
    return Sample(requests, int(requests * part))


def _draw_samples(draw: st.DrawFn, draft: Draft) -> dict[str, tuple[Sample, ...]]:
    windows = draw(_upto(0, 2))
    return {g: tuple(_draw_sample(draw) for _ in range(windows)) for g in draft.groups if windows}
