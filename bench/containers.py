"""The engine docker beside the embedded one: starts, rollouts, rollbacks, and what many containers cost to keep."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import rest
import rollback
from figures import page, starts, traffic
from figures.apart import rig_apart
from figures.figure import Count, Figure, Goal, Section
from rollouts import roll_out

from anew.engines.docker.client import Client
from anew.errors import AnewError
from anew.testing.load import Figures, Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

RATE = 200  # requests per second to each engine, at the same time
ENGINES = ("docker", "embedded")
LIMIT = 600.0  # seconds of one command; the first one makes heads of Debian packages
READY = 120.0  # seconds until all containers are ready
SHAPE: Mapping[str, str] = {"each": "200ms", "at_most": "500ms", "warm": "1s", "ready": "30s"}
ROLLOUT_ROWS = (("rollout: the whole of `anew up`", 0), ("rollout: from wanted to all traffic", 1))
METHOD = f"""One image (Python on a head of Debian packages), in turns. *Starts*: `launch` of either engine as the
keeper calls it; `docker run --detach` with the same settings, its command line included; and the two requests to the
engine that a container takes at least. Each is timed until its program itself says that it listens, and is ended before
the next. *Rollouts* and *rollbacks*: two projects of two instances, one on each engine, take turns, each under {RATE}
requests per second all the time: as in the sections above, with one stage of 50 % and at least 200 ms. *Decided*,
*asked* and *the last request* are explained there. *Kept*: one project of eight services, each instance a container of
its own with a health path; `anew serve` keeps it, and nothing changes. RSS and PSS are of all processes of anew itself,
without containers and their engine; the edge, which is a container too, is told apart."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What many containers cost to keep; memory in MB, by the kernel's name for it."""

    instances: int
    up: float  # seconds of `anew up`
    anew: Mapping[str, float]
    edge: Mapping[str, float]
    cpu: tuple[float, ...]  # of the keeper, per cent of one processor, by window


def measure(arguments: argparse.Namespace) -> Section:
    """Measure the parts one after the other, each in both engines where that says something."""
    Client().require_reach()
    figures: list[Figure] = []
    counts: list[Count] = []
    for part in (measure_starts, measure_rollouts, measure_rollbacks, measure_kept):
        more, counted = part(arguments)
        figures += more
        counts += counted
    return Section("containers", "Docker beside embedded", METHOD, tuple(figures), tuple(counts))


