"""Verdicts on real requests: releases with 2 % errors are taken back in time, and healthy ones are not.

``script/prove verdict [--bad N] [--healthy N] [--seed S]``. Bad: the old release answers well, the new one answers 2 %
of its requests with 500; one stage of 10 % under 200 requests/s; how long from the stage to no traffic on the new
group, and from the last error that the verdict counted to the decision. Healthy: old and new answer 1 % with 500, one
stage of 50 % for at most 4 s; at most 3 of 100 may be taken back. The errors are drawn at random by each instance.
"""

from __future__ import annotations

import argparse
import bisect
import random
import re
import sqlite3
import statistics
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from anew.errors import AnewError, EngineError
from anew.testing.load import Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig, rig, show

RATE, BUSY = 200.0, 400.0  # requests per second, of the bad and of the healthy
BAD, USUAL = 0.02, 0.01  # parts of the answers
IN_TIME, TOLD_WITHIN = 30.0, 1.0  # seconds
MOST_BACK = 0.03
COUNTED = re.compile(r"([\d.]+) % of (\d+) requests failed")


@dataclass(frozen=True, slots=True)
class Back:
    """How a bad release went back, in seconds."""

    weightless: float  # from the stage to no traffic
    told: float  # from the last error that was counted to the decision


class Watcher:
    """Notes how many errors of each release its callers have seen, and when."""

    def __init__(self, load: LoadProcess) -> None:
        self._load = load
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen: dict[str, list[tuple[int, float]]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._told.wait(0.02):
            for name, one in dict(self._load.figures().by_release).items():
                known = self.seen.setdefault(name, [])
                if not known or known[-1][0] < one.errors:
                    known.append((one.errors, time.time()))

    def when(self, release: str, errors: int) -> float:
        """Return when so many errors had been seen."""
        known = self.seen.get(release, [])
        at = bisect.bisect_left(known, (errors, 0.0))
        return known[at][1] if at < len(known) else time.time()


def write(project: Rig, release: str, errors: float) -> None:
    """Write a release whose answers are errors at random."""
    project.write(release)
    path = project.root / "app" / "server.py"
    text = path.read_text()
    drawn = text.replace("500 if COUNT * 37 % 100 < 0 else 200", f"500 if random.random() < {errors} else 200")
    if drawn == text:
        raise EngineError("the rig's server is another one than this proof knows")
    path.write_text(drawn.replace("import http.server,", "import random, http.server,"))


def load(project: Rig, rate: float) -> LoadProcess:
    """Return callers of that rate."""
    return LoadProcess(Load(project.port, rate=rate, keep_alive=16, fresh=2, slow=0, seconds=7200.0, most=10_000_000))


def bad(number: int, most: int) -> list[Back]:
    """Bring bad releases; return how each went back."""
    out: list[Back] = []
    shape = {"stages": "10%", "each": "1s", "at_most": "60s", "warm": "0s", "size": 1}
    with rig(**shape) as project:
        write(project, "good", 0.0)
        project.expect("up")
        with load(project, RATE) as requests, Watcher(requests) as watcher:
            for at in range(number):
                write(project, f"bad{at}", BAD)
                done = project.anew("up", limit=180.0)
                if done.returncode != 6:
                    print(f"bad{at}: NOT taken back: {done.stdout[-500:]}{done.stderr[-500:]}", flush=True)
                    continue
                project.wait(lambda: is_back(project), limit=30, what="all traffic is back")
                found = went_back(project, watcher, f"bad{at}")
                out.append(found)
                print(f"bad{at}: {found.weightless:.1f} s, told after {found.told:.2f} s", flush=True)
                if len(out) == most:
                    break
    return out


def is_back(project: Rig) -> bool:
    """Say whether no rollout is under way any more."""
    return project.status()["rollout"]["phase"] in {"rolled back", "done"}


def went_back(project: Rig, watcher: Watcher, release: str) -> Back:
    """Return how the last rollout went back, from the ledger."""
    found = events(project)
    begun = max(at for at, text in found if text.startswith("enter stage 1"))
    decided, reason = max((at, text) for at, text in found if text.startswith("enter rolling back"))
    gone = max(at for at, text in found if text.startswith("enter rolled back"))
    counted = COUNTED.search(reason)
    errors = round(float(counted[1]) * int(counted[2]) / 100) if counted else 1
    return Back(gone - begun, max(0.0, decided - watcher.when(release, errors)))


def events(project: Rig) -> list[tuple[float, str]]:
    """Return the decisions of the ledger with their times."""
    with closing(sqlite3.connect(f"file:{project.home / 'state.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("select at, text from events where kind = 'decision' order by number")
        return [(float(at), str(text)) for at, text in rows]


def healthy(number: int) -> tuple[int, int]:
    """Bring healthy releases; return how many were taken back, and how many passed by their evidence."""
    back = 0
    shape = {"stages": "50%", "each": "500ms", "at_most": "4s", "warm": "0s", "size": 1}
    with rig(**shape) as project:
        write(project, "h0", USUAL)
        project.expect("up")
        with load(project, BUSY) as requests:
            for at in range(1, number + 1):
                write(project, f"h{at}", USUAL)
                done = project.anew("up", limit=180.0)
                if done.returncode not in {0, 6}:
                    raise EngineError(f"`anew up` ended with {done.returncode}", facts={"output": done.stderr})
                back += done.returncode == 6
                if at % 10 == 0:
                    print(f"healthy: {at}, taken back {back}", flush=True)
                if done.returncode:
                    project.wait(lambda: is_back(project), limit=30, what="all traffic is back")
            dropped = requests.stop().dropped
        passed = sum("it is not worse" in text for _, text in events(project) if text.startswith("enter full"))
    print(f"healthy: {number}, taken back {back}, passed by their evidence {passed}, dropped {dropped}", flush=True)
    return back, dropped


def main() -> int:
    """Run the proof; 0 if all went as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--healthy", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}; the instances draw their own", flush=True)
    try:
        gone = bad(arguments.bad, arguments.bad)
        back, dropped = healthy(arguments.healthy)
    except AnewError as error:
        print(f"FAILED: {show(error)}")
        return 1
    spans = sorted(one.weightless for one in gone) or [0.0]
    told = sorted(one.told for one in gone) or [0.0]
    in_time = sum(span <= IN_TIME for span in spans) if gone else 0
    print(f"bad: {in_time} of {arguments.bad} without traffic within {IN_TIME:g} s of their stage")
    print(f"seconds to no traffic: median {statistics.median(spans):.1f}, worst {spans[-1]:.1f}")
    print(f"seconds from the last counted error to the decision: median {statistics.median(told):.2f}, {told[-1]:.2f}")
    is_good = in_time == arguments.bad and back <= MOST_BACK * arguments.healthy and not dropped
    return 0 if is_good and told[-1] <= TOLD_WITHIN else 1


if __name__ == "__main__":
    sys.exit(main())
