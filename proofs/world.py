"""Made alike on unlike machines, made again without a network, and named where it differs.

``script/prove world [--releases N] [--only machines|releases|causes]``. Three parts:

machines  four examples are built on two machines' worth of difference, each with an empty state and the same lock.
releases  so many releases are made again where there is no network; then one has a step that needs one.
causes    builds that give something else each time: `anew rebuild` names the cause of each.

Needs root, mmdebstrap, uidmap, and the archive of Debian.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from subjects import machines, restless

from anew.errors import AnewError
from anew.testing.rig import SERVER, Rig, rig, show

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("hello", "php", "ansible", "puppet")
CUT_OFF = ("unshare", "--net")
ONE_PROCESSOR = ("taskset", "--cpu-list", "0")  # which is seen in a build, and in nothing that is built
LIMIT = 3600.0  # seconds that making everything again may take
FETCHED = re.compile(r"fetching (\d+) packages, ([\d.]+) MB")
NO_WAY = """
import pathlib, socket
lines = pathlib.Path("/proc/net/dev").read_text().splitlines()[2:]
routes = pathlib.Path("/proc/net/route").read_text().splitlines()[1:]
print("interfaces:", ", ".join(line.split(":")[0].strip() for line in lines), "(down); routes:", len(routes))
for host in ("127.0.0.1", "192.0.2.1"):
    try:
        socket.create_connection((host, 80), timeout=5)
    except OSError as error:
        print(f"connecting to {host}: {error.strerror}")
    else:
        raise SystemExit(f"there is a way to {host}")
"""
SPEC = """
project: world
os:
  base: {{debian: bookworm, packages: [{packages}]}}
services:
  web:
    os: base
    copy: {{app/: /srv/app/}}
    build: [{{run: python3 -m compileall -q /srv/app}}]
    command: [python3, /srv/app/server.py]
    http: {{health: /healthz}}
    rollout: {{stages: [50%], each: 200ms, at_most: 500ms, warm: 1s, drain: 2s}}
  worker:
    os: base
    copy: {{worker.py: /srv/worker.py}}
    build:
      - {{run: "mkdir /srv/made; echo step {step} > /srv/made/step"{more}}}
      - {{run: "sha256sum /srv/worker.py /srv/made/step > /srv/made/sums"}}
    command: [python3, /srv/worker.py]
    rollout: {{stages: [50%], each: 200ms, at_most: 500ms, warm: 1s, drain: 2s}}
  nightly:
    os: base
    build: [{{run: "dpkg-query -W > /srv/packages"}}]
    command: [cat, /srv/packages]
    schedule: 0 3 * * *
environments:
  local: {{listen: "127.0.0.1:{port}", keep: {keep}}}
"""
WORKER = "import time\n\nwork = {number}\nwhile True:\n    time.sleep(1)\n"


def main() -> int:
    """Run the parts that were asked for; 0 if every line of them holds."""
    parts: Mapping[str, Callable[[int], None]] = MappingProxyType(
        {"machines": lambda _: on_two_machines(), "releases": all_again, "causes": lambda _: causes()}
    )
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--releases", type=int, default=10)
    parser.add_argument("--only", choices=(*parts,))
    asked = parser.parse_args()
    began = time.monotonic()
    try:
        for name, part in parts.items():
            if asked.only in {None, name}:
                print(f"== {name}", flush=True)
                part(asked.releases)
    except (AnewError, AssertionError) as error:
        print(f"FAILED: {show(error) if isinstance(error, AnewError) else error}")
        return 1
    print(f"took {time.monotonic() - began:.0f} s")
    return 0


def on_two_machines() -> None:
    """Build the examples twice, and compare."""
    with machines.two() as (first, second):
        for number, name in enumerate(NAMES):
            here = first.write(EXAMPLES / name)
            built = [built_on(first, here)]
            lock = (here / "anew.lock").read_bytes()
            there = second.write(EXAMPLES / name, lock)
            if number == 0:
                compare(first.traits(here), second.traits(there))
            built.append(built_on(second, there))
            expect((there / "anew.lock").read_bytes() == lock, f"{name}: the second machine left the lock as it is")
            for service, digest in built[0].items():
                other = built[1].get(service, "")
                print(f"{name:8} {service:8} first  {digest}\n{'':17} second {other}", flush=True)
                expect(digest == other, f"{name}: the digests of {service} are the same")
            expect(built[0].keys() == built[1].keys(), f"{name}: the same services")


def built_on(machine: machines.Machine, root: Path) -> dict[str, str]:
    """Build a project where nothing of it is, and return the digest of each service's manifest."""
    began = time.monotonic()
    done = machine.anew(root, "build", "--json")
    seconds = time.monotonic() - began
    built = json.loads(done.stdout)
    expect(not any(one["is_reused"] or one["steps_reused"] for one in built), f"{root.name}: nothing is reused")
    fetched = [(int(number), float(size)) for number, size in FETCHED.findall(done.stderr)]
    expect(bool(fetched), f"{root.name}: its packages come from the archive")
    packages, size = sum(one for one, _ in fetched), sum(size for _, size in fetched)
    place = "second" if machine.is_second else "first"
    print(f"{root.name:8} {place} machine: {packages} packages, {size:.0f} MB fetched, {seconds:.0f} s", flush=True)
    return {one["service"]: one["manifest"] for one in built}


