"""What differs between a running container and what its order sealed.

An untouched container differs in nothing, whatever it writes where it may: to its tmpfs, its volumes and its log. What
is compared with stands in a label, which nobody can change. The comparisons are pure; `of` fetches what they need.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from posixpath import dirname
from typing import Any

from anew.engines.docker import labels, life, upper
from anew.engines.docker.client import Client
from anew.engines.embedded import held, mounted, proc
from anew.engines.embedded.drift import Sandboxes
from anew.errors import EngineError, NotFound

MOST = 50  # lines; who changed more has said enough
OF_ENGINES = (  # what an engine mounts into every container, itself or what is below
    "/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc/group",
    "/sbin/docker-init", "/run/podman-init", "/run/.containerenv", "/run/secrets", "/dev/init",
)  # fmt: skip
MOST_STEPS = 1000  # of links that lead to links
WITH_MANY = ("/proc", "/sys", "/dev")  # below these, an engine mounts as it likes, and hides things
OTHER_LIMITS: Mapping[str, tuple[object, ...]] = {
    "CpuShares": (0, None), "CpusetCpus": ("", None), "CpusetMems": ("", None), "MemoryReservation": (0, None),
    "CpuRealtimeRuntime": (0, None), "BlkioWeight": (0, None),
}  # fmt: skip
WORDS = {0: "changed", 1: "added", 2: "removed"}
SPACES = ("pid", "mnt", "net")


def of(client: Client, said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each thing that differs in the container that the engine described; () if it is gone."""
    now = life.of(said)
    return (*of_order(client, said), *Sandboxes({now.id: now.pid}, SPACES).lines().get(now.id, ()))[:MOST]


