"""One release of five services, all of which changed: how much longer it takes than its stages and its slowest part."""

from __future__ import annotations

import argparse
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from figures import page
from figures.apart import rig_apart
from figures.figure import Count, Figure, Section
from figures.ledger import entries, first

from anew.errors import EngineError
from anew.testing.rig import Rig

sys.path.append(str(Path(__file__).resolve().parents[1] / "proofs"))
from subjects import market

EACH = 500.0  # milliseconds that a stage lasts
STAGES = 2
SHAPE = "stages: [10%, 50%], each: 500ms, at_most: 500ms, ready: 20s, drain: 10s, warm: 1s"
CHANGES = (  # in the example's spec, so that a new VERSION is a new image of all five, and stages wait for time alone
    ("stages: [10%, 50%, 100%], each: 1s, at_most: 10s, ready: 20s, drain: 10s, warm: 5s", SHAPE),
    ("cart/: /srv/app/}", "cart/: /srv/app/, VERSION: /srv/app/VERSION}"),
    ("worker/: /srv/app/}", "worker/: /srv/app/, VERSION: /srv/app/VERSION}"),
    ("    os: redis\n", "    os: redis\n    copy: {VERSION: /srv/VERSION}\n"),
    ("ready_after: 1s", "ready_after: 100ms"),
)
PATIENCE = 600.0  # seconds of one command; the first one makes two heads of Debian packages
SERVICES = 5
METHOD = """`examples/market`: five services that need each other (three speak HTTP, one TCP, one is a worker), nine
instances. Each rollout has a new image of all five, two stages of 500 ms whatever comes, and no load. `anew build`,
`anew test` and `anew up` are run one after the other, so that each does its own part, and when no keeper runs any more.
*The rollout* is from the commit of the wish to the commit that all traffic is on the new generation; its parts, from
commit to commit, add up to it. *Beyond its stages* is the rollout less the 1000 ms that they ask for. The peer is the
slowest single service of the same rollout: from the start of its first launch until all its instances answered
their health check. The worker, which starts with the first stage, is not among them; `full` waits for its last
instance, which must have lived for 100 ms."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One release, in milliseconds."""

    build: float  # `anew build`
    gate: float  # `anew test`
    command: float  # `anew up`
    together: float  # of which: until the wish is committed, with the gate of old callers and new callees
    keeper: float  # from here on: the rollout, until it begins
    prepare: float
    preview: float
    stages: float
    full: float
    slowest: float  # service, from its launch until it is ready

    @property
    def whole(self) -> float:
        """The rollout."""
        return self.keeper + self.prepare + self.preview + self.stages + self.full


def measure(arguments: argparse.Namespace) -> Section:
    """Release again and again."""
    passes: list[Pass] = []
    with rig_apart(project="market") as project:
        prepare(project)
        once(project, 0)  # the first one has nothing to compare with, and makes the heads
        for number in range(1, arguments.rollouts + 1):
            passes.append(once(project, number))
            print(f"{number}: {passes[-1]}", file=sys.stderr, flush=True)
    return section(passes, arguments.rollouts)


def prepare(project: Rig) -> None:
    """Lay the example out, changed so that every release changes all of it."""
    shutil.rmtree(project.root)
    market.prepare(project)
    spec = project.root / "anew.yaml"
    text = spec.read_text()
    for old, new in CHANGES:
        if old not in text:
            raise EngineError(f"the spec of the example has no `{old}` any more")
        text = text.replace(old, new)
    spec.write_text(text)


def once(project: Rig, number: int) -> Pass:
    """Bring version `number` live; the parts of a first one that has no stages are 0."""
    market.write(project, number)
    build, gate = timed(project, "build"), timed(project, "test")
    began = time.time()
    command = timed(project, "up")
    found = entries(project, began)
    marks = [began, first(found, "g", "wish")]
    for start in ("begin the rollout", "enter preview", "enter stage 1", "enter full", "enter warm"):
        is_skipped = not number and start in {"enter preview", "enter stage 1"}
        marks.append(marks[-1] if is_skipped else first(found, start, "decision"))
    together, *rest = (1000 * (after - before) for before, after in pairwise(marks))
    slowest = max(spans(project, began))
    project.wait(project.is_idle, limit=30, what="the keeper ends")
    return Pass(build, gate, command, together, *rest, slowest)


def timed(project: Rig, command: str) -> float:
    """Return the milliseconds of one command."""
    clock = time.monotonic()
    project.expect(command, limit=PATIENCE)
    return 1000 * (time.monotonic() - clock)


def spans(project: Rig, after: float) -> Sequence[float]:
    """Return the milliseconds from launch to ready of each service that the edge knows, as the attempts show them.

    Raises  EngineError if they show it of fewer than all that listen.
    """
    with closing(sqlite3.connect(f"file:{project.home / 'state.db'}?mode=ro", uri=True)) as database:
        rows = list(database.execute("select begun, step from attempts where begun >= ? order by number", (after,)))
    launched: dict[str, list[float]] = {}
    for begun, step in rows:
        one = re.fullmatch(r"launch market-local-(\w+-g\d+)-\d+", step)
        if one and not one[1].startswith("worker"):
            launched.setdefault(one[1], []).append(begun)
    out = []
    for group, times in launched.items():
        whole = f"{group} ({len(times)})"  # is told to the edge as soon as all are ready
        told = [begun for begun, step in rows if step.startswith("declare") and whole in step and begun > times[0]]
        out += [1000 * (told[0] - min(times))] if told else []
    if len(out) != SERVICES - 1:
        raise EngineError(f"the attempts show {len(out)} services from launch to ready, not {SERVICES - 1}")
    return out


def section(passes: Sequence[Pass], asked: int) -> Section:
    """Return all passes as rows."""
    beyond = tuple(one.whole - STAGES * EACH for one in passes)
    slowest = tuple(one.slowest for one in passes)
    parts = ("keeper", "prepare", "preview", "stages", "full")
    names = ("until the keeper begins", "prepare, until all are ready", "preview", "stages", "full, until confirmed")
    figures = (
        Figure("rollout beyond what its stages ask for", "ms", beyond, peer_name="slowest service", peer=slowest),
        Figure("the rollout", "ms", tuple(one.whole for one in passes)),
        *(
            Figure(f"of it: {name}", "ms", tuple(getattr(one, part) for one in passes))
            for name, part in zip(names, parts, strict=True)
        ),
        Figure("before it: `anew build`, five images", "ms", tuple(one.build for one in passes)),
        Figure("before it: `anew test`, the image gate", "ms", tuple(one.gate for one in passes)),
        Figure("before it: old callers with new callees, and the seal", "ms", tuple(one.together for one in passes)),
        Figure("`anew up`, the whole command", "ms", tuple(one.command for one in passes)),
    )
    counts = (Count("rollouts in which all five changed", str(len(passes)), str(asked), len(passes) == asked),)
    return Section("market", "A release of five services", METHOD, figures, counts)


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, rollouts=8)))
