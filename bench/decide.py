"""One decision: how long `decide` takes on large environments, and whether that grows with them in proportion."""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from dataclasses import replace

from figures import page
from figures.figure import Count, Figure, Goal, Section

from anew.core.decide import decide
from anew.core.names import group_name, instance_name
from anew.core.traffic import declaration
from anew.core.world import Allotment, GroupState, Seen, World
from anew.model import FULL, EdgeReading, Generation, Member, Policy, Rollout
from anew.testing.groups import group_for
from anew.testing.worlds import ENVIRONMENT, NOW, PREVIEW_PORT, SCOPE

SIZES = (100, 300, 1000)
INSTANCES = 10
CALLED = 2  # services that each one calls
MOST = 1.5  # times that the time per service may grow from the smallest to the largest environment
METHOD = f"""`decide` on a world in the middle of a stage: every service has an old and a new group of {INSTANCES} ready
instances each, and calls {CALLED} others through doors; one in ten is a worker. The world is made anew for each value,
so that nothing it has worked out before is used again, and no garbage is collected meanwhile."""


def measure(arguments: argparse.Namespace) -> Section:
    """Decide again and again, in environments of several sizes."""
    taken = {size: tuple(_times(size, arguments.decisions)) for size in SIZES}
    each = {size: statistics.median(values) / size for size, values in taken.items()}
    growth = each[SIZES[-1]] / each[SIZES[0]]
    figures = tuple(
        Figure(
            f"{size} services of {INSTANCES} instances", "s", values, Goal(median=1.0) if size == SIZES[-1] else Goal()
        )
        for size, values in taken.items()
    )
    says = f"milliseconds per service, at {' / '.join(map(str, SIZES))}"
    counts = (
        Count(says, " / ".join(f"{1000 * each[size]:.2f}" for size in SIZES)),
        Count(f"growth per service from {SIZES[0]} to {SIZES[-1]}", f"{growth:.2f}", f"≤ {MOST:g}", growth <= MOST),
    )
    return Section("decide", "One decision", METHOD, figures, counts)


def world(services: int) -> World:
    """Return an environment of so many services in the middle of a stage, in which all is well."""
    generations = {n: Generation(n, f"r{n}", "", _members(services, n), n - 1, "promoted") for n in (1, 2)}
    groups, allotments = {}, []
    for generation in generations.values():
        kinds = {m.service: m.kind for m in generation.members}
        for member in generation.members:
            port = 100_000 + 10 * len(groups)
            groups[member.group] = GroupState(group_for(member, kinds, port), INSTANCES)
            allotments += [
                Allotment(instance_name(SCOPE, member.group, n), member.group, n, 20_000 + n) for n in range(INSTANCES)
            ]
    listening = {m.service: n for n, g in generations.items() for m in g.members if m.kind == "http"}
    weights = {s: {group_name(s, 1): FULL // 2, group_name(s, 2): FULL // 2} for s in listening}
    ready = Seen(is_alive=True, is_ready=True, since=NOW - 5)
    made = World(
        now=NOW,
        scope=SCOPE,
        environment=ENVIRONMENT,
        preview_port=PREVIEW_PORT,
        wish=2,
        wish_kind="rollout",
        serving=1,
        generations=generations,
        groups=groups,
        rollout=Rollout(1, "rollout", 1, 2, "stage", NOW - 1, begun=NOW - 20),
        allotments=tuple(allotments),
        seen={one.name: ready for one in allotments},
        edge=EdgeReading(is_up=True, weights=weights),
    )
    return replace(made, edge=replace(made.edge, declaration=declaration(made)))


def _members(services: int, number: int) -> tuple[Member, ...]:
    names = [f"s{n}" for n in range(services)]
    kinds = {name: "worker" if n % 10 == 9 else "http" for n, name in enumerate(names)}
    out = []
    for n, name in enumerate(names):
        needs = tuple(sorted({c for c in names[max(0, n - CALLED) : n] if kinds[c] == "http"}))
        policy = Policy(stages=(FULL // 2,))
        kind = "worker" if kinds[name] == "worker" else "http"
        hosts = (f"{name}.test",) if kind == "http" else ()
        out.append(Member(name, group_name(name, number), INSTANCES, policy, hosts=hosts, kind=kind, needs=needs))
    return tuple(out)


def _times(services: int, number: int) -> list[float]:
    made = world(services)
    out = []
    for _ in range(number):
        fresh = replace(made)
        gc.collect()
        gc.disable()
        begun = time.perf_counter()
        decide(fresh)
        out.append(time.perf_counter() - begun)
        gc.enable()
        print(f"{services} services: {out[-1]:.3f} s", file=sys.stderr, flush=True)
    return out


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, decisions=7)))
