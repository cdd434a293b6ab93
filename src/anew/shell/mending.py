"""Fixing without touching: an instance is taken aside before anybody looks into it, and is disposed of afterwards.

Rules

1. A successor starts first, so that nobody misses the one that leaves.
2. What is taken aside is held by whoever looks into it, a while at a time: if he is gone, so is it.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anew.core.machine import BEFORE_FULL
from anew.core.world import Allotment, World
from anew.errors import Conflict, EngineError, NotFound
from anew.model import Scope, Seconds
from anew.ports import Clock, Say
from anew.shell.journal import Journal

HOLD: Seconds = 60.0  # an instance is held for so long after it was last asked for
LOOKS_EVERY: Seconds = 0.1
SPARE: Seconds = 30.0  # beyond what a successor may take to be ready, and the instance to drain


@dataclass(frozen=True, slots=True)
class Mending:
    """Takes instances of one environment aside; `world` reads it anew, `act` lets a keeper act."""

    scope: Scope
    journal: Journal
    clock: Clock
    world: Callable[[], World]
    act: Callable[[], None]

    def rebirth(self, service: str) -> tuple[str, ...]:
        """Ask for every instance of what serves to be replaced; see `anew.cases.Mender`."""
        world = self.world()
        names = tuple(one.name for s in ([service] if service else _running(world)) for one in _members(world, s))
        for name in names:
            self.journal.instances.set_aside(name, f"rebirth, asked by {who()}", 0.0)
        self.act()
        return names

    def take_aside(self, service: str, say: Say) -> str:
        """Take one instance out of traffic; see `anew.cases.Mender`."""
        world = self.world()
        one = self._chosen(world, service)
        reason = f"debug, by {who()}"
        self.hold(one.name, HOLD, reason)
        say(f"{one.name} leaves when another one has taken its place")
        self.act()
        member = world.members(world.serving)[service]
        until = self.clock.monotonic() + member.policy.ready + member.policy.drain + SPARE
        held = self.clock.monotonic()
        while one.name not in self.world().apart:
            if self.clock.monotonic() > until:
                self.journal.instances.set_aside(one.name, "", 0.0)
                raise EngineError(
                    f"nothing has taken the place of {one.name} in time, so it stays in traffic; or, if it has left "
                    "it already, somebody still talked to it",
                    hint=f"`anew status -e {self.scope.environment}` shows which; then try again",
                )
            if self.clock.monotonic() > held + HOLD / 3:
                self.hold(one.name, HOLD, reason)
                held = self.clock.monotonic()
            time.sleep(LOOKS_EVERY)
        return one.name

    def hold(self, name: str, span: Seconds, reason: str = "") -> None:
        """Hold an instance that was taken aside for so long from now on; 0: no longer."""
        known = {a.name: a for a in self.journal.instances.allotments(self.scope)}
        if name not in known and not span:
            return  # it has ended by itself
        if name not in known:
            raise NotFound(f"{name} has ended", hint="take another one aside")
        hold = self.clock.now() + span if span else 0.0
        self.journal.instances.set_aside(name, reason or known[name].aside, hold)
        if not span:
            self.act()

    def _chosen(self, world: World, service: str) -> Allotment:
        members = _members(world, service)
        if world.rollout is not None and world.rollout.phase in (*BEFORE_FULL, "full", "rolling back"):
            raise Conflict(
                f"a rollout is under way in {self.scope}", hint="wait for its end, or `anew promote`, or `anew abort`"
            )
        ready = [one for one in members if world.is_ready(one.name) and not (one.aside or one.tainted)]
        if not ready:
            raise Conflict(f"{service} has no ready instance that could be taken aside", hint="`anew status` shows why")
        if world.members(world.serving)[service].kind == "worker":
            raise Conflict(
                f"{service} is a worker, and works as long as it runs: it can't be taken out of traffic",
                hint=f"`anew run {service} -- COMMAND` looks into a throwaway instance of the same image",
            )
        if ready[-1].group in world.alone:
            raise Conflict(
                f"of {service} there may only be one, so nothing could take its place",
                hint=f"`anew run {service} -- COMMAND` looks into a throwaway instance of the same image",
            )
        return ready[-1]


def who() -> str:
    """Return the name of the person who asks."""
    asked = os.environ.get("SUDO_USER", "")
    try:
        return asked or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _running(world: World) -> Sequence[str]:
    members = world.members(world.serving).values()
    return sorted(m.service for m in members if world.by_group.get(m.group))


def _members(world: World, service: str) -> tuple[Allotment, ...]:
    """Return the living instances of a service that serves, by ordinal.

    Raises  NotFound if nothing serves, or it has no such service.
    """
    if not world.serving:
        raise NotFound(f"nothing serves in {world.scope}", hint=f"`anew up -e {world.scope.environment}` brings it up")
    found = world.members(world.serving)
    if service not in found:
        raise NotFound(f"g{world.serving} has no service {service!r}", hint=f"it has: {', '.join(sorted(found))}")
    ones = world.by_group.get(found[service].group, ())
    return tuple(one for one in ones if not one.draining and (s := world.seen.get(one.name)) is not None and s.is_alive)
