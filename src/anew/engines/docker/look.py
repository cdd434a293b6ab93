"""One look at all instances of an environment: one list, and more only of what is new or has changed.

What ended never changes again, and what lives is known to live while its first process does. So of a hundred instances
that go on as before the engine is asked once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anew.engines.docker import labels, life, listening
from anew.engines.docker.containers import Containers
from anew.engines.docker.life import Life
from anew.engines.docker.network import name_of
from anew.engines.docker.touches import fetched
from anew.engines.embedded import proc
from anew.model import Instance, Scope, Seconds

OOM_BEFORE: Seconds = 1.0  # an end by then is by this want of memory
OOM_AFTER: Seconds = 0.5  # and so long afterwards an engine may still hear of it; whoever looks sooner waits for that
TAIL = 20  # lines of a log, in which an init says why it could not execute the program
START = 19  # of /proc/PID/stat, from the third field on: when the process started


class Look:
    """What was seen of the containers of one state, by id. Safe to be used by several threads."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._alive: dict[str, tuple[Life, str]] = {}  # with the start of its first process, as the kernel counts
        self._over: dict[str, Life] = {}

    def instances(self, scope: Scope) -> tuple[Instance, ...]:
        """Return the instances of `scope`, sorted by name."""
        found = []
        for said in self._containers.of_scope(scope, "instance"):
            now = self.life(str(said["Id"]), str(said.get("State", "")))
            if now is not None and not now.is_intention:
                found.append(as_instance(now, said, name_of(scope)))
        return tuple(sorted(found, key=lambda one: one.name))

    def life(self, container: str, state: str = "") -> Life | None:
        """Return the life of a container, whose state in short the engine says is `state`; None if it is gone."""
        over = self._over.get(container)
        if over is not None and state in {"exited", "dead"}:
            return over
        known = self._alive.get(container)
        if known is not None and state == "running" and start_of(known[0].pid) == known[1]:
            return known[0]
        return self._asked(container)

    def forget(self, container: str) -> None:
        """Forget what was seen of a container that is removed."""
        self._alive.pop(container, None)
        self._over.pop(container, None)

    def _asked(self, container: str) -> Life | None:
        said = self._containers.inspected(container)
        if said is None:
            self.forget(container)
            return None
        now = life.of(said)
        if now.is_alive:
            if not now.is_paused:
                self._alive[container] = (now, start_of(now.pid))
        elif not now.is_present and not now.is_intention:
            now = self._told(now, said)
            self._over[container] = now
        return now

    def _told(self, now: Life, said: Mapping[str, Any]) -> Life:
        """Return an ended life with what its state does not say: that memory was short, or the words of its init."""
        if now.code == life.KILLED and life.memory_of(said) and self._was_short(now, said):
            return replace(now, ended=life.for_memory(said))
        if now.code not in {life.ABSENT, life.FORBIDDEN}:
            return now
        log = self._containers.log(now.id, TAIL).decode("utf-8", "replace")
        program = (said["Config"].get("Cmd") or ("",))[0]
        return replace(now, ended=life.not_executed(now.code, program, log) or now.ended)

    def _was_short(self, now: Life, said: Mapping[str, Any]) -> bool:
        """Say whether the engine saw memory run out at the end: when it hears so late, it says it as an event only."""
        end = life.moment(str(said["State"].get("FinishedAt", "")))
        events = fetched(self._containers.client, end - OOM_BEFORE, end + OOM_AFTER)
        return any(one.get("Action") == "oom" and one.get("Actor", {}).get("ID") == now.id for one in events)


def as_instance(now: Life, said: Mapping[str, Any], network: str) -> Instance:
    """Return the instance that a container is; its address may change, so it is taken from the newest list."""
    networks = said.get("NetworkSettings", {}).get("Networks") or {}
    address = str(networks.get(network, {}).get("IPAddress", "")) if now.is_alive else ""
    port = int(now.labels.get(labels.PORT, "0"))
    return Instance(
        name=now.labels[labels.NAME],
        group=now.labels[labels.GROUP],
        is_alive=now.is_alive,
        is_listening=bool(address) and not now.is_paused and listening.is_listening(now.pid, port),
        host=address,
        port=port,
        pid=now.pid if now.is_alive else 0,
        started=now.started,
        ended=now.ended,
    )


def start_of(pid: int) -> str:
    """Return when a process started, in the kernel's count; "" if there is none."""
    found = proc.fields(pid) if pid else ()
    return found[START] if found and found[0] != "Z" else ""