def tell(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


def measure_starts(arguments: argparse.Namespace) -> tuple[list[Figure], list[Count]]:
    """Start the same in four ways, in turn."""
    if not arguments.starts:
        return [], []
    with rig_apart(engine="docker") as project:
        at = starts.places(project)
        took = {way: tuple(spans) for way, spans in starts.take_turns(at, arguments.starts, tell).items()}
    ours, plain, least = took["listens"], took["run"], took["create"]
    figures = [
        Figure("start on docker, until it listens", "ms", ours, peer_name="`docker run`", peer=plain),
        Figure("start on docker, until it listens", "ms", ours, peer_name="two requests", peer=least),
        Figure("what anew adds to `docker run`", "ms", less(ours, plain), Goal(median=100)),
        Figure("what anew adds to the two requests", "ms", less(ours, least)),
        Figure("start on docker, until `launch` returns", "ms", took["returns"]),
        Figure("start on embedded, until it listens", "ms", took["in sandbox"], peer_name="on docker", peer=ours),
        Figure("start on embedded, until `launch` returns", "ms", took["inside"]),
    ]
    return figures, []


def less(spans: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    """Return the difference of each turn."""
    return tuple(one - other for one, other in zip(spans, others, strict=True))


def measure_rollouts(arguments: argparse.Namespace) -> tuple[list[Figure], list[Count]]:
    """Roll out again and again under load, on the two engines in turn."""
    if not arguments.rollouts:
        return [], []
    took: dict[str, list[tuple[float, float]]] = {engine: [] for engine in ENGINES}
    refusals: list[str] = []
    with rig_apart(engine="docker", **SHAPE) as docker, rig_apart(**SHAPE) as embedded:
        projects = dict(zip(ENGINES, (docker, embedded), strict=True))
        for one in projects.values():
            one.write("r0")
            one.expect("up", limit=LIMIT)
        with LoadProcess(load(docker)) as loaded, LoadProcess(load(embedded)) as beside:
            traffic.wait_for_answer(loaded, "r0")
            for number in range(1, arguments.rollouts + 1):
                for engine, project in projects.items():
                    took[engine].append(roll_out(project, f"r{number}", refusals))
                tell(f"rollout {number}: {took['docker'][-1]}, dropped {loaded.figures().dropped}")
            counts = counted(loaded.stop(), "rollouts on docker", arguments.rollouts, refusals)
            other = beside.stop()
    counts.append(Count("the same on embedded: dropped", str(other.dropped), "0", other.dropped == 0))
    return [beside_each_other(name, "s", took, place) for name, place in ROLLOUT_ROWS], counts


def load(project: Rig) -> Load:
    """Return load of which two requests at any time are very slow."""
    return traffic.load(project, RATE)


def counted(figures: Figures, name: str, asked: int, refusals: Sequence[str]) -> list[Count]:
    """Return what was counted at the edge in a container."""
    for drop in figures.drops:
        tell(f"dropped: {drop}")
    served = sum(1 for one in figures.by_release if one.startswith("r") and one != "r0")
    errors = sum(count for status, count in figures.by_status.items() if status.startswith("5"))
    return [
        Count(f"{name} whose release answered requests", str(served), str(asked), served == asked),
        Count(f"{name}: `anew up` that was refused, on either engine", str(len(refusals)), "0", not refusals),
        Count(f"{name}: requests", f"{figures.sent:,}"),
        Count(f"{name}: dropped", str(figures.dropped), "0", figures.dropped == 0),
        Count(f"{name}: answered with 5xx", str(errors), "0", errors == 0),
        Count(f"{name}: retried", str(figures.retried)),
    ]


def beside_each_other(name: str, unit: str, took: Mapping[str, Sequence[tuple[float, ...]]], place: int) -> Figure:
    """Return one of several values of each turn on docker, with embedded as the peer."""
    ours, others = (tuple(one[place] for one in took[engine]) for engine in ENGINES)
    return Figure(f"docker, {name}", unit, ours, peer_name="embedded", peer=others)


def measure_rollbacks(arguments: argparse.Namespace) -> tuple[list[Figure], list[Count]]:
    """Roll out and back to what is warm, on the two engines in turn."""
    if not arguments.rollbacks:
        return [], []
    took: dict[str, list[tuple[float, float, float]]] = {engine: [] for engine in ENGINES}
    refusals: list[str] = []
    shape = {**SHAPE, "warm": "60s"}
    with rig_apart(engine="docker", **shape) as docker, rig_apart(**shape) as embedded:
        projects = dict(zip(ENGINES, (docker, embedded), strict=True))
        for one in projects.values():
            rollback.write(one, "r0")
            one.expect("up", limit=LIMIT)
        with LoadProcess(load(docker)) as loaded, LoadProcess(load(embedded)) as beside:
            traffic.wait_for_answer(loaded, "r0")
            for number in range(1, arguments.rollbacks + 1):
                for engine, project in projects.items():
                    requests = loaded if engine == "docker" else beside
                    back = rollback.once(project, requests, f"r{number}", refusals)
                    took[engine] += [(back.left, back.asked, back.whole)] if back else []
                tell(f"rollback {number}: {took['docker'][-1:]}")
            counts = counted(loaded.stop(), "rollbacks on docker", arguments.rollbacks, refusals)
    rows = ("rollback: from decided to the last request", "rollback: from asked to the last request")
    names = (*rows, "rollback: the whole command")
    return [beside_each_other(name, "ms", took, place) for place, name in enumerate(names)], counts


def measure_kept(arguments: argparse.Namespace) -> tuple[list[Figure], list[Count]]:
    """Bring many containers up, leave them alone, and look what keeps them."""
    if not arguments.instances:
        return [], []
    with rig_apart(engine="docker", warm="0s") as project:
        rest.write(project, arguments.instances)
        began = time.monotonic()
        project.expect("up", limit=LIMIT)
        up = time.monotonic() - began
        project.wait(project.is_idle, limit=READY, what="the keeper ends")
        with rest.kept(project) as pid:
            project.wait(lambda: len(rest.ready(project)) == arguments.instances, limit=READY, what="all are ready")
            time.sleep(rest.SETTLES)
            cpu = tuple(rest.cpu(pid, rest.WINDOW) for _ in range(3))
            kept = Kept(arguments.instances, up, *memory(project), cpu)
    return section_of(kept)


def memory(project: Rig) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Return the memory of anew's own processes, and that of the edge's."""
    found = project.processes()
    ours = [pid for pid, line in found.items() if " -m anew " in line]
    edges = [pid for pid in found if pid not in ours]
    if not ours or not edges:
        raise AnewError("neither keeper nor edge may be missing", facts={"processes": str(found)})
    tell(f"processes of anew: {[found[pid] for pid in ours]}; of the edge: {[found[pid] for pid in edges]}")
    return summed(ours), summed(edges)


def summed(pids: Sequence[int]) -> Mapping[str, float]:
    """Return the sums of the memory of processes."""
    every = [rest.memory_of(pid) for pid in pids]
    return {kind: sum(one[kind] for one in every) for kind in ("Rss", "Pss")}


def section_of(kept: Kept) -> tuple[list[Figure], list[Count]]:
    """Return what many containers cost, as rows."""
    name, rss = f"keeping {kept.instances} containers", kept.anew["Rss"]
    counts = [
        Count(f"{name}: seconds of `anew up`", f"{kept.up:.0f}"),
        Count(f"{name}: RSS of anew", f"{rss:.0f} MB", "≤ 150 MB", rss <= 150),
        Count(f"{name}: PSS of anew", f"{kept.anew['Pss']:.0f} MB"),
        Count(f"{name}: RSS, PSS of the edge", f"{kept.edge['Rss']:.0f} MB, {kept.edge['Pss']:.0f} MB"),
    ]
    return [Figure(f"{name}: the keeper, of one CPU, windows of 10 s", "%", kept.cpu)], counts


if __name__ == "__main__":
    numbers = {"starts": 30, "rollouts": 50, "rollbacks": 15, "instances": 100}
    sys.exit(page.run(measure, page.options(__doc__, **numbers)))
