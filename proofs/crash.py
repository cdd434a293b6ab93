"""The keeper is killed with SIGKILL before and after every effect of a rollout; a later command ends in the same world.

``script/prove crash [--engine docker] [--sample N] [--seed S]``: all effects of a rollout that promotes and of one that
rolls back, or N of them chosen by the seed. Under load all the time; not one request may be dropped.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from subjects import market
from subjects.leftovers import in_containers

from anew.errors import AnewError
from anew.testing.faults import MARK, TRACE
from anew.testing.load import Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig, rig, show

MOMENTS = ("before", "after")
PAUSE = 0.5  # seconds between two looks: each is a process, which would slow down what it looks at


@dataclass(frozen=True, slots=True)
class Try:
    """One rollout in which the keeper is killed once."""

    moment: str
    number: int
    is_good: bool

    def __str__(self) -> str:
        return f"{'promote' if self.is_good else 'roll back'}: killed {self.moment} effect {self.number}"


class Small:
    """One service with two instances."""

    header = ""
    slow = 2
    instances = 2

    def prepare(self, project: Rig) -> None:
        """Nothing has to be there first."""

    def write(self, project: Rig, number: int, *, is_good: bool) -> None:
        """Write the next release: a good one, or one that fails a fifth of its requests."""
        project.write(f"r{number}", bad=0 if is_good else 20)


class Market(Small):
    """Five services that need each other, one of them a worker, one raw TCP."""

    header = market.HOST
    slow = 0
    instances = market.INSTANCES

    def prepare(self, project: Rig) -> None:
        """Lay out the example."""
        market.prepare(project)

    def write(self, project: Rig, number: int, *, is_good: bool) -> None:
        """Write the next release: a good one, or one whose gateway fails a part of its requests."""
        market.write(project, number, "" if is_good else "gateway")


SUBJECTS: dict[str, Small] = {"rig": Small(), "market": Market()}


def attempt(project: Rig, subject: Small, one: Try, number: int) -> bool:
    """Roll out under the fault; return whether the keeper was killed (else the rollout had fewer effects)."""
    before = project.status()["serving"]
    subject.write(project, number, is_good=one.is_good)
    heard = len(project.keeper_log())
    project.anew("up", "--detach", faults=f"kill:{one.moment}:{one.number}")
    # A keeper needs a moment to get its lock, so that none runs says nothing yet.
    project.wait(
        lambda: MARK in project.keeper_log()[heard:] or (is_over(project) and project.is_idle()),
        limit=60,
        what="the keeper is killed, or has nothing left to do",
        pause=PAUSE,
    )
    was_killed = MARK in project.keeper_log()[heard:]
    project.wait(project.is_idle, limit=60, what="the killed keeper is gone", pause=PAUSE)
    project.expect(*(("up",) if one.is_good else ("serve", "--until-idle")))
    # `up` returns at once where the killed keeper had moved all traffic: the next one may not have its lock yet.
    project.wait(
        lambda: project.is_idle() and not is_leaving(project), limit=60, what="the next keeper ends", pause=PAUSE
    )
    check(project, subject, before, is_good=one.is_good)
    return was_killed


def is_leaving(project: Rig) -> bool:
    """Say whether a keeper still has something to end, or to keep warm, once it has begun."""
    status = project.status()
    roles = {g["role"] for s in status["services"] for g in s["groups"]}
    return bool(status["warm"]) or bool(roles - {"live"})


def is_over(project: Rig) -> bool:
    """Say whether what was asked for last has ended, well or not."""
    rollout = project.status()["rollout"]
    return rollout is not None and rollout["is_over"]


def check(project: Rig, subject: Small, before: str, *, is_good: bool) -> None:
    """Raise if the world is not the one that an undisturbed rollout leaves."""
    status = project.status()
    services = {s["name"]: s["groups"] for s in status["services"]}
    groups = [g for of_one in services.values() for g in of_one]
    wrong = []
    if is_good and status["serving"] == before:
        wrong.append("the new generation does not serve")
    if not is_good and status["serving"] != before:
        wrong.append(f"{status['serving']} serves, not {before}")
    if any(len(of_one) != 1 for of_one in services.values()) or {g["weight"] for g in groups} - {0, 1000}:
        wrong.append(f"the groups are {groups}")
    if any(g["ready"] != g["size"] for g in groups):
        wrong.append(f"not ready: {groups}")
    look = in_containers if project.engine == "docker" else in_sandboxes
    wrong += look(project, subject.instances)
    if wrong:
        raise AnewError("; ".join(wrong), facts={"keeper": project.keeper_log()[-3000:]})


def in_sandboxes(project: Rig, instances: int) -> Iterator[str]:
    """Say what is left over of the embedded engine's instances."""
    sandboxes = [line for line in project.processes().values() if "bwrap" in line.split(" ")[0]]
    per_instance = 2  # the outer process and the reaper inside
    if len(sandboxes) > per_instance * instances:
        yield "orphans: " + "\n".join(sandboxes)


