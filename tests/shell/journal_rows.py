"""What the tests of the journal are made of: small nouns, a clock that is set, and processes that race.

Run as a program it is one of several processes: `journal_rows.py TASK JOURNAL`; it prints what it was given as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anew.core.steps import Allot, Begin, Enter
from anew.errors import Conflict
from anew.model import Generation, Identity, Image, Member, Part, Policy, Release, Scope, Seal, Service
from anew.shell.journal import Journal, Stale

LOCAL = Scope("shop", "local")


def any_port(_port: int) -> bool:
    return True


@dataclass
class Ticks:
    """A clock that stands where it is set."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class WallClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def image(mark: str) -> Image:
    return Image(Identity(mark, mark, (mark,), mark, f"sha256:{mark}"), (mark,))


def release(**marks: str) -> Release:
    """A release whose services have images that are told apart by `marks`."""
    parts = tuple(Part(Service(name, "base", ("run", name)), image(mark)) for name, mark in sorted(marks.items()))
    return Release("shop", "", f"sha256:{sorted(marks.items())}", parts)


def seals(made: Release) -> list[Seal]:
    return [Seal(part.service.name, part.image.digest, part.service.command, health="/") for part in made.parts]


def members(made: Release, size: int = 1) -> list[Member]:
    return [Member(part.service.name, "", size, Policy()) for part in made.parts]


def sealed(journal: Journal, *, again: bool = False, size: int = 1, **marks: str) -> Generation:
    made = journal.releases.add(release(**marks))
    return journal.generations.seal(LOCAL, made, members(made, size), seals(made), any_port, again=again)


def opened(path: Path, clock: Ticks | None = None) -> Journal:
    """A journal with the environment `shop/local` in it."""
    journal = Journal(path, clock or Ticks())
    journal.open_environment("shop", "local")
    return journal


def race(task: str, path: Path, count: int) -> list[dict[str, object]]:
    """Let `count` processes carry out `task` at the same time; return what each one printed."""
    ones = [start(task, path) for _ in range(count)]
    path.with_name("go").touch()
    answers = [one.communicate(timeout=120)[0] for one in ones]
    assert [one.returncode for one in ones] == [0] * count
    return [json.loads(answer) for answer in answers]


def start(task: str, path: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-W", "error", __file__, task, str(path)]
    one = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert one.stdout is not None
    assert one.stdout.readline() == "here\n"
    return one


def everything(journal: Journal) -> dict[str, object]:
    """Make, seal, begin and allot what all the others do as well."""
    row = journal.open_environment("shop", "local")
    generation = sealed(journal, web="a", api="b")
    others = []
    for _ in range(5):
        own = journal.releases.add(replace(release(web=f"own {time.monotonic_ns()}"), digest=f"{time.monotonic_ns()}"))
        others.append(own.name)
    journal.wish(row.scope, generation.number, "rollout", None)
    is_begun = True
    try:
        journal.begin(row.scope, Begin("rollout", 0, generation.number, "it is wanted"))
    except Conflict:
        is_begun = False
    allotted = [journal.instances.allot(row.scope, Allot("web-g1", n), lambda _: True).port for n in range(20)]
    lent = [journal.ports.lend(lambda _: True) for _ in range(5)]
    return {
        "owner": journal.owner,
        "preview": row.preview_port,
        "generation": generation.number,
        "releases": others,
        "is_begun": is_begun,
        "allotted": allotted,
        "lent": lent,
        "entered": entering(journal, 30),
    }


def owner(journal: Journal) -> dict[str, object]:
    """Open the file, or make it, at the same moment as all the others."""
    return {"owner": journal.owner}


def entering(journal: Journal, times: int) -> int:
    """Enter a stage `times` times, each on a fresh reading; return how often another process was first."""
    late = done = 0
    while done < times:
        now = journal.rollout(LOCAL)
        assert now is not None
        try:
            journal.enter(LOCAL, Enter(now.id, now.version, "stage", now.stage + 1, "on it goes"))
            done += 1
        except Stale:
            late += 1
    return late


def write_until_killed(journal: Journal) -> dict[str, object]:
    """Write without an end, so that a kill comes in the middle of something."""
    for n in range(10**9):
        rollout = journal.rollout(LOCAL)
        assert rollout is not None
        journal.enter(LOCAL, Enter(rollout.id, rollout.version, "stage", n % 3, f"round {n}"))
        journal.ledger.note(LOCAL, "note", f"round {n}", {"n": str(n)})
        say(str(rollout.version + 1))
    return {}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> None:
    task, path = argv
    say("here")
    go = Path(path).with_name("go")
    bound = time.monotonic() + 60
    while not go.exists() and time.monotonic() < bound:
        time.sleep(0.0002)
    journal = Journal(Path(path), WallClock(), patience=30)
    tasks = {"everything": everything, "owner": owner, "write_until_killed": write_until_killed}
    say(json.dumps(tasks[task](journal)))
    journal.close()


if __name__ == "__main__":
    main(sys.argv[1:])
