"""What somebody did to instances through the engine: a command that was run in one leaves no other trace than an event.

The engine keeps the newest `KEPT` events, of all containers, in memory. So an answer says whether some may be missing:
the engine has started since, or there were as many as it keeps. Podman keeps them all, in a file.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anew.engines.docker.client import QUICK, Client
from anew.engines.embedded import proc
from anew.model import Seconds

KEPT = 256
SLACK: Seconds = 2.0  # of times that the kernel tells in whole seconds
PID_FILES = (Path("/run/docker.pid"), Path("/var/run/docker.pid"))
WORDS: Mapping[str, str] = {
    "exec_create": "a command was run in it",
    "exec": "a command was run in it",  # Podman's word
    "attach": "somebody attached to it",
    "rename": "it was renamed",
    "update": "its limits were changed",
    "pause": "it was paused",
    "unpause": "it was unpaused",
    "kill": "it was sent a signal",
    "restart": "it was restarted",
    "archive-path": "files were copied out of it",
    "extract-to-dir": "files were copied into it",
    "copy": "files were copied into it or out of it",
    "export": "its files were exported",
    "commit": "an image was made of it",
    "checkpoint": "it was frozen to the disk",
}
AT_NETWORKS: Mapping[str, str] = {
    "connect": "it was connected to the network", "disconnect": "it was disconnected from the network",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Touch:
    """One thing that somebody did to one instance."""

    name: str
    what: str
    at: float


@dataclass(frozen=True, slots=True)
class Touched:
    """What was done, up to `until`, from which the next look goes on; `has_gap`: more may have been done."""

    touches: tuple[Touch, ...]
    until: float
    has_gap: bool


def touched(client: Client, names: Mapping[str, str], network: str, since: float) -> Touched:
    """Return what was done since then to the containers in `names` (by id), which are in `network`."""
    until = time.time()
    events = tuple(fetched(client, since, until))
    every = (one for one in parsed(events, names, network, since) if one.at <= until)
    found = sorted(every, key=lambda one: (one.at, one.name))
    has_gap = not client.is_podman and (len(events) >= KEPT or _started(client.socket) > since - SLACK)
    return Touched(tuple(found), until, has_gap)


def parsed(
    events: Iterable[Mapping[str, Any]], names: Mapping[str, str], network: str, since: float
) -> Iterator[Touch]:
    """Yield what the `events` say was done to the containers in `names` after `since`; what anew does is left out."""
    for one in events:
        at = int(one.get("timeNano") or 0) / 1e9 or float(one.get("time") or 0)
        actor: Mapping[str, Any] = one.get("Actor") or {}
        attributes: Mapping[str, str] = actor.get("Attributes") or {}
        action, _, more = str(one.get("Action", "")).partition(": ")
        if at <= since:
            continue
        if one.get("Type") == "network" and attributes.get("container") in names and action in AT_NETWORKS:
            if attributes.get("name") != network:  # the engine itself does it to the own one, at start and end
                yield Touch(names[attributes["container"]], f"{AT_NETWORKS[action]} {attributes.get('name')}", at)
        elif one.get("Type") == "container" and actor.get("ID") in names and action in WORDS:
            yield Touch(names[str(actor["ID"])], WORDS[action] + _detail(action, more, attributes), at)


def _detail(action: str, more: str, attributes: Mapping[str, str]) -> str:
    """Return what can be told besides; of a command only its program: what follows may be a secret."""
    if action == "exec_create" and more:
        return f": {more.split(maxsplit=1)[0]}"
    if action == "kill" and attributes.get("signal"):
        return f": {attributes['signal']}"
    return ""


def fetched(client: Client, since: float, until: float) -> Iterator[Mapping[str, Any]]:
    """Yield all events of the engine in a span of time; the SDK's own method would wait without a bound."""
    span = {"since": f"{since:.9f}", "until": f"{until:.9f}"}
    if client.is_podman:  # it knows whole seconds only, and would wait for more
        span = {"since": str(int(since)), "until": str(int(until) + 1), "stream": "false"}
    with client.asking("reading the container engine's events", "GET /events") as api:
        url = f"{api.base_url}/v{api.api_version}/events"
        with api.get(url, params=span, stream=True, timeout=QUICK) as answer:
            answer.raise_for_status()
            lines = [line for line in answer.iter_lines() if line]
    decode: Callable[[bytes], Any] = json.loads
    for line in lines:
        yield decode(line)


def _started(path: Path) -> float:
    """Return when the process behind a socket started, in UTC seconds; now, if that can't be found out."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(QUICK)
        one.connect(str(path))
        pid, _, _ = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if proc.name(pid) != "dockerd":  # the socket was made by the system, which starts the engine
        pid = next((int(file.read_text("ascii")) for file in PID_FILES if file.is_file()), 0)
    found = proc.fields(pid) if pid else ()
    if not found:
        return time.time()
    booted = next(line for line in Path("/proc/stat").read_text("ascii").splitlines() if line.startswith("btime "))
    return float(booted.split()[1]) + int(found[19]) / os.sysconf("SC_CLK_TCK")
