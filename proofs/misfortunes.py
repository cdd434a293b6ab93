"""What can befall a container engine and what runs in it: each misfortune under load, counted, and its sound end.

``script/prove misfortunes [--only NAME…]``: an engine of its own (dockerd) is killed, stopped, started, and loses its
power, and containers and networks are taken away behind anew's back. Each ends with what serves at full size, new
instances in the place of those that ended, nothing restarted, and nothing left over. As root.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from subjects.ground import Ground
from subjects.own_engine import go_apart, own_engine

from anew.build.edge_image import EdgeImage
from anew.build.store import ImageStore
from anew.errors import AnewError
from anew.model import Seconds
from anew.testing.containers import fittings
from anew.testing.rig import rig, seed_of_heads, show

AWAY: Seconds = 8.0  # so long an engine is gone
CONFLICT, GATE_CLOSED = 4, 6


def outlived(ground: Ground) -> str:
    """Kill the engine in mid-rollout where its containers live on: nobody notices, and no live instance is ended."""
    ground.engine_as(is_outlived=True)
    with ground.under_load() as seen:
        into_stage(ground)
        before, pids = ground.instances(), ground.pids()
        ground.engine.kill()
        time.sleep(AWAY)
        expect(all(Path(f"/proc/{pid}").exists() for pid in pids.values()), "all processes live without their engine")
        said = ground.project.status()["trouble"]
        expect("engine" in said, f"the status says that the engine is away: {said!r}")
        ground.engine.start(is_outlived=True)
        ground.require_sound()
    kept = set(before.items()) & set(ground.instances().items())
    expect(len(kept) == 2, f"those that serve are the same as before: {ground.instances()}, not of {before}")
    expect("died" not in ground.history(), f"nothing is said to have died: {ground.history()}")
    expect(seen.figures.dropped == 0, f"nothing is dropped: {seen}")
    return f"{ending(ground)}; the instances that serve are those of before; {seen}"


def killed(ground: Ground) -> str:
    """Kill the engine in mid-rollout where its containers end when it comes back."""
    ground.engine_as(is_outlived=False)
    with ground.under_load() as seen:
        into_stage(ground)
        before = ground.instances()
        ground.engine.kill()
        time.sleep(AWAY)
        ground.engine.start()
        took = ground.require_sound(before)
    return f"{ending(ground)}; all are new instances, {took:.1f} s after the engine was back; {seen}"


def stopped(ground: Ground) -> str:
    """Stop and start the engine while nobody keeps the environment; then `anew up`, of what serves already."""
    ground.engine_as(is_outlived=False)
    before = ground.instances()
    with ground.under_load() as seen:
        ground.engine.stop()
        ground.engine.start()
        time.sleep(2.0)
        expect(not ground.instances(), "nothing restarts what ended")
        ready = [g["ready"] for s in ground.project.status()["services"] for g in s["groups"]]
        expect(set(ready) == {0}, f"the status says that nothing is ready: {ready}")
        ground.project.expect("up", ground.project.status()["release"], limit=120.0)
        took = ground.require_sound(before)
    return f"two new instances {took:.1f} s after `anew up` had returned; {seen}"


def power(ground: Ground) -> str:
    """Take the machine's power: all is dead and the memory empty, and the keeper is there before the engine."""
    ground.engine_as(is_outlived=False)
    before, pids = ground.instances(), ground.pids()
    with ground.under_load() as seen:
        ground.engine.lose_power({*pids.values(), *ground.project.processes()})
        shutil.rmtree(fittings(ground.project.owner()))
        with ground.kept():
            time.sleep(AWAY)
            ground.engine.start()
            took = ground.require_sound(before)
    return f"two new instances {took:.1f} s after the engine was there; {seen}"


def removed(ground: Ground) -> str:
    """Remove a container behind anew's back: another one takes its place, and the ledger says why."""
    with ground.under_load() as seen, ground.kept():
        before = ground.instances()
        name = min(before)
        ground.engine.api.ask("DELETE", f"/containers/{name}?force=true")
        took = ground.require_sound({name: before[name]})
        expect("gone" in ground.history() or "died" in ground.history(), "the ledger says what happened")
    fresh = min(set(ground.instances()) - set(before))
    return f"{fresh} took the place of {name} within {took:.1f} s; {seen}"


def removed_unwatched(ground: Ground) -> str:
    """Remove a container while nobody keeps the environment: the next keeper replaces it, under another name."""
    before = ground.instances()
    name = min(before)
    ground.engine.api.ask("DELETE", f"/containers/{name}?force=true")
    with ground.under_load() as seen:
        ground.project.expect("serve", "--until-idle")
        ground.require_sound({name: before[name]})
    expect("gone" in ground.history(), "the ledger says what happened")
    fresh = min(set(ground.instances()) - set(before))
    return f"{fresh} took the place of {name}; {seen}"


def edge(ground: Ground) -> str:
    """Kill the edge's container: it comes back with the same weights."""
    with ground.under_load() as seen, ground.kept():
        before, container = ground.instances(), edge_of(ground)
        ground.engine.api.ask("POST", f"/containers/{container}/kill")
        ground.project.wait(lambda: edge_of(ground) not in {"", container}, limit=60, what="another edge")
        ground.require_sound()
        expect(ground.instances() == before, "the instances are those of before")
    return f"another edge; {seen}"


