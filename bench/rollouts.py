"""Rollouts in a row under load: nothing may be dropped, and how long each takes."""

from __future__ import annotations

import argparse
import sys
import time

from figures import page, traffic
from figures.apart import rig_apart
from figures.figure import Count, Figure, Section
from figures.ledger import entries, first

from anew.errors import EngineError
from anew.testing.load import Figures
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

RATE = 500  # requests per second, at least
METHOD = """Each rollout has a new image (another server program), two instances, one stage of 50 % and at
least 200 ms, and a warm window of 1 s. `anew up` is run for the next one as soon as the last one has all
traffic, so they overlap. The load is a process of its own: 28 connections that are kept alive, 4 clients
that open a connection for every request, and two that always wait for an answer that takes 2 s. A request
is *dropped* if no complete answer came; *retried* is what RFC 9112 lets a client do when a kept connection
ends without a byte of an answer. From *wanted* to *all traffic* is between the two commits in the ledger;
the command also builds the image and tests a throwaway instance."""


def measure(arguments: argparse.Namespace) -> Section:
    """Roll out again and again, and count."""
    commands: list[float] = []
    switches: list[float] = []
    refusals: list[str] = []
    with rig_apart(each="200ms", at_most="500ms", warm="1s") as project:
        project.write("r0")
        project.expect("up")
        with LoadProcess(traffic.load(project, RATE * 1.2)) as requests:
            traffic.wait_for_answer(requests, "r0")
            until = time.monotonic() + arguments.within
            for number in range(1, arguments.rollouts + 1):
                if time.monotonic() > until:
                    break
                seconds, switch = roll_out(project, f"r{number}", refusals)
                commands.append(seconds)
                switches.append(switch)
                if number % 10 == 0:
                    print(f"{number} rollouts, dropped {requests.figures().dropped}", file=sys.stderr, flush=True)
            figures = requests.stop()
    refused = Count("`anew up` that was refused and had to be said again", str(len(refusals)), "0", not refusals)
    return section(arguments.rollouts, figures, commands, switches, refused)


def accepted(project: Rig, refusals: list[str]) -> None:
    """Run `up`; if it is refused, note that and say it once more."""
    try:
        project.expect("up")
    except EngineError as error:
        refusals.append(error.facts["stderr"].splitlines()[0])
        print(f"refused: {refusals[-1]}", file=sys.stderr, flush=True)
        project.expect("up")


def roll_out(project: Rig, name: str, refusals: list[str]) -> tuple[float, float]:
    """Roll the next release out; return the seconds of the command, and from the wish to all traffic."""
    project.write(name)
    began, clock = time.time(), time.monotonic()
    accepted(project, refusals)
    seconds = time.monotonic() - clock
    found = entries(project, began)
    return seconds, first(found, "enter warm", "decision") - first(found, "g", "wish")


def section(asked: int, figures: Figures, commands: list[float], switches: list[float], refused: Count) -> Section:
    """Return what was counted as a section."""
    served = sum(1 for name in figures.by_release if name.startswith("r") and name != "r0")
    errors = sum(count for status, count in figures.by_status.items() if status.startswith("5"))
    counts = (
        Count(
            "rollouts that ended with all traffic on the new release",
            str(served),
            str(asked),
            served == asked,
        ),
        refused,
        Count("requests", f"{figures.sent:,}"),
        Count("requests per second", f"{traffic.rate(figures):.0f}", f"≥ {RATE}", traffic.rate(figures) >= RATE),
        Count("dropped", str(figures.dropped), "0", figures.dropped == 0),
        Count("answered with 5xx", str(errors), "0", errors == 0),
        Count("retried", str(figures.retried)),
        Count("left out because the load generator was late", str(figures.late)),
        Count(
            "milliseconds of an answer: median, 99th, worst",
            ", ".join(f"{figures.milliseconds[q]:g}" for q in ("p50", "p99", "worst")),
        ),
    )
    measured = (
        Figure("`anew up`, the whole command", "s", tuple(commands)),
        Figure("from wanted to all traffic", "s", tuple(switches)),
    )
    for drop in figures.drops:
        print(f"dropped: {drop}", file=sys.stderr)
    return Section("rollouts", "Rollouts in a row", METHOD, measured, counts)


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, rollouts=100, within=2400.0)))
