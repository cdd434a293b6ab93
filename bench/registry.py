"""A release of 500 MB to a registry and from there, beside skopeo with the very same image."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands import compiled
from figures import page
from figures.apart import rig_apart
from figures.figure import Figure, Goal, Section

from anew.errors import EngineError, Unsupported
from anew.testing.rig import Rig, free_port
from anew.testing.roots import write_root

MEGABYTE = 1_000_000
METHOD = """One image of 500 MB in four layers (200, 150, 100 and 50 MB, half of each can be compressed and half can't),
in turns: `anew push` of its release to a repository that has none of it, and `skopeo copy --preserve-digests` of the
same blobs from the same folder, an OCI image layout; then `anew pull` into an empty state, which checks every blob, and
`skopeo copy` of the same image into an empty layout. The registry is Debian's `docker-registry` on the loopback, with
its storage on the same disk, a new one for each turn; each is a process of its own, from its start to its end. *Peak*
is its largest resident set. *Again* is a push and a pull of what is there already."""
SPEC = """
project: rig
os:
  base: {{tar: head.tar}}
services:
  web:
    os: base
    copy: {{data/: /srv/data/}}
    build:
      - run: cat /srv/data/50.random /srv/data/50.text > /srv/first
      - run: cat /srv/data/25.random /srv/data/25.text > /srv/second
    command: [/bin/sleep, "3600"]
    rollout: {{stages: [50%], each: 300ms, at_most: 1s, warm: 1s}}
environments:
  local: {{listen: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one process took."""

    seconds: float
    peak: float  # MB


def measure(arguments: argparse.Namespace) -> Section:
    """Push and pull in turns."""
    for program in ("docker-registry", "skopeo"):
        if shutil.which(program) is None:
            raise Unsupported(f"{program} is not installed", hint=f"apt-get install {program}")
    taken: dict[str, list[Spent]] = {}
    with rig_apart() as one:
        make(one)
        for number in range(arguments.times):
            turn(one, taken, is_ours_first=number % 2 == 0)
    rows: list[Figure] = []
    for act in ("push", "pull"):
        ours, theirs = taken[act], taken[f"skopeo {act}"]
        name = f"`anew {act}`, 500 MB"
        rows.append(figure(name, "s", ours, theirs, Goal(ratio=1.0)))
        rows.append(figure(f"{name}, peak", "MB", ours, theirs, Goal(median=150)))
        rows.append(Figure(f"`anew {act}` again", "s", tuple(each.seconds for each in taken[f"{act} again"])))
    return Section("registry", "Registries", METHOD, tuple(rows))


def turn(project: Rig, taken: dict[str, list[Spent]], *, is_ours_first: bool) -> None:
    """Push and pull once each, at a registry that has nothing: skopeo remembers where blobs are, and so does anew."""
    with registry() as host, tempfile.TemporaryDirectory(prefix="anew-bench-") as scratch:
        ours, theirs = f"{host}/ours", f"docker://{host}/theirs:x"
        source = f"oci:{project.home / 'images'}:{image_name(project)}"
        home, layout = Path(scratch, "home"), f"oci:{scratch}/layout:x"
        plain = ["skopeo", "copy", "--preserve-digests"]
        pushes = {
            "push": lambda: anew(project, project.home, "push", "--to", ours),
            "skopeo push": lambda: spent([*plain, "--dest-tls-verify=false", source, theirs]),
        }
        pulls = {
            "pull": lambda: anew(project, home, "pull", f"{ours}:r1"),
            "skopeo pull": lambda: spent([*plain, "--src-tls-verify=false", theirs, layout]),
        }
        for acts in (pushes, pulls):
            for name in acts if is_ours_first else reversed(acts):
                taken.setdefault(name, []).append(acts[name]())
        taken.setdefault("push again", []).append(anew(project, project.home, "push", "--to", ours))
        taken.setdefault("pull again", []).append(anew(project, home, "pull", f"{ours}:r1"))


def figure(name: str, unit: str, ours: Sequence[Spent], theirs: Sequence[Spent], goal: Goal) -> Figure:
    """Return one row, beside skopeo."""
    values = [tuple(one.seconds if unit == "s" else one.peak for one in ones) for ones in (ours, theirs)]
    return Figure(name, unit, values[0], goal, "skopeo", values[1])


def anew(project: Rig, home: Path, *arguments: str) -> Spent:
    """Run one command of anew, compiled as an installed one is."""
    command = [sys.executable, "-m", "anew", "-C", str(project.root), *arguments]
    return spent(command, {**compiled(project), "ANEW_HOME": str(home)})


def spent(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Spent:
    """Run a program; return what it took. Raises EngineError if it fails."""
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            out.seek(0)
            raise EngineError(f"{' '.join(command)} failed", facts={"output": out.read().decode(errors="replace")})
    return Spent(seconds, used.ru_maxrss / 1000)


@contextmanager
def registry() -> Iterator[str]:
    """Run a registry, and yield its host when it listens."""
    with tempfile.TemporaryDirectory(prefix="anew-bench-") as folder:
        host, config = f"localhost:{free_port()}", Path(folder, "config.yml")
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}\nhttp: {{addr: '{host}'}}\n"
        )
        server = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL)
        try:
            await_port(host)
            yield host
        finally:
            server.kill()
            server.wait()


def await_port(host: str) -> None:
    """Wait until a registry listens. Raises EngineError if it does not."""
    end = time.monotonic() + 20
    with socket.socket() as one:
        while one.connect_ex(("localhost", int(host.rpartition(":")[2]))):
            if time.monotonic() > end:
                raise EngineError("the registry does not listen")
            time.sleep(0.02)


def make(project: Rig) -> None:
    """Make a release of four layers."""
    data = project.root / "data"
    data.mkdir(parents=True)
    for megabytes in (25, 50, 100):
        write(data.parent / f"{megabytes}.random", megabytes, random.Random(megabytes).randbytes)
        write(
            data.parent / f"{megabytes}.text",
            megabytes,
            lambda count: (b"one line of text\n" * (count // 17 + 1))[:count],
        )
    more = {f"srv/{name}": project.root / name for name in ("100.random", "100.text")}
    write_root(project.root / "head.tar", more=more)
    for name in ("25.random", "25.text", "50.random", "50.text"):
        (project.root / name).rename(data / name)
    (project.root / "anew.yaml").write_text(SPEC.format(port=project.port))
    project.expect("up", limit=300)
    project.expect("dispose")


def write(path: Path, megabytes: int, some: object) -> None:
    """Write so many megabytes."""
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(some(MEGABYTE))  # type: ignore[operator]


def image_name(project: Rig) -> str:
    """Return what the one image is called in the image store."""
    entries = json.loads((project.home / "images" / "index.json").read_bytes())["manifests"]
    return str(entries[-1]["annotations"]["org.opencontainers.image.ref.name"])


if __name__ == "__main__":
    sys.exit(page.run(measure, page.options(__doc__, times=5)))