def of_order(client: Client, said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each thing that is not as ordered in a container; who is inside is not looked at."""
    told: Mapping[str, str] = said["Config"]["Labels"]
    expected: Mapping[str, Any] = json.loads(told[labels.EXPECTED])
    now = life.of(said)
    changes = _changes(client, said)
    if changes is None:
        return ()
    mounts, engines = _places(now.pid, expected)
    lines = [
        *_state(said, told, now),
        *_limits_of(now.pid, said["HostConfig"], expected["limits"]),
        *networks(said.get("NetworkSettings", {}).get("Networks") or {}, expected["network"]),
        *_mounts_of(now.pid, mounts, engines),
        *files(changes, (*mounts, *engines)),
    ]
    return tuple(lines[:MOST])


def changed_files(client: Client, said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each file that differs from the image's in a container, living or ended; () if it is gone."""
    expected: Mapping[str, Any] = json.loads(said["Config"]["Labels"][labels.EXPECTED])
    now = life.of(said)
    mounts, engines = _places(now.pid, expected)
    return tuple(files(_changes(client, said) or (), (*mounts, *engines)))


def _changes(client: Client, said: Mapping[str, Any]) -> Collection[Mapping[str, Any]] | None:
    """Return what has changed in a container's files, as the engine would say it; None if it is gone."""
    found = upper.changes(said)
    if found is not None:
        return found
    container = str(said["Id"])
    try:
        with client.asking("comparing a container with its image", f"GET /containers/{container}/changes") as api:
            return api.diff(container) or ()
    except NotFound:
        return None
    except EngineError as cause:
        if "no such" in cause.what.lower():
            return None
        raise


def _places(pid: int, expected: Mapping[str, Any]) -> tuple[Mapping[str, bool], Collection[str]]:
    """Return what is mounted by order (path, is it writable) and by the engine; links are followed while it lives."""
    root = Path(f"/proc/{pid}/root")
    mounts = {resolved(root, path): is_writable for path, is_writable in expected["mounts"].items()}
    return mounts, {*OF_ENGINES, *(resolved(root, path) for path in OF_ENGINES)}


def _state(said: Mapping[str, Any], told: Mapping[str, str], now: life.Life) -> Iterator[str]:
    name = str(said.get("Name", "")).lstrip("/")
    if name != told[labels.NAME]:
        yield f"it was renamed to {name}"
    if now.is_paused:
        yield "it is paused"
    if now.is_present and not now.is_alive:
        yield f"it was {life.RESTARTED}"


def limits(host: Mapping[str, Any], expected: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each limit that is not what the order said, and for a policy of restarts."""
    words = {"Memory": "memory", "MemorySwap": "memory with swap", "NanoCpus": "processors", "PidsLimit": "processes"}
    for name, value in expected.items():
        actual = int(host.get(name) or 0)
        if actual != value and (value or name != "PidsLimit"):  # an engine may have a limit of its own
            yield f"its limit of {words[name]} was changed: {actual} instead of {value or 'none'}"
    for name, plain in OTHER_LIMITS.items():
        if host.get(name) not in plain:
            yield f"its {name} was changed: {host.get(name)}"
    policy = str((host.get("RestartPolicy") or {}).get("Name") or "no")
    if policy != "no":
        yield f"it is restarted by the engine: {policy}"


def _limits_of(pid: int, host: Mapping[str, Any], expected: Mapping[str, int]) -> Iterator[str]:
    """Yield a line for each limit that was changed: as the engine says, or else, past it, as the kernel does."""
    said = tuple(limits(host, expected))
    yield from said or held.changes(held.Holds().of(pid), ordered(expected))


def ordered(expected: Mapping[str, int]) -> dict[str, float]:
    """Return the limits that were ordered as the kernel counts them; of one that was not, an engine may have its own.

    >>> ordered({"Memory": 1 << 20, "NanoCpus": 500_000_000, "PidsLimit": 0, "MemorySwap": 1 << 20})
    {'memory': 1048576.0, 'cpu': 0.5}
    """
    told = {"memory": expected["Memory"], "cpu": expected["NanoCpus"] / 1e9, "pids": expected["PidsLimit"]}
    return {resource: float(value) for resource, value in told.items() if value}


def networks(actual: Iterable[str], expected: str) -> Iterator[str]:
    """Yield a line for each network that it is in and should not be, and for its own if it is not."""
    found = set(actual)
    yield from (f"it was connected to the network {one}" for one in sorted(found - {expected}))
    if expected not in found:
        yield f"it was disconnected from the network {expected}"


def files(changes: Iterable[Mapping[str, Any]], places: Iterable[str]) -> Iterator[str]:
    """Yield a line for each file that differs from the image's; `places` of mounts, and the ways there, do not."""
    ways = _ways(places)
    others = [one for one in changes if one["Path"] not in ways and not _is_below(one["Path"], ("/dev",))]
    above = _ways([dirname(one["Path"]) for one in others])
    for one in others:
        path = str(one["Path"])
        if int(one["Kind"]) or path not in above:  # a folder changes by what is in it
            yield f"{WORDS.get(int(one['Kind']), 'changed')}: {path}"


def mounts(text: str, expected: Mapping[str, bool], engines: Collection[str] = OF_ENGINES) -> Iterator[str]:
    """Yield a line for each mount in `text` of /proc/PID/mountinfo that is not as `expected` (path, is it writable)."""
    places: Counter[str] = Counter()
    for one in mounted.parsed(text):
        place, is_writable = one.place, one.is_writable
        if _is_below(place, WITH_MANY) and place not in WITH_MANY:
            continue
        places[place] += 1
        if place == "/":
            if is_writable:
                yield "its root can be written to"
        elif place in expected:
            if is_writable and not expected[place]:
                yield f"{place} can be written to"
        elif not _is_below(place, engines):
            yield f"something was mounted at {place} ({one.kind})"
    yield from (f"something was mounted over {place}" for place, count in sorted(places.items()) if count > 1)
    yield from (f"{place} is not mounted any more" for place in sorted(expected) if place not in places)


def _mounts_of(pid: int, expected: Mapping[str, bool], engines: Collection[str]) -> Iterator[str]:
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text("utf-8", errors="replace")
    except (*proc.VANISHED, OSError):  # it has just ended: there is nothing to compare
        return
    if text:
        yield from mounts(text, expected, engines)


def resolved(root: Path, path: str) -> str:
    """Return where `path` leads inside `root`: links are followed, as an engine does when it mounts there."""
    done: list[str] = []
    left = [one for one in path.split("/") if one]
    for _ in range(MOST_STEPS):
        if not left:
            break
        name = left.pop(0)
        if name == "..":
            done = done[:-1]
            continue
        try:
            link = os.readlink(root.joinpath(*done, name))  # noqa: PTH115 - the text, not a path
        except OSError:  # no link, or not there
            done.append(name)
            continue
        done = [] if link.startswith("/") else done
        left = [*(one for one in link.split("/") if one not in {"", "."}), *left]
    return "/" + "/".join((*done, *left))


def _ways(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        while path not in found and path != "/":
            found.add(path)
            path = dirname(path)  # noqa: PLW2901 - up to the root
    return found


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == one or path.startswith(one + "/") for one in folders)
