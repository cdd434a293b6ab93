"""The request that makes a container of an order. Pure: an order in, the engine's JSON out.

Rules
    1  Nothing of an instance can be written but what its order says: the root is read-only, and there is a tmpfs for
       /tmp and each writable folder.
    2  It has no capability, no way to one, no published port, and is never restarted.
    3  A program sees the same variables, folder and user rights as on the embedded engine.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from anew.engines.docker import labels
from anew.engines.docker.labels import Lot
from anew.engines.embedded.argv import DEFAULTS, HOSTNAME
from anew.engines.embedded.revealed import FOLDER
from anew.errors import SpecError
from anew.model import Order

TMP = "/tmp"  # noqa: S108 - a path inside
ROOM = "rw,exec,nosuid,nodev,mode=1777"  # of a tmpfs
BARE = "ro,nosuid,nodev,size=64k,mode=755"
OF_PODMAN = ("/run", "/var/tmp")  # noqa: S108 - where Podman has a writable tmpfs unless it is told of another mount
UNSET = ("HOSTNAME", "TERM", "container")  # which an engine adds: a name without a value takes it away
LOG: Mapping[str, Any] = MappingProxyType(
    {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "3"}}  # as much as a collection leaves elsewhere
)
FORBIDDEN = ("/proc", "/dev", "/sys")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of this machine that is seen inside."""

    source: str
    target: str
    is_writable: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a container: image, network, and what is bound into it."""

    image: str  # the engine's id of it
    network: str
    binds: tuple[Bind, ...] = ()
    is_podman: bool = False
    unheld: frozenset[str] = frozenset()  # limits that the engine would drop, without an error


def container(order: Order, lot: Lot, around: Surroundings) -> dict[str, Any]:
    """Return the body of the request that makes the container of `order`.

    Raises  SpecError if two places overlap, or one is in a folder that the engine needs.
    """
    _require_apart(order)
    rooms = _rooms(order, lot.uid, is_podman=around.is_podman)
    host = {
        "NetworkMode": around.network,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": True,
        "CgroupnsMode": "private",
        "IpcMode": "private",
        "Tmpfs": rooms,
        "Mounts": [
            {"Type": "bind", "Source": one.source, "Target": one.target, "ReadOnly": not one.is_writable}
            for one in around.binds
        ],
        "LogConfig": dict(LOG),
        "RestartPolicy": {"Name": "no"},
        **limits(order, around.unheld),
    }
    return {
        "Image": around.image,
        "Entrypoint": [],
        "Cmd": list(order.command),
        "Env": [*(f"{name}={value}" for name, value in sorted(variables(order).items())), *UNSET],
        "User": f"{lot.uid}:{lot.uid}",
        "WorkingDir": "/",
        "Hostname": HOSTNAME,
        "StopSignal": "SIGTERM",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "Labels": {**labels.of_order(order, lot), labels.EXPECTED: expected(order, around, rooms)},
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {around.network: {}}},
    }


def variables(order: Order) -> dict[str, str]:
    """Return the environment of a program."""
    return {**DEFAULTS, **dict(order.environment)}


def limits(order: Order, unheld: Collection[str] = ()) -> dict[str, int]:
    """Return what the engine is told of the limits of an order; 0: none. Memory that is swapped out counts."""
    memory = 0 if "memory" in unheld else order.limits.memory
    return {
        "Memory": memory,
        "MemorySwap": -1 if memory and "swap" in unheld else memory,
        "NanoCpus": 0 if "cpu" in unheld else round(order.limits.cpu * 1_000_000_000),
        "PidsLimit": 0 if "pids" in unheld else order.limits.pids,
    }


def expected(order: Order, around: Surroundings, rooms: Mapping[str, str]) -> str:
    """Return what an untouched container is like, as the text of a label."""
    told = {
        "limits": limits(order, around.unheld),
        "network": around.network,
        "mounts": {**dict.fromkeys(rooms, True), **{one.target: one.is_writable for one in around.binds}},
        "image": around.image,
    }
    return json.dumps(told, sort_keys=True)


def _rooms(order: Order, uid: int, *, is_podman: bool) -> dict[str, str]:
    """Return the tmpfs of a container, by path; with a limit of memory, no more can be written to one.

    Where the image has such a folder, its mode is kept, whatever we say: so the instance has to be its owner.
    """
    size = f",size={order.limits.memory}" if order.limits.memory else ""
    options = f"{ROOM}{size}" + (",U,notmpcopyup" if is_podman else f",uid={uid},gid={uid}")
    rooms = dict.fromkeys((TMP, *sorted(order.writable)), options)
    if is_podman:
        rooms = {**dict.fromkeys(OF_PODMAN, BARE), **rooms}
    return rooms


def _require_apart(order: Order) -> None:
    """Raise SpecError where one place would cover another, as the embedded engine does."""
    volumes = [one.path for one in order.volumes]
    for path in (*order.writable, *volumes):
        if not path.startswith("/") or not path.rstrip("/") or is_below(path, FORBIDDEN):
            raise SpecError(
                f"{path} can't be writable", hint=f"name an absolute path of a folder, not /, {', '.join(FORBIDDEN)}"
            )
    kept = (FOLDER,) if order.secrets else ()
    wrong = [(one, other) for one in order.writable for other in kept if is_below(one, (other,))]
    for number, one in enumerate(volumes):
        others = (*kept, *order.writable, *volumes[:number])
        wrong += [(one, other) for other in others if is_below(one, (other,)) or is_below(other, (one,))]
    for one, other in wrong:
        raise SpecError(f"{one} overlaps {other}", hint="give each volume and writable folder a place of its own")


def is_below(path: str, folders: tuple[str, ...]) -> bool:
    """Say whether a path is one of the folders, or in one."""
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in folders)