def compare(first: Mapping[str, str], second: Mapping[str, str]) -> None:
    """Print how two machines differ; everything must, but for the processors where there is only one."""
    for trait, here in first.items():
        print(f"  {trait:12} {here:44} {second[trait]}")
        expect(here != second[trait] or trait == "processors", f"the {trait} differs")
    print("  the wall clock is the kernel's, and no process can have another: the second builds later", flush=True)


def all_again(releases: int) -> None:
    """Bring up releases, make all of them again where there is no network, and then one that can't be proved."""
    with rig(project="world") as project:
        began = time.monotonic()
        for number in range(1, releases + 1):
            write(project, number, keep=releases + 2)
            project.expect("up", limit=900)
        print(f"{releases} releases brought up in {time.monotonic() - began:.0f} s", flush=True)
        project.expect("gc")
        print(cut_off(project, sys.executable, "-c", NO_WAY), end="")

        found = again(project, "--all", "--offline")
        tell(found)
        verdicts = sorted({one["verdict"] for one in found})
        expect(verdicts == ["identical"], f"every verdict is identical, not {verdicts}")
        proved = {name for one in found for name in one["releases"]}
        expect(proved == {f"r{number}" for number in range(1, releases + 1)}, f"every release, not only {proved}")

        write(project, releases + 1, keep=releases + 2, more=", network: true")
        project.expect("up", limit=900)
        print(f"r{releases + 1} has a step with `network: true`; anew rebuild --offline:")
        table = cut_off(project, *anew(project, "rebuild", "--offline"), code=1).partition("\nSERVICE ")[2].splitlines()
        print("\n".join(f"  {line}" for line in table[1:]))
        (verdict,) = (line for line in table if line.startswith("worker ") and "not proved" in line)
        why = (
            f"worker {verdict.split()[1]}: services.worker.build[0] uses the network, and what it got was not recorded"
        )
        expect(table[-1] == why, "the step is named")
        expect(sum("the same bytes" in line for line in table) == 2, "the other services are proved")
        project.expect("dispose")


def write(project: Rig, number: int, *, keep: int, more: str = "") -> None:
    """Write the next release: a file is always another one, a build step sometimes, the packages of the head once."""
    (project.root / "app").mkdir(parents=True, exist_ok=True)
    (project.root / "app" / "server.py").write_text(SERVER.format(release=f"r{number}", bad=0, health=200))
    (project.root / "worker.py").write_text(WORKER.format(number=number // 2))
    packages = "python3, sqlite3" if number > 5 else "python3"
    text = SPEC.format(packages=packages, step=number // 3, more=more, port=project.port, keep=keep)
    (project.root / "anew.yaml").write_text(text)


def tell(found: Sequence[Mapping[str, Any]]) -> None:
    """Print what came of each image."""
    for one in found:
        names = ", ".join(one["releases"])
        print(f"  {one['service']:8} {one['manifest'][:19]} {one['verdict']:10} {one['seconds']:5.1f} s  {names}")
    seconds = sum(one["seconds"] for one in found)
    releases = {name for one in found for name in one["releases"]}
    print(
        f"{len(found)} images of {len(releases)} releases made again, without a network, in {seconds:.0f} s", flush=True
    )


def anew(project: Rig, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a command."""
    return (sys.executable, "-m", "anew", "-C", str(project.root), *arguments)


def again(project: Rig, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """Make releases again where there is no network, and return what came of it."""
    return list(json.loads(cut_off(project, *anew(project, "rebuild", *arguments, "--json"), code=code)))


def cut_off(project: Rig, *command: str, code: int = 0) -> str:
    """Run a command where there is no network, and return what it printed."""
    argv, environment = (*CUT_OFF, *command), {**os.environ, "ANEW_HOME": str(project.home)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    expect(done.returncode == code, f"{' '.join(argv)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def causes() -> None:
    """Release what comes out otherwise each time, and see what is said of it."""
    with rig(project="restless") as project:
        restless.write(project)
        project.expect("up", limit=300)
        found = {
            one["service"]: one
            for one in json.loads(
                cut_off(project, *ONE_PROCESSOR, *anew(project, "rebuild", "--offline", "--json"), code=1)
            )
        }
        project.expect("dispose")
        for name, case in restless.CASES.items():
            one = found[name]
            told = {f"/{each['path']}: {each['what']}: {each['cause']}" for each in one["differences"]}
            line = f"/{case.path}: {case.what}: {case.cause}" if case.cause else "identical"
            print(f"  {name:12} {line}")
            expect(told == {line} if case.cause else one["verdict"] == "identical", f"{name}: {one}")


def expect(is_so: bool, what: str) -> None:  # noqa: FBT001 - the condition reads first
    """Raise AssertionError unless it is so."""
    if not is_so:
        raise AssertionError(what)


if __name__ == "__main__":
    sys.exit(main())
