"""Whole lives of environments, simulated by the thousand: no invariant breaks, whatever goes wrong.

``script/prove simulator [--rollouts N] [--seed S]``: lives of about five rollouts of 1 to 8 services of all kinds, in
as many processes as there are cores, until at least N rollouts have ended. Three kinds of life take turns: without
faults and without an operator, where every good release must be kept and every bad one taken back; with an operator
who aborts, promotes, rolls back and overtakes; and with an operator and faults. Prints the seed, how rollouts ended,
what went wrong on purpose, and each violation with the seed of its life. Exit code 0 only if there is none.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count

from anew.testing.scenes import NONE, ROUGH
from anew.testing.simulator import Report, simulate

AT_ONCE = 10  # lives that one process simulates before it reports
LIFE = ((NONE, False), (NONE, True), (ROUGH, True))  # faults, and whether an operator acts


@dataclass(slots=True)
class Sum:
    """What many lives were like."""

    lives: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    services: Counter[int] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def rollouts(self) -> int:
        """How many rollouts ended."""
        return sum(self.ends.values())

    def add(self, report: Report) -> None:
        """Add one life."""
        self.lives += 1
        self.ends.update(report.ends)
        self.services[report.services] += 1
        self.figures.update(
            {
                "rounds": report.rounds,
                "effects": report.effects,
                "keepers killed": report.crashes,
                "effects that failed, or seemed to": report.setbacks,
                "instances that died or hung": report.accidents,
                "commands and scheduled runs": report.tasks,
                "rollouts overtaken by another wish": report.superseded,
            }
        )
        self.violations += [f"seed {report.seed}: {one}" for one in report.violations]

    def merge(self, other: Sum) -> None:
        """Add what another process found."""
        self.lives += other.lives
        self.ends += other.ends
        self.services += other.services
        self.figures += other.figures
        self.violations += other.violations


def main() -> int:
    """Run the proof; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=10_000, help="stop when so many have ended")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"seed {options.seed}, at least {options.rollouts:,} rollouts, {cores} processes", flush=True)
    begun = time.monotonic()
    total = Sum()
    with ProcessPoolExecutor(cores) as pool:
        for one in _until(pool, cores, options.seed, lambda: total.rollouts >= options.rollouts):
            total.merge(one)
    print(told(total, time.monotonic() - begun))
    return 1 if total.violations else 0


def lives(first: int) -> Sum:
    """Simulate `AT_ONCE` lives from the seed `first` on; the kind of each follows from its seed."""
    out = Sum()
    for seed in range(first, first + AT_ONCE):
        faults, may_act = LIFE[seed % len(LIFE)]
        try:
            out.add(simulate(seed, faults=faults, may_act=may_act))
        except Exception as error:  # noqa: BLE001 - a decision that raises is a violation like any other
            out.violations.append(f"seed {seed}: {error!r}")
    return out


def told(total: Sum, seconds: float) -> str:
    """Return the figures as text."""
    lines = [f"{total.rollouts:,} rollouts in {total.lives:,} lives, in {seconds:.0f} s"]
    lines += [f"{number:>9,}  {end}" for end, number in sorted(total.ends.items())]
    sizes = ", ".join(f"{n}: {lives:,}" for n, lives in sorted(total.services.items()))
    lines += [f"lives by their number of services: {sizes}"]
    lines += [f"{number:>9,}  {what}" for what, number in total.figures.items()]
    lines += [*total.violations[:50], f"{len(total.violations):>9,}  violations"]
    return "\n".join(lines)


def _until(pool: ProcessPoolExecutor, cores: int, seed: int, is_enough: Callable[[], bool]) -> Iterator[Sum]:
    """Yield what is found, and keep every core busy, until it is enough; then what was begun still ends."""
    seeds = count(seed, AT_ONCE)
    running: set[Future[Sum]] = {pool.submit(lives, next(seeds)) for _ in range(2 * cores)}
    while running:
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        for one in ended:
            yield one.result()
        if not is_enough():
            running |= {pool.submit(lives, next(seeds)) for _ in ended}


if __name__ == "__main__":
    sys.exit(main())
