"""Whoever touches a running instance is found within ten seconds, and it is replaced; who touches nothing, never.

``script/prove touches --engine docker|embedded [--untouched MINUTES]``: ways of touching, one after the other, each on
an instance that has traffic, while a keeper runs; then a canary that is touched, and a keeper that was away. With
`--untouched` nobody touches anything, and the programs write, breed and talk for so long.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Thread

from subjects import touched, ways
from subjects.touched import SERVICES, SIZE, Shape
from subjects.ways import Way

from anew.errors import AnewError
from anew.testing.load import Figures, Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import HEADS, Rig, rig, show

FOUND_WITHIN = 10.0  # seconds: what is promised
LOOKED_FOR = 60.0  # seconds for which a touch is waited for, to say how late it was
REPLACED_WITHIN = 90.0  # seconds; where an instance is touched again and again, the next one waits longer
LONGEST_UP = 600.0  # seconds; the first one may build a head and the image of the edge
LOOK_EVERY = 60.0  # seconds between two words about those who are not touched
FORGETS = 300  # things that a container engine is made to do while nobody looks; it remembers fewer
QUIET = 3.0  # seconds; from an instance's leaving to the edge's knowing, and then for as long nothing comes
PATIENCE = 10.0  # seconds for which a caller waits for an answer
CLIENTS = 4  # of each service, which send one request after the other
AWAY = 40.0  # seconds without a keeper


def main() -> int:
    """Run the proof; 0 if all was found in time, or, untouched, nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=sorted(HEADS), default="embedded")
    parser.add_argument("--untouched", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--only", default="", help="only the ways in whose name this is")
    arguments = parser.parse_args()
    name = f"touched-{time.time_ns() % 0xFFFFFF:x}"
    with rig(project=name, engine=arguments.engine, warm="1s") as project:
        try:
            if arguments.untouched:
                is_well = leave_alone(project, arguments.untouched * 60.0)
            else:
                is_well = prove(project, arguments.only)
        except AnewError as error:
            print(f"FAILED: {show(error)}\n{touched.said(project)[-4000:]}")
            return 1
        finally:
            project.anew("dispose", limit=180.0)
    print("proved" if is_well else "NOT proved")
    return 0 if is_well else 1


@contextmanager
def loaded(project: Rig, rate: float, seconds: float) -> Iterator[dict[str, LoadProcess]]:
    """Send requests to every service; yield the load of each."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(LoadProcess(load_of(project, name, rate, seconds))) for name in SERVICES}


def load_of(project: Rig, service: str, rate: float, seconds: float) -> Load:
    """Return the load of one service."""
    host = f"{service}.{project.project}.localhost"
    return Load(
        project.port,
        header=host,
        rate=rate,
        keep_alive=CLIENTS // 2,
        fresh=CLIENTS // 2,
        slow=0,
        seconds=seconds,
        interval=0.5,
        patience=PATIENCE,
    )


def went_wrong(figures: Figures) -> int:
    """Return how many requests had no answer, or one that says that something failed."""
    return figures.dropped + sum(count for status, count in figures.by_status.items() if status != "200")


def leave_alone(project: Rig, seconds: float) -> bool:
    """Look for so long at instances which nobody touches; return whether none was taken for touched."""
    touched.write(project, Shape(is_busy=True))
    project.expect("up", limit=LONGEST_UP)
    before = touched.instances(project)
    print(f"{len(before)} instances of {len(SERVICES)} services are left alone for {seconds / 60:g} min", flush=True)
    with touched.kept(project), loaded(project, 4.0, seconds + 600.0) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not touched.tainted(project):
            time.sleep(min(LOOK_EVERY, max(0.0, end - time.monotonic())))
            left = max(0.0, end - time.monotonic())
            print(f"{time.strftime('%H:%M:%S')}  {left / 60:.0f} minutes to go", flush=True)
        found, after = touched.tainted(project), touched.instances(project)
        figures = [one.stop() for one in load.values()]
        rounds = [touched.rounds(project, name) for name in after]
    sent, wrong = sum(one.sent for one in figures), sum(went_wrong(one) for one in figures)
    print(f"tainted {len(found)}, replaced {len(set(before) - set(after))}, rounds of writing {min(rounds)} or more")
    print(f"requests {sent}, dropped or failed {wrong}; nobody could watch: {touched.unwatched(project)}")
    for name, (_, evidence) in found.items():
        print(f"  {name}: {evidence}")
    return not found and after == before and not wrong and min(rounds) > 0


def prove(project: Rig, only: str) -> bool:
    """Touch in every way there is, and then a canary and behind the keeper's back; return whether all went well."""
    touched.write(project, Shape())
    project.expect("up", limit=LONGEST_UP)
    every = [way for way in ways.BY_ENGINE[project.engine] if only in way.name]
    with touched.kept(project), loaded(project, 40.0, 3600.0) as load:
        results = [
            Touch(project, SERVICES[n % len(SERVICES)], load[SERVICES[n % len(SERVICES)]]).show(way)
            for n, way in enumerate(every)
        ]
        is_taken_back = only != "" or canary(project)
        figures = [one.stop() for one in load.values()]
    sent, dropped = sum(one.sent for one in figures), sum(one.dropped for one in figures)
    failed = sum(went_wrong(one) for one in figures) - dropped
    well, cut = sum(one.is_well for one in results), sum(one.cut for one in results)
    lost = dropped + failed - cut
    print(f"{len(results)} ways, {well} as promised; requests {sent}, dropped {dropped}, failed {failed}, of these")
    print(f"{cut} by what was done to the instance itself; lost by its replacement {lost}")
    for one in figures:
        for drop in one.drops[:3]:
            print(f"  dropped: {drop}")
    is_known = only != "" or behind_the_back(project)
    return well == len(results) and not lost and is_taken_back and is_known


@dataclass(frozen=True, slots=True)
class Shown:
    """How it went with one way."""

    is_well: bool
    cut: int  # requests that the act itself cut off


@dataclass(frozen=True, slots=True)
class Touch:
    """One instance of a service, which is touched."""

    project: Rig
    service: str
    load: LoadProcess

    def show(self, way: Way) -> Shown:
        """Touch an instance, wait for all that is promised, and print it."""
        project = self.project
        project.wait(lambda: self._ready() == SIZE, limit=REPLACED_WITHIN, what=f"{self.service} is whole")
        name = self._newest()
        token, before = touched.token(project, name), went_wrong(self.load.figures())
        with ExitStack() as stack:
            one = ways.victim(project, name)
            began = time.time()
            refused = way.act(one, stack)
            if refused:
                print(f"   refused: {refused}")
            at, evidence = self._found(name, way)
            project.wait(lambda: self._ready() == SIZE, limit=REPLACED_WITHIN, what=f"{name} is replaced")
            says = self._wrong(name, way, evidence, token)
        if way.may_break:
            time.sleep(PATIENCE + QUIET)  # until the callers have given up what hangs in it
        lost = went_wrong(self.load.figures()) - before
        cut = lost if way.may_break and lost <= CLIENTS else 0
        took = at - began
        if took > FOUND_WITHIN:
            says.append(f"found after more than {FOUND_WITHIN:g} s")
        if lost > cut:
            says.append(f"{lost} requests went wrong")
        if cut:
            print(
                f"   {cut} requests were inside, or on their way in, and went down with it: one of each caller at most"
            )
        mark = "ok" if not says else "WRONG: " + "; ".join(says)
        print(f"{took:5.1f} s  {way.name}\n         {evidence}\n         {mark}", flush=True)
        return Shown(not says, cut)

    def _is_quiet(self, name: str, token: str) -> bool:
        """Say whether an instance that has left answers nothing for a while, though its service is asked."""
        what = f"{name} leaves traffic"
        self.project.wait(lambda: touched.has_left(self.project, name), limit=REPLACED_WITHIN, what=what)
        time.sleep(QUIET)
        before = self.load.figures()
        time.sleep(QUIET)
        after = self.load.figures()
        is_asked = after.answered > before.answered
        return is_asked and after.by_release[token].answered == before.by_release[token].answered

    def _ready(self) -> int:
        found = next(one for one in self.project.status()["services"] if one["name"] == self.service)
        return max((int(group["ready"]) for group in found["groups"] if group["role"] == "live"), default=0)

    def _newest(self) -> str:
        """Return the newest instance that serves: it was touched by nobody."""
        marks = touched.tainted(self.project)
        names = [one for one in touched.instances(self.project) if f"-{self.service}-g" in one and one not in marks]
        return names[-1]

    def _found(self, name: str, way: Way) -> tuple[float, str]:
        """Wait until the ledger tells that an instance was touched, or ended by it; return when and what."""
        seen = touched.ended if way.is_end else touched.tainted
        what = f"{way.name}: the ledger tells it"
        self.project.wait(lambda: name in seen(self.project), limit=LOOKED_FOR, what=what)
        return seen(self.project)[name]

    def _wrong(self, name: str, way: Way, evidence: str, token: str) -> list[str]:
        """Return what is not as promised of an instance that was replaced."""
        status, why = self.project.expect("status"), self.project.expect("why")
        is_quiet = way.is_end or self._is_quiet(name, token)
        found = {
            f"the evidence does not say: {way.says}": way.says in evidence,
            "`anew why` does not tell it": name in why and evidence in why,
            "`anew status` does not tell it": way.is_end or (name in status and evidence in status),
            "it is not kept": way.is_end or name in touched.instances(self.project),
            "it was sent requests after it had left": is_quiet,
        }
        return [says for says, is_so in found.items() if not is_so]


def canary(project: Rig) -> bool:
    """Touch an instance of a new generation that has a part of the traffic; return whether its rollout went back."""
    before = project.status()["serving"]
    touched.write(project, Shape(release="r2", stages="50%", each="40s"))
    outcome: list[int] = []
    moving = Thread(target=lambda: outcome.append(project.anew("up", limit=LONGEST_UP).returncode))
    moving.start()

    def is_in_stage() -> bool:
        rollout = project.status()["rollout"]
        return bool(rollout) and rollout["generation"] != before and rollout["phase"].startswith("stage")

    project.wait(is_in_stage, limit=180.0, what="the canary has traffic")
    name = touched.instances(project)[-1]
    with ExitStack() as stack:
        ways.ANYWHERE[0].act(ways.victim(project, name), stack)
        moving.join(180.0)
    after, why = project.status(), project.expect("why")
    is_well = outcome == [6] and after["serving"] == before and "tainted" in after["rollout"]["reason"]
    print(f"the canary {name} is touched: `anew up` ends with {outcome}, {after['serving']} serves")
    print("         " + "\n         ".join(why.splitlines()[:2]), flush=True)
    return is_well and "was rolled back" in why


def behind_the_back(project: Rig) -> bool:
    """Touch an instance while no keeper runs; return whether the next one knows, or says that it can't."""
    name = touched.instances(project)[0]
    is_docker = project.engine == "docker"
    one = next(n for n in touched.instances(project) if n not in touched.tainted(project))
    if is_docker:
        touched.docker("exec", one, "true", limit=30)
        with touched.kept(project):
            project.wait(lambda: one in touched.tainted(project), limit=LOOKED_FOR, what="it is found afterwards")
        print(f"touched while no keeper ran: {touched.tainted(project)[one][1]}")
    before = len(touched.unwatched(project))
    began = time.monotonic()
    if is_docker:
        for number in range(FORGETS):
            touched.docker("tag", image(name), f"{project.project}-x:{number}", limit=30)
        for number in range(FORGETS):
            touched.docker("rmi", f"{project.project}-x:{number}", limit=30)
    time.sleep(max(0.0, AWAY - (time.monotonic() - began)))
    with touched.kept(project):
        project.wait(lambda: len(touched.unwatched(project)) > before, limit=LOOKED_FOR, what="a gap is written down")
    print(f"a gap: {touched.unwatched(project)[-1]}", flush=True)
    return True


def image(name: str) -> str:
    """Return the image of a container."""
    return touched.docker("inspect", "-f", "{{.Image}}", name, limit=30).strip()


if __name__ == "__main__":
    sys.exit(main())
