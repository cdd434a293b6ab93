"""Which listeners the edge shall have for callers and for TCP, and whom each one reaches.

A group has a door of its own to each service that it calls.

Rules

1. A caller that belongs to one generation of a rollout reaches the callee's group of that generation, whatever the
   weights are; so does one of the generation that serves, or was left behind. A new caller never meets an old callee,
   nor an old caller a new one.
2. A caller that both generations share follows the weights.
3. So does every caller of what is handed over: there is never more than one whom it could reach.
4. A baseline (see `anew.core.control`) reaches the baseline of whom it calls, while anything of that can be reached.
5. A caller whose callee is gone reaches nobody, rather than another's callee. Callers leave before their callees.
6. A public TCP port belongs to the generation that has the traffic.
"""

from __future__ import annotations

from collections.abc import Collection, Container

from anew.core import names
from anew.core.retention import AFTER_FULL, needed
from anew.core.world import World
from anew.model import Declaration, Group, Listener, Member

FOLLOWS = ""  # the weights


def listeners(world: World, known: Collection[str]) -> tuple[Listener, ...]:
    """Return every listener beside the public HTTP one, sorted by name; `known` are the groups that are declared."""
    wanted = needed(world)
    has = frozenset(known)
    open_ = has | world.peopled | {m.group for n in wanted for m in world.members(n).values()}
    out = []
    for name in world.groups:
        if name not in open_:
            continue
        group = world.groups[name].group
        for door in group.doors:
            if door.service == group.service:
                if name in has:
                    out.append(Listener(f"preview>{name}", door.service, door.port, group=name, is_tcp=True))
                continue
            pinned = pin(world, group, door.service, has)
            if pinned is not None:
                out.append(
                    Listener(f"{name}>{door.service}", door.service, door.port, world.inside, pinned, door.is_tcp)
                )
    out += _public(world)
    services = {world.groups[name].group.service for name in known}
    return tuple(sorted((one for one in out if one.service in services), key=lambda one: one.name))


def of_callers(declaration: Declaration) -> tuple[Listener, ...]:
    """Return the listeners that lead a caller to somebody; the others are public, or for a preview."""
    return tuple(one for one in declaration.listeners if not one.name.startswith(("public>", "preview>")))


def pin(world: World, caller: Group, callee: str, known: Container[str]) -> str | None:
    """Return the group that a caller reaches whatever the weights are; `FOLLOWS`; or None if it reaches nobody."""
    homes = world.homes.get(caller.name, ())
    rollout = world.rollout
    now = (world.serving,) if rollout is None else (rollout.old, rollout.new)
    meant = [m for n in now if n in homes and (m := world.members(n).get(callee))]
    if len({m.group for m in meant}) > 1:
        return FOLLOWS
    if not meant:  # it is only warm, or on its way out, and goes on calling those whom it knew
        wanted = needed(world)
        order = [n for n in reversed(homes) if n in wanted] + [n for n in reversed(homes) if n not in wanted]
        left = [m for n in order if (m := world.members(n).get(callee))]
        meant = [m for m in left if m.group in known or _is_handed_over(world, m)][:1]
    if not meant:
        return None
    if _is_handed_over(world, meant[0]):
        return FOLLOWS
    fellow = names.baseline_name(meant[0].group, names.beside(caller.name))
    if names.beside(caller.name) and fellow in known and world.reachable(fellow):
        return fellow
    return meant[0].group if meant[0].group in known else None


def called(world: World) -> frozenset[str]:
    """Return the groups that a caller which has instances reaches whatever the weights are: callers go first."""
    declared = world.edge.declaration.listeners if world.edge.declaration else ()
    pairs = [(one.name.partition(">")[0], one.group) for one in declared if one.group]
    for name in world.active & world.groups.keys():
        group = world.groups[name].group
        pairs += [(name, pin(world, group, d.service, world.groups) or "") for d in group.doors]
    return frozenset(callee for caller, callee in pairs if caller in world.active and caller != callee)


def _is_handed_over(world: World, member: Member) -> bool:
    rollout = world.rollout
    now = (world.serving,) if rollout is None else (rollout.old, rollout.new)
    others = [m for n in now if (m := world.members(n).get(member.service))]
    return any(
        one.group != member.group and one.kind == member.kind and (one.is_alone or member.is_alone) for one in others
    )


def _public(world: World) -> list[Listener]:
    rollout = world.rollout
    order = [world.serving]
    if rollout is not None:
        order = [rollout.new] if rollout.phase in AFTER_FULL else [rollout.old, rollout.new]
    members: dict[str, Member] = {}
    for number in order:
        for member in world.members(number).values():
            members.setdefault(member.service, member)
    host = world.environment.host
    return [Listener(f"public>{s}", s, m.port, host, is_tcp=True) for s, m in members.items() if m.port]
