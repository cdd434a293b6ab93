"""Which weights and which declaration the edge shall have, for every phase of a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from anew.core import doors, names
from anew.core.retention import AFTER_FULL, needed
from anew.core.world import World
from anew.model import FULL, Declaration, EdgeGroup, Kind, Member, PerMille, Phase, Route, Target

LISTENING: frozenset[Kind] = frozenset({"http", "tcp"})
ALONE: Mapping[str, Member] = MappingProxyType({})  # nobody to compare with


def stage_count(old: Mapping[str, Member], new: Mapping[str, Member]) -> int:
    """Return how many judged stages a rollout has: as many as its longest service; 0 if nothing can be compared."""
    return max((len(new[s].policy.stages) for s in judged(old, new)), default=0)


def changed(old: Mapping[str, Member], new: Mapping[str, Member]) -> tuple[str, ...]:
    """Return the services that both generations have, on different groups, sorted."""
    return tuple(sorted(s for s in new if s in old and old[s].group != new[s].group))


def judged(old: Mapping[str, Member], new: Mapping[str, Member]) -> tuple[str, ...]:
    """Return the changed services that run in stages, and so can be judged there, sorted."""
    return tuple(s for s in changed(old, new) if share(old[s], new[s], 0))


def is_handed_over(one: Member, other: Member | None) -> bool:
    """Say whether two groups of a service may never run side by side: one of them must be alone."""
    return other is not None and one.group != other.group and (one.is_alone or other.is_alone)


def share(before: Member | None, after: Member, stage: int) -> PerMille:
    """Return the weight that the new group of a service has in a stage beside the old one.

    One that changes its kind waits for `full`, for the two can't be compared; so does one that is handed over.
    """
    if before is not None and (before.kind != after.kind or is_handed_over(before, after)):
        return 0
    return stage_weight(after, stage)


def staged_size(before: Member | None, after: Member, stage: int) -> int:
    """Return how many instances a worker's new group has in a stage, where its weight is their number."""
    weight = share(before, after, stage)
    return min(after.size, max(1, round(weight * after.size / FULL))) if weight else 0


def stage_weight(member: Member, stage: int) -> PerMille:
    """Return the weight of a service's new group in a stage; it never takes the control's part.

    A service without stages of its own waits for `full` while others have theirs; so does one that is handed over.
    """
    stages = () if member.is_alone or member.kind == "job" else member.policy.stages
    weight = stages[min(stage, len(stages) - 1)] if stages else 0
    return min(weight, FULL - member.policy.control)


def wanted_weights(
    old: Mapping[str, Member],
    new: Mapping[str, Member],
    phase: Phase,
    stage: int = 0,
    controls: Mapping[str, Member] = ALONE,
) -> dict[str, dict[str, PerMille]]:
    """Return the weights that belong to a phase. A service that nobody serves (yet) has none; so has a worker.

    Shapes   `controls` has by service with whom its new group is compared (see `anew.core.control`).
    Returns  service → group → weight; the weights of a service sum to 1000, or it has none at all.
    """
    out: dict[str, dict[str, PerMille]] = {}
    for service in sorted({*old, *new}):
        before, after = (m if m and m.kind in LISTENING else None for m in (old.get(service), new.get(service)))
        if before is None and after is None:
            continue
        if phase in AFTER_FULL:
            out[service] = _after_full(after, controls.get(service), phase) if after else {}
        elif before is None:
            is_added = service not in old  # what only begins to listen changes its kind, and waits for `full`
            out[service] = {after.group: FULL} if after and is_added and phase == "stage" else {}
        elif after is None or after.group == before.group or phase != "stage":
            out[service] = {before.group: FULL}
        else:
            out[service] = _staged(before, after, controls.get(service, before), share(before, after, stage))
    return out


def _staged(before: Member, after: Member, control: Member, weight: PerMille) -> dict[str, PerMille]:
    """Return the weights of a stage: an instance of a baseline gets as much as a new one, if so much is left."""
    left = FULL - weight
    if control.group == before.group:
        return {after.group: weight, before.group: left}
    alike = max(1, round(weight * control.size / max(1, after.size))) if weight else 0
    fresh = min(alike, left - 1)
    return {after.group: weight, control.group: fresh, before.group: left - fresh}


