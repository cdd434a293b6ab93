"""Small worlds for examples: a line says who is in a generation, and what runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anew.core.traffic import declaration
from anew.core.world import Allotment, GroupState, Seen, World
from anew.model import FULL, EdgeReading, Generation, Kind, Member, Phase, Policy, Rollout, Task
from anew.testing.groups import group_for
from anew.testing.worlds import ENVIRONMENT, NOW, PREVIEW_PORT, SCOPE

READY = Seen(is_alive=True, is_ready=True, since=NOW - 5, started=NOW - 5)
POLICY = Policy(stages=(100, 500), drain=5.0, grace=1.0, ready=8.0)
PREPARE = Task(("/bin/prepare",), 10.0)
CHECK = Task(("/bin/check",), 5.0)


def member(group: str, *needs: str, kind: Kind = "http", size: int = 1, **more: object) -> Member:
    """Return a member that maps to `group`, which tells its service."""
    service = group.rpartition("-")[0]
    plain = Member(service, group, 0 if kind == "job" else size, POLICY, kind=kind, needs=needs)
    return replace(plain, **more)  # type: ignore[arg-type]


def generation(number: int, *members: Member, **more: object) -> Generation:
    """Return a generation that served before, unless `more` says otherwise."""
    plain = Generation(number, f"r{number}", "", members, number - 1, "promoted", at=NOW - 1000)
    return replace(plain, **more)  # type: ignore[arg-type]


def world(
    *generations: Generation,
    serving: int = 1,
    rollout: Rollout | None = None,
    running: Mapping[str, int] | None = None,
    weights: Mapping[str, Mapping[str, int]] | None = None,
    **more: Any,
) -> World:
    """Return a world with so many ready instances of each group, of which the edge knows; by default those that serve.

    `weights` are by default those of the generation that serves.
    """
    known = {g.number: g for g in generations}
    groups: dict[str, GroupState] = {}
    for one in generations:
        kinds = {m.service: m.kind for m in one.members}
        for m in one.members:
            groups.setdefault(m.group, GroupState(group_for(m, kinds, 40_000 + 10 * len(groups)), 9))
    own = known[serving].members if serving in known else ()
    counts = {m.group: m.size for m in own} if running is None else running
    ones = tuple(
        Allotment(f"{g}-{n}", g, n, 20_000 + 10 * k + n) for k, g in enumerate(counts) for n in range(counts[g])
    )
    listening = {m.service: {m.group: FULL} for m in own if m.kind in {"http", "tcp"}}
    plain = World(
        now=NOW,
        scope=SCOPE,
        environment=ENVIRONMENT,
        preview_port=PREVIEW_PORT,
        wish=rollout.new if rollout else serving,
        wish_kind="rollout",
        serving=serving,
        generations=known,
        groups=groups,
        rollout=rollout,
        allotments=ones,
        seen={one.name: READY for one in ones},
        edge=EdgeReading(is_up=True, weights=listening if weights is None else weights),
    )
    made = replace(plain, **more)
    return replace(made, edge=replace(made.edge, declaration=declaration(made)))


def going(phase: Phase, stage: int = 0, old: int = 1, new: int = 2) -> Rollout:
    """Return a rollout that has just entered a phase."""
    return Rollout(1, "rollout", old, new, phase, NOW, stage, begun=NOW)
