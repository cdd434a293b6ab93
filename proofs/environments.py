"""Two environments and a secret: the same images, other flags; going back twice, superseding, and leaving nothing.

``script/prove environments``: the market example goes to staging, and from there to production, where nothing is built.
Then the value of the secret is searched for on the whole disk, in every process that there is, and in everything that
was printed. At the end production is disposed of, and what is left of it is shown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from subjects import market

from anew.errors import AnewError
from anew.testing.rig import Rig, free_port, rig, show

ENVIRONMENTS = """
environments:
  staging: {{listen: "127.0.0.1:{staging}", on_undecided: promote}}
  production:
    listen: "127.0.0.1:{production}"
    keep: 4
    on_undecided: promote
    services: {{gateway: {{size: 3, flags: {{CURRENCY: EUR}}}}}}
"""
VALUE = "kX" + os.urandom(16).hex() + "Yj"  # of the secret


def main() -> int:
    """Run the proof; 0 if every line of it holds."""
    print("seed none: nothing here is random but the value of the secret", flush=True)
    with rig(project="market") as project:
        try:
            prove(project)
        except (AnewError, AssertionError) as error:
            print(f"FAILED: {show(error) if isinstance(error, AnewError) else error}")
            return 1
    return 0


def prove(project: Rig) -> None:
    """Go through the lines one after the other."""
    printed: list[str] = []
    run = teller(project, printed)
    market.prepare(project, environment="")
    spec = project.root / "anew.yaml"
    head = spec.read_text().partition("environments:")[0].replace("each: 1s, at_most: 10s", "each: 1s, at_most: 2s")
    spec.write_text(head + ENVIRONMENTS.format(staging=free_port(), production=free_port()))
    for name in ("staging", "production"):
        done = project.anew("secret", "set", "signing_key", "-e", name, "--json", text=VALUE)
        printed.append(done.stdout + done.stderr)
        expect(done.returncode == 0, f"secret set in {name}: {done.stderr}")

    three_releases(project, run)
    supersede(project, run)
    search(project, run, printed)
    dispose(project, run)


def three_releases(project: Rig, run: Any) -> None:
    """Bring three releases to staging and from there to production, and go back twice."""
    for number in (1, 2, 3):
        market.write(project, number)
        run("up", "-e", "staging")
        run("plan", "-e", "production")
        began = time.monotonic()
        said = run("up", "--from", "staging", "-e", "production")
        expect("building" not in said, "production builds nothing")
        print(f"r{number}: from staging to production in {time.monotonic() - began:.1f} s", flush=True)
    releases = json.loads(run("releases", "--json"))
    for one in releases:
        print(f"  {one['name']} {one['digest'][:19]}: {', '.join(one['generations'])}")
        expect(len(one["generations"]) == 2, "each release is in both environments")
    sizes = {g["name"]: g["size"] for s in status(run, "production")["services"] for g in s["groups"]}
    expect(sizes.get("gateway-g3") == 3, f"production has a size of its own: {sizes}")

    for wanted in ("g2", "g1"):
        run("rollback", "-e", "production")
        serving = status(run, "production")["serving"]
        print(f"went back to {serving}")
        expect(serving == wanted, f"{serving} serves, not {wanted}")


def supersede(project: Rig, run: Any) -> None:
    """Begin a rollout, and another one in the middle of its first stage."""
    spec = project.root / "anew.yaml"
    spec.write_text(spec.read_text().replace("each: 1s, at_most: 2s", "each: 60s, at_most: 90s"))
    market.write(project, 4)
    run("up", "-e", "production", "--detach")
    project.wait(lambda: phase(run).startswith("stage"), limit=60, what="a stage")
    spec.write_text(spec.read_text().replace("each: 60s, at_most: 90s", "each: 1s, at_most: 2s"))
    market.write(project, 5)
    run("up", "-e", "production", "--supersede")
    print(f"superseded in mid-stage: {status(run, 'production')['serving']} serves")


def search(project: Rig, run: Any, printed: list[str]) -> None:
    """Look for the value everywhere."""
    run("logs", "-e", "production", "-n", "1000")
    run("history", "-e", "production", "-n", "1000", "--json")
    run("secret", "list", "-e", "production", "--json")
    found = list(leaks(project))
    for place in found:
        print(f"  the value is in {place}")
    expect(bool(found), "the search finds what is there")
    expect(all("/root/run/secrets/signing_key" in place for place in found), "only the files on a tmpfs hold it")
    expect(not any(VALUE in text for text in printed), "nothing printed it")
    print(f"searched {len(printed)} outputs, the state, the project and /proc: {len(found)} files on a tmpfs, no other")


def dispose(project: Rig, run: Any) -> None:
    """End production, and see what is left of it."""
    run("dispose", "-e", "production")
    left = [line for line in project.processes().values() if "production" in line]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(project.home) in line]
    files = sorted({p.relative_to(project.home).parts[0] for p in project.home.rglob("*production*")})
    print(f"disposed of: {len(left)} processes, {len(mounts)} mounts, files below: {', '.join(files)}")
    expect(not left and not mounts, f"{left} {mounts}")
    expect(status(run, "staging")["serving"] == "g3", "staging goes on")
    run("dispose", "-e", "staging")


def teller(project: Rig, printed: list[str]) -> Any:
    """Return what runs a command and remembers everything that it printed."""

    def run(*arguments: str) -> str:
        done = project.anew(*arguments, limit=300.0)
        printed.append(done.stdout + done.stderr)
        expect(done.returncode == 0, f"anew {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    return run


def status(run: Any, environment: str) -> dict[str, Any]:
    """Return the status of an environment."""
    return dict(json.loads(run("status", "-e", environment, "--json")))


def phase(run: Any) -> str:
    """Return the phase of production's rollout."""
    return str((status(run, "production")["rollout"] or {}).get("phase"))


def leaks(project: Rig) -> Iterator[str]:
    """Yield every place that holds the value: files of the state and the project, and what /proc shows of processes."""
    for folder in (project.folder, Path("/tmp"), Path("/var/tmp"), Path("/run")):
        done = subprocess.run(["grep", "-rlsF", "--", VALUE, str(folder)], capture_output=True, text=True, check=False)
        yield from done.stdout.splitlines()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == str(os.getpid()):
            continue
        for name in ("cmdline", "environ", "root/run/secrets/signing_key"):
            try:
                if VALUE.encode() in (entry / name).read_bytes():
                    yield str(entry / name)
            except OSError:
                continue  # it has ended, or has no such file
        yield from in_descriptors(entry)


def in_descriptors(entry: Path) -> Iterator[str]:
    """Yield the files without a name that a process holds open and that contain the value."""
    try:
        handles = list((entry / "fd").iterdir())
    except OSError:
        return
    for handle in handles:
        try:
            if "memfd:" in str(handle.readlink()) and VALUE.encode() in handle.read_bytes():
                yield str(handle)
        except OSError:
            continue


def expect(is_so: bool, what: str) -> None:  # noqa: FBT001 - the condition reads first
    """Raise AssertionError unless it is so."""
    if not is_so:
        raise AssertionError(what)


if __name__ == "__main__":
    sys.exit(main())