def tries(arguments: argparse.Namespace, effects: dict[bool, int]) -> list[Try]:
    """Return all tries, or the sample that was asked for."""
    every = [
        Try(moment, number, is_good)
        for is_good in (True, False)
        for number in range(1, effects[is_good] + 1)
        for moment in MOMENTS
    ]
    if not arguments.sample:
        return every
    return random.Random(arguments.seed).sample(every, min(arguments.sample, len(every)))


def count_effects(project: Rig, subject: Small, number: int, *, is_good: bool) -> int:
    """Roll out undisturbed and return how many steps the keeper carried out."""
    subject.write(project, number, is_good=is_good)
    heard = len(project.keeper_log())
    project.anew("up", faults="trace")
    project.wait(project.is_idle, limit=60, what="the keeper ends")
    return sum(line.startswith(TRACE) for line in project.keeper_log()[heard:].splitlines())


def main() -> int:
    """Run the proof; 0 if every try ended in the same world and nothing was dropped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--project", choices=SUBJECTS, default="rig")
    parser.add_argument("--engine", choices=("embedded", "docker"), default="embedded")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    if (arguments.engine, arguments.project) == ("docker", "market"):
        parser.error("the market is laid out for the engine embedded")
    print(f"seed {arguments.seed}", flush=True)
    failed = 0
    subject = SUBJECTS[arguments.project]
    random.seed(arguments.seed)
    # Long enough for the evidence, whatever else the machine does; names in a container engine are everybody's.
    shape = {"at_most": "10s", "engine": arguments.engine}
    shape |= {"ready": "30s"} if arguments.engine == "docker" else {"project": arguments.project}
    with rig(**shape) as project:
        subject.prepare(project)
        subject.write(project, 1, is_good=True)
        project.expect("up", limit=300.0)
        project.wait(project.is_idle, limit=60, what="the first keeper ends")
        load = Load(
            project.port, header=subject.header, rate=100.0, keep_alive=4, fresh=2, slow=subject.slow, seconds=9000.0
        )
        with LoadProcess(load) as traffic:
            effects = {good: count_effects(project, subject, 2 + good, is_good=good) for good in (True, False)}
            print(f"effects: {effects[True]} of a rollout that promotes, {effects[False]} of one that rolls back")
            chosen = tries(arguments, effects)
            for number, one in enumerate(chosen):
                began = time.monotonic()
                try:
                    was_killed = attempt(project, subject, one, number + 4)
                except AnewError as error:
                    failed += 1
                    print(f"FAILED {one}: {show(error)}", flush=True)
                    continue
                dropped = traffic.figures().dropped
                said = "killed" if was_killed else "not reached"
                print(f"{one}: {said}, {time.monotonic() - began:.1f} s, dropped so far {dropped}", flush=True)
            figures = traffic.stop()
    print(f"tries {len(chosen)}, failed {failed}, requests {figures.sent}, dropped {figures.dropped}", flush=True)
    for drop in figures.drops:
        print(f"  dropped: {drop}")
    return 1 if failed or figures.dropped else 0


if __name__ == "__main__":
    sys.exit(main())
