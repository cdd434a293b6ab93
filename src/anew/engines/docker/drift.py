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

from anew.engines.docker import labels, life
from anew.engines.docker.client import Client
from anew.engines.docker.containers import is_in
from anew.engines.embedded import proc
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
    told: Mapping[str, str] = said["Config"]["Labels"]
    expected: Mapping[str, Any] = json.loads(told[labels.EXPECTED])
    now = life.of(said)
    container = now.id
    try:
        with client.asking("comparing a container with its image", f"GET /containers/{container}/changes") as api:
            changes = api.diff(container) or ()
    except NotFound:
        return ()
    except EngineError as cause:
        if "no such" in cause.what.lower():
            return ()
        raise
    root = Path(f"/proc/{now.pid}/root")
    mounts = {resolved(root, path): is_writable for path, is_writable in expected["mounts"].items()}
    engines = {*OF_ENGINES, *(resolved(root, path) for path in OF_ENGINES)}
    lines = [
        *_state(said, told, now),
        *limits(said["HostConfig"], expected["limits"]),
        *networks(said.get("NetworkSettings", {}).get("Networks") or {}, expected["network"]),
        *_mounts_of(now.pid, mounts, engines),
        *files(changes, (*mounts, *engines)),
        *_entered(now.pid, container),
    ]
    return tuple(lines[:MOST])


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
    for line in text.splitlines():
        parts = line.split()
        place, is_writable = _plain(parts[4]), "rw" in parts[5].split(",")
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
            yield f"something was mounted at {place} ({parts[parts.index('-') + 1]})"
    yield from (f"something was mounted over {place}" for place, count in sorted(places.items()) if count > 1)
    yield from (f"{place} is not mounted any more" for place in sorted(expected) if place not in places)


def _mounts_of(pid: int, expected: Mapping[str, bool], engines: Collection[str]) -> Iterator[str]:
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text("utf-8", errors="replace")
    except (*proc.VANISHED, OSError):  # it has just ended: there is nothing to compare
        return
    if text:
        yield from mounts(text, expected, engines)


def _entered(first: int, container: str) -> Iterator[str]:
    """Yield a line for each process that came in from outside, and for each debugger."""
    inside = proc.descendants(first)
    spaces = {(kind, proc.namespace(first, kind)) for kind in SPACES} - {(kind, "") for kind in SPACES}
    for one in proc.pids():
        if one in inside:
            continue
        is_here = any(proc.namespace(one, kind) == space for kind, space in spaces) or is_in(one, container)
        if is_here and proc.name(one) != "conmon" and not _is_new_child(one, first):
            yield f"{proc.name(one)} (pid {one}) has entered from outside"
    for one in inside:
        debugger = proc.tracer(one)
        if debugger:
            yield f"{proc.name(one)} (pid {one}) is debugged by {proc.name(debugger)} (pid {debugger})"


def _is_new_child(pid: int, first: int) -> bool:
    """Say whether a process descends from `first` after all: it was born, or adopted, while we looked."""
    while pid > 1:
        if pid == first:
            return True
        pid = proc.parent(pid)
    return not pid  # it is gone already


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


def _plain(path: str) -> str:
    r"""Return a path as it is: the kernel writes blanks as numbers.

    >>> _plain(r"/a\040b")
    '/a b'
    """
    return path.encode("latin-1", "replace").decode("unicode_escape") if "\\" in path else path
