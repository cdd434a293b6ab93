"""Golden cases of `decide`: a world as data → the steps, the reason and the wait. One file of golden/ each.

Rewritten from what `decide` says now, to be reviewed in the diff:

    ANEW_REWRITE_GOLDEN=1 script/test tests/core/test_golden.py
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anew.core import names
from anew.core.decide import decide
from anew.core.traffic import declaration
from anew.core.world import Allotment, GroupState, Seen, World
from anew.model import EdgeReading, Generation, Member, Policy, Rollout, Sample
from anew.testing.worlds import ENVIRONMENT, NOW, PREVIEW_PORT, PREVIEW_TEST, SCOPE, group_of

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

    generations   number → members (service → [group, size]), outcome, previous, warm (seconds left), tests
    instances     "web-g1-0" → a key of `STATES`
    edge          service → group → weight; null if it is down; `told`: the declaration is as it should be
    rollout       kind, old, new, phase, ago (seconds in the phase), stage, asked, tested
    """
    generations = {int(n): _generation(int(n), one) for n, one in case["generations"].items()}
    groups = {m.group: m.service for g in generations.values() for m in g.members}
    allotments, seen = [], {}
    for number, (short, state) in enumerate(case["instances"].items()):
        group, _, ordinal = short.rpartition("-")
        name = names.instance_name(SCOPE, group, int(ordinal))
        draining = NOW - 1.0 if state == "draining" else 0.0
        allotments.append(Allotment(name, group, int(ordinal), 20_000 + number, draining))
        is_seen = STATES[state]
        if is_seen is not None:
            seen[name] = is_seen
    deaths = {g: tuple(NOW - ago for ago in agos) for g, agos in case.get("deaths", {}).items()}
    ordinals = {g: max((a.ordinal + 1 for a in allotments if a.group == g), default=0) for g in groups}
    world = World(
        now=NOW,
        scope=SCOPE,
        environment=ENVIRONMENT,
        preview_port=PREVIEW_PORT,
        wish=case["wish"],
        wish_kind=case.get("wish_kind", "rollout"),
        serving=case["serving"],
        generations=generations,
        groups={
            g: GroupState(group_of(s, g), ordinals[g], deaths.get(g, ()), "exit code 1" if g in deaths else "")
            for g, s in groups.items()
        },
        rollout=_rollout(case["rollout"]) if case.get("rollout") else None,
        allotments=tuple(allotments),
        seen=seen,
        samples={g: (Sample(*pair),) for g, pair in case.get("samples", {}).items()},
        recent={g: Sample(*pair) for g, pair in case.get("recent", {}).items()},
        trouble=case.get("trouble", ""),
    )
    if case["edge"] is None:
        return world
    world = replace(world, edge=EdgeReading(is_up=True, weights=case["edge"], in_flight=case.get("in_flight", {})))
    told = declaration(replace(world, seen={n: s for n, s in seen.items() if s.is_ready}))
    return replace(world, edge=replace(world.edge, declaration=told)) if case.get("told", True) else world


def _generation(number: int, one: dict[str, Any]) -> Generation:
    tests = (PREVIEW_TEST,) if one.get("tests") else ()
    members = tuple(Member(s, group, size, Policy(), tests) for s, (group, size) in one["members"].items())
    warm = NOW + one["warm"] if one.get("warm") else 0.0
    return Generation(number, f"r{number}", "", members, one.get("previous", 0), one.get("outcome", ""), "", warm)


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
        "steps": [f"{type(s).__name__}: {s.describe()}" for s in decision.steps],
        "reason": decision.reason,
        "wait": None if decision.wait_until is None else round(decision.wait_until - world.now, 3),
    }


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
