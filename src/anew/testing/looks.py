"""What the invariants are made of: a sentence, a check, and what the checks look at in a world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from anew.core import names
from anew.core.steps import Step
from anew.core.world import Allotment, World
from anew.model import Generation, Member, Policy

AFTER_FULL = frozenset({"full", "warm", "done"})
LISTENING = frozenset({"http", "tcp"})
Check = Callable[[World, Step], str]


@dataclass(frozen=True, slots=True)
class Invariant:
    """One sentence of the design, and a check that says how a step breaks it in a world ("" if it does not)."""

    name: str
    sentence: str
    breach: Check
    is_seen: bool = False  # it must hold in the world that was read, not only in the one that the steps before leave


@dataclass(frozen=True, slots=True)
class Breach:
    """A step that breaks an invariant, and how."""

    invariant: str
    step: str
    says: str


def serving(world: World, group: str) -> tuple[str, ...]:
    """Return the instances of `group` that answer requests: ready, and not draining at the edge."""
    return tuple(
        a.name for a in world.by_group.get(group, ()) if world.is_ready(a.name) and world.told.get(a.name) is False
    )


def weights(world: World) -> dict[str, dict[str, int]]:
    """Return the weights that the edge confirms, without zeroes: service → group → weight."""
    return {s: {g: w for g, w in groups.items() if w} for s, groups in world.edge.weights.items()}


def fresh(world: World) -> tuple[Member, ...]:
    """Return the members of the rollout's new generation whose groups the old one lacks."""
    if world.rollout is None:
        return ()
    old = {m.group for m in world.members(world.rollout.old).values()}
    return tuple(m for m in world.members(world.rollout.new).values() if m.group not in old)


def served(world: World) -> frozenset[str]:
    """Return the services that the present phase serves, whatever becomes of the others."""
    rollout, number = world.rollout, world.serving
    if rollout is not None:
        number = rollout.new if rollout.phase in AFTER_FULL else rollout.old
    return frozenset(s for s, m in world.members(number).items() if m.kind in LISTENING)


def now(world: World) -> tuple[int, ...]:
    """Return the generations between which the traffic passes, or the one that serves."""
    return (world.serving,) if world.rollout is None else (world.rollout.old, world.rollout.new)


def is_handed_over(world: World, group: str) -> bool:
    """Say whether a group and another one that matters now may never run side by side."""
    service = world.groups[group].group.service if group in world.groups else ""
    members = [m for n in now(world) if (m := world.members(n).get(service))]
    has_others = any(m.group != group for m in members)
    return has_others and (group in alone(world) or any(m.is_alone for m in members))


def alone(world: World) -> frozenset[str]:
    """Return the groups beside which no other of their service may run."""
    return frozenset(m.group for g in world.generations.values() for m in g.members if m.is_alone)


def in_turn(world: World, member: Member) -> bool:
    """Say whether a member of the new generation can't be prepared: it runs when its generation has the traffic."""
    rollout = world.rollout
    if rollout is None or not rollout.old:
        return False
    before = world.members(rollout.old).get(member.service)
    if before is None:
        return member.kind == "worker"
    if before.group == member.group:
        return False
    return member.kind == "worker" or before.is_alone or member.is_alone


def beside(world: World) -> frozenset[str]:
    """Return the groups that stand beside the new ones of the rollout to be compared with, while that goes on."""
    rollout = world.rollout
    if rollout is None or rollout.kind == "rollback" or rollout.phase == "rolling back":
        return frozenset()
    new = world.members(rollout.new)
    of_old = {m.group: new[s].policy for s, m in world.members(rollout.old).items() if s in new}
    is_after = rollout.phase in AFTER_FULL
    return frozenset(
        name
        for name in world.groups
        if names.beside(name) == rollout.new
        and (policy := of_old.get(names.original(name))) is not None
        and policy.is_fresh
        and (policy.warm_control or not is_after)
    )


def living(world: World, group: str) -> tuple[str, ...]:
    """Return the members of a group whose processes run."""
    return tuple(
        a.name for a in world.by_group.get(group, ()) if (s := world.seen.get(a.name)) is not None and s.is_alive
    )


def weighted(world: World) -> dict[str, int]:
    """Return the weights by group, without zeroes."""
    return {g: w for groups in weights(world).values() for g, w in groups.items()}


def policy(generations: Mapping[int, Generation], group: str) -> Policy:
    """Return the policy of a group: the newest generation that maps to it says it."""
    found = [m.policy for _, g in sorted(generations.items()) for m in g.members if m.group == group]
    return found[-1] if found else Policy()


def is_leaving(world: World, one: Allotment) -> bool:
    """Say whether an instance that lives has to go: it was touched, somebody asked for it, or it is too old."""
    members = world.members(world.serving).values()
    most = max((m.max_age for m in members if m.group == one.group), default=0.0)
    seen = world.seen.get(one.name)
    is_old = most > 0 and seen is not None and seen.started + most * 0.9 <= world.now
    return bool(one.aside) or is_old or (bool(one.tainted) and world.environment.taint == "replace")


def allotment(world: World, name: str) -> Allotment | None:
    """Return the allotment of an instance; None if it is not in use."""
    return next((a for a in world.allotments if a.name == name), None)
