"""The page of figures, ``docs/benchmarks.md``: a head about the machine, and a section per measurement.

A measurement replaces its own section and the head and leaves the others, so a short one can be run by itself.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from anew.errors import AnewError
from anew.testing.rig import show
from figures.figure import Figure, Goal, Section, Table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
ORDER = (
    "rollouts",
    "rollback",
    "launch",
    "commands",
    "rest",
    "telemetry",
    "decide",
    "canary",
    "market",
    "containers",
    "build",
    "registry",
)
HELP = {
    "within": "seconds after which no new one begins",
    "decisions": "of each size",
    "traces": "of each comparison",
    "processes": "at a time",
}


def options(description: str | None, **numbers: float) -> argparse.ArgumentParser:
    """Return the options of a measurement: a number each, whole if its default is, and ``--write``."""
    out = argparse.ArgumentParser(description=description)
    for name, default in numbers.items():
        out.add_argument(f"--{name}", type=type(default), default=default, help=HELP.get(name))
    out.add_argument("--write", action="store_true", help=f"put the figures into docs/{PAGE.name}")
    return out


def run(measure: Callable[[argparse.Namespace], Section], parser: argparse.ArgumentParser) -> int:
    """Measure as the command line says, print the section, write it with ``--write``; 1 if a goal is missed."""
    arguments = parser.parse_args()
    try:
        section = measure(arguments)
    except AnewError as error:
        print(show(error), file=sys.stderr)
        return error.exit_code
    print(text(section))
    if arguments.write:
        write(section)
    return 0 if section.is_met else 1


def write(section: Section) -> None:
    """Replace one section of the page, and the head."""
    old = PAGE.read_text("utf-8") if PAGE.exists() else ""
    sections = {name: old_text for name, old_text in _sections(old).items() if name in ORDER}
    sections[section.name] = text(section)
    parts = [head(), *(sections[name] for name in ORDER if name in sections)]
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def head() -> str:
    """Say what the page is, on which machine it was made, and how busy that was."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    busy = Path("/proc/loadavg").read_text().split()[1]
    return f"""# Benchmarks

Written by `script/bench every`. Each section is one measurement, `script/bench NAME` runs it by itself, and
`--write` puts its figures here. A goal that was missed says so.

Machine: {cores} cores of {_processor()}, {memory:.0f} GiB of memory, Linux {platform.release().split("-")[0]}, Python
{platform.python_version()}. Clients, edge, instances and keeper share these cores, and all traffic is on the
loopback. The load average of the last five minutes was {busy} when the newest section was written: what is
above the measurement's own need is other work on the machine, and makes the worst values worse.
"""


def text(section: Section) -> str:
    """Return one section as Markdown."""
    lines = [f"<!-- {section.name} -->", f"## {section.title}", "", section.method, ""]
    if section.counts:
        lines += ["| counted | | asked |", "|---|---|---|"]
        lines += [f"| {c.name} | {c.value} | {c.asked}{'' if c.is_met else ' (**missed**)'} |" for c in section.counts]
        lines += [""]
    if section.figures:
        lines += ["| figure | n | median | worst | goal | peer, median | ratio |", "|---|---|---|---|---|---|---|"]
        lines += [_row(one) for one in section.figures]
        lines += [""]
    for table in section.tables:
        lines += _table(table)
    return "\n".join(lines)


def _row(one: Figure) -> str:
    peer = f"{one.peer_name}: {_value(statistics.median(one.peer), one.unit)}" if one.peer else ""
    ratio = f"{one.ratio:.2f}" if one.ratio is not None else ""
    missed = "" if one.is_met else " (**missed**)"
    cells = (
        one.name,
        str(len(one.values)),
        _value(one.median, one.unit),
        _value(one.worst, one.unit),
        _goal(one.goal, one.unit) + missed,
        peer,
        ratio,
    )
    return f"| {' | '.join(cells)} |"


def _table(table: Table) -> list[str]:
    rows = [f"| {' | '.join(cells)} |" for cells in (table.header, *table.rows)]
    return [f"*{table.title}*", "", rows[0], "|---" * len(table.header) + "|", *rows[1:], ""]


def _goal(goal: Goal, unit: str) -> str:
    parts = [("median", goal.median), ("worst", goal.worst)]
    told = [f"{name} ≤ {_value(bound, unit)}" for name, bound in parts if bound is not None]
    return ", ".join((*told, *([] if goal.ratio is None else [f"ratio ≤ {goal.ratio:g}"])))


def _value(number: float, unit: str) -> str:
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2
    return f"{number:.{digits}f} {unit}"


def _sections(page: str) -> dict[str, str]:
    parts = re.split(r"^(?=<!-- \w+ -->$)", page, flags=re.MULTILINE)
    return {part.split()[1]: part.rstrip("\n") + "\n" for part in parts if part.startswith("<!-- ")}


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
