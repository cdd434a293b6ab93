"""What the container engine of this machine offers, and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anew.engines.docker.client import Client
from anew.errors import AnewError
from anew.views import Check

NAME = "container engine"
LIMITING: Mapping[str, tuple[str, ...]] = {  # what an engine says of itself, by what is limited
    "memory": ("MemoryLimit",),
    "cpu": ("CpuCfsQuota", "CPUCfsQuota"),  # of Docker; of Podman
    "pids": ("PidsLimit",),
}
SWAP = "swap"  # that what is swapped out counts as memory
MOUNT = "let the kernel count it (boot with cgroup_enable=memory, mount its control groups), then restart the engine"


def checks(client: Client | None = None) -> tuple[Check, ...]:
    """Return what is found; asks the engine (None: that of this machine), and starts nothing."""
    client = client or Client()
    try:
        client.require_reach()
        said, kind = client.info(), "Podman" if client.is_podman else "Docker"
    except AnewError as error:
        return (Check(NAME, "limited", f"nothing can run on the engine `docker`: {error.what}", error.hint),)
    version = 2 if str(said.get("CgroupVersion")) == "2" else 1
    found = f"{kind} {said.get('ServerVersion')} at {client.socket}, {said.get('Driver')}, control groups v{version}"
    lacks = unheld(client)
    limits = f"can limit {', '.join(one for one in LIMITING if one not in lacks) or 'nothing'}"
    out = [found, limits, *(f"can't limit {one}: {why}" for one, why in lacks.items())]
    hints = [MOUNT] if lacks else []
    if "memory" not in lacks and SWAP in dropped(client):
        out.append("what is swapped out does not count as memory")
        hints.append("boot the machine with swapaccount=1, or without swap")
    if kind == "Podman" and version == 1:
        out.append("an end for want of memory is told as a signal")
        hints.append("control groups of version 2 tell it")
    return (Check(NAME, "limited" if hints else "ok", "; ".join(out), "; ".join(hints)),)


def unheld(client: Client) -> dict[str, str]:
    """Return the limits that the engine can't hold, and why: it would take them, and let an instance have more."""
    said = client.info()
    return {one: "the container engine says so" for one, names in LIMITING.items() if not _has(said, names)}


def dropped(client: Client) -> frozenset[str]:
    """Return what must not be asked of the engine: it would say nothing, and run a container that has another limit."""
    return frozenset(unheld(client)) | (frozenset() if _has(client.info(), ("SwapLimit",)) else {SWAP})


def _has(said: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Say whether an engine says that it has something; one that does not speak of it is taken to have it."""
    return any(said.get(name, False) for name in names) or not any(name in said for name in names)
