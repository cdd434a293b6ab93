"""Rollbacks to a warm generation, and the way of a new one into traffic: how long each takes under load."""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import dataclass

from figures import page, traffic
from figures.apart import rig_apart
from figures.figure import Count, Figure, Goal, Section
from figures.ledger import Entry, entries, first
from rollouts import accepted

from anew.errors import EngineError
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

RATE = 500  # requests per second, at least
LEFT = 0.4  # seconds in which a request that was sent before the shift is answered, and the figures have come
BELL = "server.serve_forever(poll_interval=0.05)\n"
RUNG = "print(f'listens {time.time():.4f}', flush=True)\n" + BELL
METHOD = """One release serves; another is rolled out beside it (one stage of 50 %), and as soon as it has all traffic,
`anew rollback` goes back to the first one, which is warm. *Decided* is the commit in the ledger by which the
rollback begins; *the last request* is the last one that the release that was left answered, by the time at
which the client sent it, under the load of the measurement above. *Asked* is the commit of the wish. *Listens*
is said by the last instance of the new release itself, right before it accepts connections; *ready* is the
commit that says that all are ready; and *first request* is when the first request that the new release answered
was sent."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One release in and out again; milliseconds."""

    left: float  # from decided to the last request of the release that was left
    asked: float  # from asked to the same
    whole: float  # the command `anew rollback`
    reached: float  # from ready to the first request
    listens: float  # from listens to the first request
    noticed: float  # from listens to ready


def measure(arguments: argparse.Namespace) -> Section:
    """Roll out and back again and again."""
    passes: list[Pass] = []
    refusals: list[str] = []
    with rig_apart(each="200ms", at_most="500ms", warm="30s") as project:
        write(project, "r0")
        project.expect("up")
        with LoadProcess(traffic.load(project, RATE * 1.2)) as requests:
            traffic.wait_for_answer(requests, "r0")
            until = time.monotonic() + arguments.within
            for number in range(1, arguments.rollbacks + 1):
                if time.monotonic() > until:
                    break
                one = once(project, requests, f"r{number}", refusals)
                print(f"{number}: {one}", file=sys.stderr, flush=True)
                passes += [one] if one else []
            figures = requests.stop()
    rate = traffic.rate(figures)
    counts = (
        Count("rollbacks", str(len(passes)), str(arguments.rollbacks), len(passes) == arguments.rollbacks),
        Count("`anew up` that was refused and had to be said again", str(len(refusals)), "0", not refusals),
        Count("requests", f"{figures.sent:,}"),
        Count("requests per second", f"{rate:.0f}", f"≥ {RATE}", rate >= RATE),
        Count("dropped", str(figures.dropped), "0", figures.dropped == 0),
        Count("retried", str(figures.retried)),
    )
    return Section("rollback", "Rollback to a warm generation, and the first request", METHOD, rows(passes), counts)


def write(project: Rig, name: str) -> None:
    """Write a release whose instances say when they listen."""
    project.write(name)
    program = project.root / "app" / "server.py"
    program.write_text(program.read_text().replace(BELL, RUNG))


def once(project: Rig, requests: LoadProcess, name: str, refusals: list[str]) -> Pass | None:
    """Roll one release out and back; None if the machine was so slow that the way back was no longer warm."""
    write(project, name)
    began = time.time()
    accepted(project, refusals)
    turned, clock = time.time(), time.monotonic()
    project.expect("rollback")
    whole = time.monotonic() - clock
    time.sleep(LEFT)
    answers = requests.figures().by_release[name]
    up, back = entries(project, began), entries(project, turned)
    begun, wish = first(back, "begin the rollback", "decision"), first(back, "g", "wish")
    ready = first(up, "enter preview", "decision")
    listened = listens(project, sealed(up))
    if any(one.text.startswith("launch") for one in back):
        return None
    if not ready <= answers.first_sent <= answers.last_sent:
        raise EngineError(f"{name} answered before it was ready", facts={"keeper": project.keeper_log()[-2000:]})
    spans = (
        max(0.0, answers.last_sent - begun),
        answers.last_sent - wish,
        whole,
        answers.first_sent - ready,
        answers.first_sent - listened,
        ready - listened,
    )
    return Pass(*(1000 * one for one in spans))


def sealed(found: list[Entry]) -> str:
    """Return the group that the newest generation has sealed; raises LookupError if there is none."""
    texts = [one.text for one in found if one.text.startswith("seal ")]
    for words in (text.split() for text in reversed(texts)):
        return words[words.index("new") - 1]
    raise LookupError("nothing was sealed")


def listens(project: Rig, group: str) -> float:
    """Return when the last instance of a group said that it listens."""
    said = project.expect("logs", group, "-n", "100000")
    times = [float(at) for at in re.findall(r"\blistens (\d+\.\d+)", said)]
    if len(times) != project.size:
        raise EngineError(f"{len(times)} instances of {group} said that they listen", facts={"logs": said[-2000:]})
    return max(times)


def rows(passes: list[Pass]) -> tuple[Figure, ...]:
    """Return the figures of all passes."""
    return (
        Figure("rollback: from decided to the last request", "ms", tuple(p.left for p in passes), Goal(50, 500)),
        Figure("rollback: from asked to the last request", "ms", tuple(p.asked for p in passes)),
        Figure("rollback: the whole command", "ms", tuple(p.whole for p in passes)),
        Figure("rollout: from ready to the first request", "ms", tuple(p.reached for p in passes), Goal(200)),
        Figure("rollout: from listens to the first request", "ms", tuple(p.listens for p in passes), Goal(200)),
        Figure("rollout: from listens to ready", "ms", tuple(p.noticed for p in passes)),
    )


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, rollbacks=30, within=1200.0)))
