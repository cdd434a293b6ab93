"""Golden cases of `decide`: a world as data → the steps, the reason and the wait. One file of golden/ each.

Rewritten from what `decide` says now, to be reviewed in the diff:

    ANEW_REWRITE_GOLDEN=1 script/test tests/core/test_golden.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from anew.core import names
from anew.core.decide import decide
from anew.core.steps import Declare, Step
from anew.core.traffic import declaration
from anew.core.world import Allotment, GroupState, Seen, TaskState, World
from anew.model import EdgeReading, Generation, Group, Kind, Member, Policy, Rollout, Sample, Task
from anew.model import Test as OneTest
from anew.testing.groups import group_for
from anew.testing.worlds import ENVIRONMENT, NOW, PREVIEW_PORT, PREVIEW_TEST, SCOPE

FOLDER = Path(__file__).parent / "golden"
CASES = sorted(FOLDER.glob("*.json"))
MAY_REWRITE = os.environ.get("ANEW_REWRITE_GOLDEN") == "1"
AGE = 5.0  # seconds since an instance became as it is, where the case does not say
STATES = {
    "ready": Seen(is_alive=True, is_ready=True, since=NOW - AGE),
    "unready": Seen(is_alive=True, is_ready=False, since=NOW - AGE),
    "dead": Seen(is_alive=False, is_ready=False, ended="exit code 1", since=NOW - AGE),
    "draining": Seen(is_alive=True, is_ready=True, since=NOW - AGE),
    "allotted": None,
}


def read(case: dict[str, Any]) -> World:
    """Make the world of a case.

    generations   number → members (service → [group, size, kind?, more?]), outcome, previous, warm (seconds left),
                  tests; `more`: needs, alone, before (seconds that each command may take)
    instances     "web-g1-0" → a key of `STATES`
    tasks         key → [instance, outcome]; one without an outcome runs in that instance
    edge          service → group → weight; null if it is down; `told`: the declaration is as it should be
    on_undecided  what the environment says of it
    rollout       kind, old, new, phase, ago (seconds in the phase), stage, asked, tested
    """
    generations = {int(n): _generation(int(n), one) for n, one in case["generations"].items()}
    groups = _groups(generations)
    tasks = {key: TaskState(pair[0], outcome=pair[1]) for key, pair in case.get("tasks", {}).items()}
    running = {state.instance: key for key, state in tasks.items() if not state.outcome}
    allotments, seen = [], {}
    for number, (short, state) in enumerate(case["instances"].items()):
        group, _, ordinal = short.rpartition("-")
        name = names.instance_name(SCOPE, group, int(ordinal))
        draining = NOW - 1.0 if state == "draining" else 0.0
        allotments.append(Allotment(name, group, int(ordinal), 20_000 + number, draining, running.get(short, "")))
        is_seen = STATES[state]
        if is_seen is not None:
            seen[name] = is_seen
    deaths = {g: tuple(NOW - ago for ago in agos) for g, agos in case.get("deaths", {}).items()}
    ordinals = {g: max((a.ordinal + 1 for a in allotments if a.group == g), default=0) for g in groups}
    world = World(
        now=NOW,
        scope=SCOPE,
        environment=replace(ENVIRONMENT, on_undecided=case.get("on_undecided", "")),
        preview_port=PREVIEW_PORT,
        wish=case["wish"],
        wish_kind=case.get("wish_kind", "rollout"),
        serving=case["serving"],
        generations=generations,
        groups={
            name: GroupState(group, ordinals[name], deaths.get(name, ()), "exit code 1" if name in deaths else "")
            for name, group in groups.items()
        },
        rollout=_rollout(case["rollout"]) if case.get("rollout") else None,
        allotments=tuple(allotments),
        seen=seen,
        samples={g: (Sample(*pair),) for g, pair in case.get("samples", {}).items()},
        recent={g: Sample(*pair) for g, pair in case.get("recent", {}).items()},
        tasks=tasks,
        trouble=case.get("trouble", ""),
    )
    if case["edge"] is None:
        return world
    world = replace(world, edge=EdgeReading(is_up=True, weights=case["edge"], in_flight=case.get("in_flight", {})))
    told = declaration(replace(world, seen={n: s for n, s in seen.items() if s.is_ready}))
    return replace(world, edge=replace(world.edge, declaration=told)) if case.get("told", True) else world


def _generation(number: int, one: dict[str, Any]) -> Generation:
    tests = (PREVIEW_TEST,) if one.get("tests") else ()
    members = tuple(_member(service, *listed, tests=tests) for service, listed in one["members"].items())
    warm = NOW + one["warm"] if one.get("warm") else 0.0
    return Generation(number, f"r{number}", "", members, one.get("previous", 0), one.get("outcome", ""), "", warm)


def _member(
    service: str,
    group: str,
    size: int,
    kind: Kind = "http",
    more: Mapping[str, Any] = MappingProxyType({}),
    *,
    tests: tuple[OneTest, ...],
) -> Member:
    needs, is_alone = tuple(more.get("needs", ())), bool(more.get("alone"))
    before = tuple(Task(("/bin/prepare", str(n)), within) for n, within in enumerate(more.get("before", ())))
    return Member(service, group, size, Policy(), tests, (), kind, needs, before=before, is_alone=is_alone)


def _groups(generations: Mapping[int, Generation]) -> dict[str, Group]:
    out: dict[str, Group] = {}
    for generation in generations.values():
        kinds = {m.service: m.kind for m in generation.members}
        for member in generation.members:
            out.setdefault(member.group, group_for(member, kinds, 40_000 + 10 * len(out)))
    return out


def _rollout(one: dict[str, Any]) -> Rollout:
    since = NOW - one.get("ago", 0.0)
    return Rollout(
        1,
        one.get("kind", "rollout"),
        one["old"],
        one["new"],
        one["phase"],
        since,
        one.get("stage", 0),
        asked=one.get("asked", ""),
        reason=one.get("reason", ""),
        tested=one.get("tested", ""),
        begun=since,
    )


def decided(world: World) -> dict[str, Any]:
    """Return what a case expects."""
    decision = decide(world)
    return {
        "steps": [_told(step) for step in decision.steps],
        "reason": decision.reason,
        "wait": None if decision.wait_until is None else round(decision.wait_until - world.now, 3),
    }


def _told(step: Step) -> str:
    """Say a step in one line, and whom each door leads to where it is told to the edge."""
    says = f"{type(step).__name__}: {step.describe()}"
    doors = step.declaration.listeners if isinstance(step, Declare) else ()
    return says + "".join(f"; {one.name} reaches {one.group or 'whom the weights say'}" for one in doors)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_world_is_answered_as_its_case_says(path: Path) -> None:
    case = json.loads(path.read_text())
    actual = decided(read(case["world"]))
    if MAY_REWRITE:
        path.write_text(json.dumps(case | {"expected": actual}, indent=2, ensure_ascii=False) + "\n")
        return
    assert actual == case["expected"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 15