def _after_full(after: Member, control: Member | None, phase: Phase) -> dict[str, PerMille]:
    left = after.policy.warm_control if control is not None and phase != "done" else 0
    return {after.group: FULL - left} | ({control.group: left} if control is not None and left else {})


def guarded(world: World, wanted: Mapping[str, Mapping[str, PerMille]]) -> dict[str, dict[str, PerMille]]:
    """Return `wanted`, but leave alone each service in which it would raise a group that has no ready instance.

    An instance that the edge does not know yet is no choice: it counts once it is declared. A service with no
    ready group keeps its weights, and the edge answers 503.
    """
    out = {}
    for service, weights in wanted.items():
        has = {g: w for g, w in world.edge.weights.get(service, {}).items() if w}
        may = all(w <= has.get(g, 0) or world.reachable(g) for g, w in weights.items())
        out[service] = dict(weights) if may else has
    return out


def is_set(world: World, wanted: Mapping[str, Mapping[str, PerMille]]) -> bool:
    """Say whether the edge confirms exactly `wanted` for these services, and nothing for any other."""
    has = _nonzero(world.edge.weights)
    return has == _nonzero(wanted)


def _nonzero(weights: Mapping[str, Mapping[str, PerMille]]) -> dict[str, dict[str, PerMille]]:
    positive = {s: {g: w for g, w in groups.items() if w} for s, groups in weights.items()}
    return {s: groups for s, groups in positive.items() if groups}


def declaration(world: World) -> Declaration:
    """Return all that the edge shall know: the groups that run or get traffic, their targets, and the routes."""
    keep = {m.group for n in needed(world) for m in world.members(n).values()}
    keep |= world.weighted | world.active
    listening = [n for n in sorted(keep) if n in world.groups and world.groups[n].group.seal.listens]
    groups = tuple(_edge_group(world, name) for name in listening)
    known = {g.service for g in groups}
    routes = tuple(r for r in _routes(world) if r.service in known)
    doors_of = doors.listeners(world, listening)
    newest = sorted((s, m) for s, m in _newest(world).items() if s in known)
    host, port = world.environment.host, world.environment.port
    sticky = tuple((s, m.policy.sticky) for s, m in newest if m.policy.sticky != "none")
    slow = tuple((s, limit) for s, limit in world.rollout.slow if s in known) if world.rollout else ()
    return Declaration(host, port, world.preview_port, routes, groups, doors_of, sticky, slow)


def _newest(world: World) -> dict[str, Member]:
    """Return what the newest generation that serves, or is on its way, says of each service that listens."""
    rollout = world.rollout
    order = [world.serving] if rollout is None else [rollout.old, rollout.new]
    out: dict[str, Member] = {}
    for number in order:
        out |= {s: m for s, m in world.members(number).items() if m.kind in LISTENING}
    return out


def _edge_group(world: World, name: str) -> EdgeGroup:
    """Describe one group to the edge; what drains goes on serving while nothing else of its group can."""
    group = world.groups[name].group
    targets = tuple(
        Target(one.name, one.port, bool(one.draining) and not world.is_last(one), world.seen[one.name].host)
        for one in world.by_group.get(name, ())
        if _is_alive(world, one.name) and (one.name in world.told or world.is_ready(one.name))
    )
    host = names.preview_host(world.scope, name)
    return EdgeGroup(name, group.service, group.seal.health, targets, host, group.seal.kind == "tcp")


def _is_alive(world: World, name: str) -> bool:
    """Say whether an instance lives and can be reached at an address."""
    seen = world.seen.get(name)
    return seen is not None and seen.is_alive and bool(seen.host)


def _routes(world: World) -> tuple[Route, ...]:
    """Let the generation that has the traffic win where two claim one Host name."""
    rollout = world.rollout
    order = [world.serving]
    if rollout is not None:
        order = [rollout.new, rollout.old] if rollout.phase in AFTER_FULL else [rollout.old, rollout.new]
        if rollout.phase in {"full", "warm"}:
            order.pop()
    hosts: dict[str, str] = {}
    for number in order:
        for member in world.members(number).values():
            for host in member.hosts:
                hosts.setdefault(host, member.service)
    return tuple(Route(host, service) for host, service in sorted(hosts.items()))
