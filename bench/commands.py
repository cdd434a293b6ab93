"""Commands that have nothing to do, or only look: how long a person waits."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Mapping

from figures import page
from figures.apart import rig_apart
from figures.figure import Figure, Goal, Section

from anew.errors import EngineError
from anew.testing.rig import Rig

METHOD = """Each is a process of its own, from its start to its end, on a project with two instances that serve, all of
which is built. The peer is the same Python with nothing to do (`python -c pass`), in turn with it. `up` finds
that nothing changed: it reads the project, recognises the image and the verdict, and sees that what is wanted
serves already."""


def measure(arguments: argparse.Namespace) -> Section:
    """Run the commands in turn."""
    idle: list[float] = []
    spans: dict[tuple[str, ...], list[float]] = {("up",): [], ("status",): [], ("plan",): [], ("--version",): []}
    used: dict[tuple[str, ...], list[float]] = {command: [] for command in spans}
    with rig_apart(warm="0s") as project:
        project.environment = compiled(project)
        project.write("r0")
        project.expect("up")
        project.wait(project.is_idle, limit=30, what="the keeper ends")
        for _ in range(arguments.times):
            idle.append(bare())
            for command, into in spans.items():
                before = children()
                into.append(command_span(project, command))
                used[command].append(children() - before)
    less = tuple(one - other for one, other in zip(spans["--version",], idle, strict=True))
    figures = (
        row("`anew up`, nothing to do", spans["up",], idle, Goal(median=500)),
        row("`anew status`", spans["status",], idle, Goal(median=300)),
        row("`anew plan`, nothing to do", spans["plan",], idle, Goal()),
        row("`anew --version`", spans["--version",], idle, Goal()),
        Figure("`anew --version` less bare Python", "ms", less, Goal(median=100)),
    )
    used_up = tuple(Figure(f"`anew {' '.join(name)}`, CPU", "ms", tuple(into)) for name, into in used.items())
    return Section("commands", "Commands", METHOD, (*figures, *used_up))


def compiled(project: Rig) -> Mapping[str, str]:
    """Return the environment in which Python keeps what it has compiled, as an installed anew has it."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(project.folder / "compiled")}


def row(name: str, spans: list[float], idle: list[float], goal: Goal) -> Figure:
    """Return one row, with bare Python as its peer."""
    return Figure(name, "ms", tuple(spans), goal, "bare Python", tuple(idle))


def children() -> float:
    """Return the milliseconds of CPU that all children used until now; hardly depends on how busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (used.ru_utime + used.ru_stime)


def bare() -> float:
    """Return the milliseconds of a Python that does nothing."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return 1000 * (time.perf_counter() - began)


def command_span(project: Rig, command: tuple[str, ...]) -> float:
    """Return the milliseconds of one command. Raises EngineError if it fails."""
    began = time.perf_counter()
    done = project.anew(*command)
    span = 1000 * (time.perf_counter() - began)
    if done.returncode:
        raise EngineError(f"anew {' '.join(command)} failed", facts={"output": done.stdout + done.stderr})
    return span


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, times=10)))
