"""What a state has in a container engine beyond what runs for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from anew.testing.containers import fittings, name_of
from anew.testing.rig import Rig


def in_containers(project: Rig, instances: int) -> Iterator[str]:
    """Say what is left over in the container engine: containers, networks, volumes, and what instances were given."""
    owner, engine = project.owner(), project.containers
    found = engine.containers(owner)
    kinds = Counter((str(one["Labels"]["anew.kind"]), str(one["State"])) for one in found)
    if kinds != {("instance", "running"): instances, ("edge", "running"): 1}:
        there = (f"{name_of(one)} ({one['State']})" for one in found)
        yield f"the containers are {', '.join(there)}"
    networks = engine.networks(owner)
    if networks != [f"anew-{project.project}-local"]:
        yield f"the networks are {networks}"
    volumes = [mount["Name"] for one in found for mount in one["Mounts"] if mount["Type"] == "volume"]
    if volumes:
        yield f"there are volumes: {volumes}"
    given = sorted(path.name for path in fittings(owner).glob("*"))
    used = sorted(token for one in found if (token := one["Labels"].get("anew.fittings")))
    if len(given) > len(used) + 1:  # what was made right before a kill goes at the next launch
        yield f"{len(given)} folders were given to {len(used)} instances"
