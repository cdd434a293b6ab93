"""Build steps of an ordinary user with subordinate uids: the executor in a user namespace, where it is root.

Owners must come out as they do for root, so the layers are unpacked once more inside the namespace, where every
uid is there. The other half of this module is the program inside: it takes an order on its standard input and answers
on its standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from anew.build.debian import require_subordinate_uids
from anew.build.drafts import NAMESPACE, scratch, sweep
from anew.build.executor import Base, Executor
from anew.build.store import ImageStore
from anew.build.unpack import unpack
from anew.errors import AnewError, EngineError
from anew.model import BuildStep, Digest
from anew.ports import Say


@dataclass(frozen=True, slots=True)
class Task:
    """Steps to run on a base; `where` names the service's `build` in the spec."""

    home: str
    store: str
    base: Base
    steps: tuple[BuildStep, ...]
    where: str


def run(task: Task, say: Say) -> Base:
    """Run the steps of `task` in a user namespace and return what they lead to.

    Raises  Unsupported without subordinate uids; else as `Executor.run`.
    """
    require_subordinate_uids(task.where)
    argv = (*NAMESPACE, sys.executable, "-m", "anew.build.rootless")
    result: Base | None = None
    error: AnewError | None = None
    other: list[str] = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as inside:
        if inside.stdin is not None and inside.stdout is not None:
            inside.stdin.write(msgspec.json.encode(task))
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


def _answer(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _tell(answer: object) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Be the program inside the namespace."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    home, store = Path(task.home), ImageStore(Path(task.store))
    # A place of its own: what lies there belongs to subordinate uids, and only here may it be removed.
    work = home / "work-rootless"
    sweep(work)
    try:
        with scratch(work) as folder:
            owned = _Owned(store, folder)
            executor = Executor(home, store, work, owned.tree)
            base = task.base
            for number, step in enumerate(task.steps):
                base = executor.run(base, step, f"{task.where}[{number}]", lambda text: _tell({"line": text}))
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