def foreign_container(ground: Ground) -> str:
    """Somebody's container has the name that the next instance shall have: the rollout fails, and that one stays."""
    serving, coming = ground.project.status()["serving"], ground.write()
    name = f"{ground.project.project}-local-web-{coming}-0"
    image = ground.engine.api.images(ground.project.owner())[0]
    made = ground.engine.api.ask("POST", f"/containers/create?name={name}", {"Image": image, "Cmd": ["/bin/true"]})
    before = ground.inspected(made["Id"])["State"]
    with ground.under_load() as seen:
        done = ground.project.anew("up", "--json")
        ground.require_sound()
    said = json.loads(done.stdout)["error"]
    expect(done.returncode == GATE_CLOSED and name in said["what"], f"{done.returncode}: {said}")
    expect(ground.project.status()["serving"] == serving, f"{serving} serves as before")
    expect(ground.inspected(made["Id"])["State"] == before, "the container is as it was")
    ground.engine.api.ask("DELETE", f"/containers/{made['Id']}")
    expect(seen.figures.dropped == 0, f"nothing is dropped: {seen}")
    return f"refused: {said['what']}; {seen}"


def foreign_network(ground: Ground) -> str:
    """Somebody's network has the name that a new environment wants: nothing is begun, and it stays."""
    with rig(engine="docker", docker_host=ground.engine.host, ready="30s") as other:
        name = f"anew-{other.project}-local"
        made = ground.engine.api.ask("POST", "/networks/create", {"Name": name, "CheckDuplicate": True})["Id"]
        other.write("one")
        done = other.anew("up", "--json", limit=120.0)
        said = json.loads(done.stdout)["error"]
        expect(done.returncode == CONFLICT and name in said["what"], f"{done.returncode}: {said}")
        expect(other.status()["wish"] == "", "nothing is wanted")
        expect(ground.engine.api.ask("GET", f"/networks/{made}")["Name"] == name, "the network is as it was")
        expect(not ground.engine.api.containers(other.owner()), "nothing was begun")
        ground.engine.api.ask("DELETE", f"/networks/{made}")
    return f"refused: {said['what']}"


def disconnected(ground: Ground) -> str:
    """Disconnect a container from its network: it is tainted, and another one takes its place."""
    with ground.under_load() as seen, ground.kept():
        before = ground.instances()
        name = min(before)
        disconnect(ground, name)
        took = ground.require_sound({name: before[name]})
        expect("tainted" in ground.history(), f"the ledger says that it was touched: {ground.history()}")
    return f"tainted, and replaced within {took:.1f} s; {seen}"


def network(ground: Ground) -> str:
    """Remove the network with all that is in it disconnected: it is made anew, with new instances in it."""
    with ground.under_load() as seen, ground.kept():
        before = ground.instances()
        for name in before:
            disconnect(ground, name)
        ground.engine.api.ask("DELETE", f"/networks/anew-{ground.project.project}-local")
        took = ground.require_sound(before)
    return f"made anew, with two new instances, within {took:.1f} s; {seen}"


MISFORTUNES: dict[str, Callable[[Ground], str]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        outlived, removed, removed_unwatched, edge, disconnected, network, foreign_container, foreign_network,
        killed, stopped, power,
    )
}  # fmt: skip


def into_stage(ground: Ground) -> None:
    """Begin a rollout, and wait until half of the traffic is on the new generation."""
    ground.write(each="12s", at_most="30s")
    ground.project.expect("up", "--detach")
    ground.project.wait(
        lambda: str((ground.project.status()["rollout"] or {}).get("phase")).startswith("stage"),
        limit=60,
        what="a stage",
    )
    time.sleep(2.0)  # into the stage


def ending(ground: Ground) -> str:
    """Say how the last rollout ended."""
    rollout = ground.project.status()["rollout"]
    how = "was promoted" if rollout["is_good"] else f"was taken back ({rollout['reason']})"
    return f"{rollout['generation']} {how}"


def edge_of(ground: Ground) -> str:
    """Return the id of the edge's container that runs; "" if there is none."""
    found = ground.engine.api.containers(ground.project.owner())
    return next((str(o["Id"]) for o in found if o["Labels"]["anew.kind"] == "edge" and o["State"] == "running"), "")


def disconnect(ground: Ground, container: str) -> None:
    """Take a container out of its network, at once."""
    place = f"/networks/anew-{ground.project.project}-local/disconnect"
    ground.engine.api.ask("POST", place, {"Container": container, "Force": True})


def expect(is_so: bool, what: str) -> None:  # noqa: FBT001 - the condition reads first
    """Raise AssertionError unless it is so."""
    if not is_so:
        raise AssertionError(what)


def prepare() -> None:
    """Have the heads and the image of the edge in the state that all rigs share, while there is a way out."""
    seed = seed_of_heads()
    with rig(engine="docker"):
        EdgeImage(seed.home, ImageStore(seed.home / "images")).image(print)


def main() -> int:
    """Run the proof; 0 if every misfortune ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=MISFORTUNES, default=list(MISFORTUNES), metavar="NAME")
    arguments = parser.parse_args()
    go_apart(prepare)
    print("seed none: nothing here is random", flush=True)
    failed = 0
    with own_engine() as engine:
        engine.start()
        shape = {"each": "500ms", "at_most": "2s", "ready": "30s", "settings": "quarantine: 1s"}
        with rig(engine="docker", docker_host=engine.host, **shape) as project:
            ground = Ground(project, engine)
            try:
                ground.begin()
            except AnewError as error:
                print(f"FAILED at the beginning: {show(error)}")
                return 1
            for name in arguments.only:
                begun = time.monotonic()
                try:
                    ground.remember()
                    said = MISFORTUNES[name](ground)
                    ground.require_sound()
                except (AnewError, AssertionError) as error:
                    failed += 1
                    print(f"FAILED {name}: {show(error) if isinstance(error, AnewError) else error}", flush=True)
                    continue
                print(f"{name}: {said} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"misfortunes {len(arguments.only)}, failed {failed}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
