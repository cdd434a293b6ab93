"""Build steps of an ordinary user with subordinate uids: the executor in a user namespace, where it is root.

Owners must come out as they do for root, so the layers are unpacked once more inside the namespace, where every
uid is there. The other half of this module is the program inside: it takes an order on its standard input and answers
on its standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from anew.build.console import undisturbed
from anew.build.debian import require_subordinate_uids
from anew.build.definition import Job
from anew.build.drafts import NAMESPACE, scratch, sweep
from anew.build.executor import Executor, is_known
from anew.build.footing import Base
from anew.build.programs import die_with_parent
from anew.build.store import ImageStore
from anew.build.unpack import unpack
from anew.errors import AnewError, EngineError
from anew.model import Digest
from anew.ports import Say


@dataclass(frozen=True, slots=True)
class Task:
    """Steps to run on a base, and what they are lent; `where` names the service's `build` in the spec."""

    home: str
    store: str
    base: Base
    jobs: tuple[Job, ...]
    where: str
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    is_fresh: bool = False
    is_debugging: bool = False
    look: Job | None = None  # a step in whose sandbox a shell is opened at the end


def run(task: Task, say: Say) -> Base:
    """Run the steps of `task` in a user namespace and return what they lead to.

    Raises  Unsupported without subordinate uids; else as `Executor.run`.
    """
    require_subordinate_uids(task.where)
    argv = (*NAMESPACE, sys.executable, "-m", "anew.build.rootless")
    result: Base | None = None
    error: AnewError | None = None
    other: list[str] = []
    waiting = undisturbed() if task.is_debugging else nullcontext()  # for a shell that may be opened there
    pipe = subprocess.PIPE
    with waiting, subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as inside:
        if inside.stdin is not None and inside.stdout is not None:
            # Where it ended before it had read all, it has said why.
            with suppress(BrokenPipeError):
                inside.stdin.write(msgspec.json.encode(task))
            with suppress(BrokenPipeError):
                inside.stdin.close()
            for line in inside.stdout:
                match _answer(line):
                    case {"line": str(text)}:
                        say(text)
                    case {"base": base}:
                        result = msgspec.convert(base, type=Base)
                    case {"error": dict(said)}:
                        error = AnewError.from_json(said)
                    case _:
                        other.append(line.decode(errors="replace").rstrip())
    if error is not None:
        raise error
    if result is None:
        raise EngineError(
            f"the user namespace for build steps ended with exit code {inside.returncode}",
            where=task.where,
            hint="run as root; or let this user make user namespaces",
            facts={"command": " ".join(argv), "output": "\n".join(other)},
        )
    return result


def run_where_needed(executor: Executor, base: Base, jobs: Sequence[Job], say: Say, look: Job | None) -> Base:
    """Run steps as an ordinary user: here what is known and needs no sandbox, the rest in a user namespace.

    Raises  as `run`.
    """
    left = list(jobs)
    while left and (
        left[0].step.kind == "files" or (not executor.is_fresh and is_known(executor.store, base, left[:1]))
    ):
        base = executor.run(base, left.pop(0), say)
    if not left and look is None:
        return base
    for job in (*left, *([look] if look else ())):
        for layer in {job.supply.pin, job.supply.layer} - {""}:
            executor.store.tree(layer)  # here, where what is unpacked belongs to this user
    unknown = [name for job in (*left, *([look] if look else ())) for name in job.step.secrets]
    task = Task(
        home=str(executor.home),
        store=str(executor.store.root),
        base=base,
        jobs=tuple(left),
        where=(left[0] if left else look or jobs[0]).where,
        secrets={name: executor.lend(name) for name in unknown},
        is_fresh=executor.is_fresh,
        is_debugging=executor.is_debugging,
        look=look,
    )
    return run(task, say)


def _answer(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _tell(answer: object) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    _tell({"line": text})


def main() -> None:
    """Be the program inside the namespace."""
    die_with_parent()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    home, store = Path(task.home), ImageStore(Path(task.store))
    # A place of its own: what lies there belongs to subordinate uids, and only here may it be removed.
    work = home / "work-rootless"
    sweep(work)
    try:
        with scratch(work) as folder:
            owned = _Owned(store, folder)
            lend = task.secrets.__getitem__
            executor = Executor(home, store, work, owned.tree, lend, task.is_fresh, task.is_debugging)
            base = executor.run_all(task.base, task.jobs, _say)
            if task.look is not None:
                executor.look(base, task.look, _say)
            _tell({"base": base})
    except AnewError as e:
        _tell({"error": e.as_json()})


@dataclass(frozen=True, slots=True)
class _Owned:
    """Layers unpacked with their true owners, for as long as the steps run."""

    store: ImageStore
    folder: Path

    def tree(self, diff: Digest) -> Path:
        path = self.folder / diff[-16:]
        if not path.is_dir():
            path.mkdir()
            unpack(self.store.blobs.verify(diff), path)
        return path


if __name__ == "__main__":
    main()
