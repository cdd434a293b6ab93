"""The use cases that only look: status, releases, history, logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from anew.core import control, names, traffic
from anew.core.machine import BEFORE_FULL
from anew.errors import NotFound
from anew.model import FULL
from anew.views import GroupView, ReleaseView, RolloutView, ServiceView, Status

if TYPE_CHECKING:
    from anew.core.world import World
    from anew.model import Rollout, Scope
    from anew.ports import Compute
    from anew.shell.journal import Journal
    from anew.shell.says import Says
    from anew.views import Judgement


def status(world: World, last: Rollout | None, says: Says, keeper: int) -> Status:
    """Make the view of an environment from one reading of it."""
    serving = world.generations.get(world.serving)
    is_pending = world.rollout is None and world.wish != world.serving
    rollout = None if is_pending else world.rollout or last  # what is wanted has no rollout yet: the last is another's
    warm = [g.name for n, g in sorted(world.generations.items()) if n != world.serving and g.warm_until > world.now]
    return Status(
        world.scope.project,
        world.scope.environment,
        serving.name if serving else "",
        serving.release if serving else "",
        f"g{world.wish}" if world.wish else "",
        says.reason if keeper else _unkept(world),
        keeper,
        f"http://{world.environment.host}:{world.environment.port}" if world.edge.is_up else "",
        _services(world, frozenset(says.ready) if keeper else None),
        _rollout(world, rollout) if rollout else None,
        tuple(warm),
        world.trouble,
        judgements=_judgements(world),
    )


def _judgements(world: World) -> tuple[Judgement, ...]:
    rollout = world.rollout
    if rollout is None or not control.watched(rollout, *control.sides(rollout, world.generations)):
        return ()
    from anew.shell.evidence import up_to_now  # noqa: PLC0415 - only in a stage
    from anew.shell.judgements import judgements  # noqa: PLC0415 - only in a stage

    now = up_to_now(rollout, world.generations, world.now, world.edge)
    found = judgements(now, world.generations, is_brief=True)
    compared = control.watched(rollout, *control.sides(rollout, world.generations))
    return tuple(one for one in found if one.service in compared)


def _unkept(world: World) -> str:
    if world.rollout is not None:
        return "no keeper runs: `anew up` or `anew serve --until-idle` goes on with the rollout"
    return f"g{world.serving} serves" if world.serving else "nothing serves yet"


def _services(world: World, ready: frozenset[str] | None) -> tuple[ServiceView, ...]:
    numbers = sorted({n for n in (world.serving, *(_of(world.rollout))) if n})
    urls: dict[str, set[str]] = {}
    for number in numbers:
        for member in world.members(number).values():
            urls.setdefault(member.service, set()).update(h for h in member.hosts if h != "*")
    live = {name: state for name, state in world.groups.items() if name in world.by_group or _weight(world, name)}
    out = []
    for service in sorted({*urls, *(s.group.service for s in live.values())}):
        groups = tuple(_group(world, name, ready) for name, s in sorted(live.items()) if s.group.service == service)
        out.append(ServiceView(service, tuple(_url(world, h) for h in sorted(urls.get(service, ()))), groups))
    return tuple(out)


def _of(rollout: Rollout | None) -> tuple[int, ...]:
    return (rollout.old, rollout.new) if rollout else ()


def _url(world: World, host: str) -> str:
    port = world.environment.port
    return f"http://{host}" + ("" if port == 80 else f":{port}")


def _weight(world: World, group: str) -> int:
    """Return the part of the traffic that a group gets; a worker's is its part of all workers of its service."""
    service, seal = world.groups[group].group.service, world.groups[group].group.seal
    if seal.kind != "worker":
        return world.weight(service, group)
    counts = {n: len(ones) for n, ones in world.by_group.items() if world.groups[n].group.service == service}
    return round(FULL * counts.get(group, 0) / max(1, sum(counts.values())))


def _group(world: World, name: str, ready: frozenset[str] | None) -> GroupView:
    original, baselines = names.original(name), {m.group: m.size for m in control.wanted(world)}
    mapped = [n for n, g in sorted(world.generations.items()) if any(m.group == original for m in g.members)]
    size = next((m.size for n in reversed(mapped) for m in world.generations[n].members if m.group == name), 0)
    ones = world.by_group.get(name, ())
    staying = [a for a in ones if not a.draining]
    answering = sum(1 for a in staying if (a.name in ready if ready is not None else world.is_ready(a.name)))
    marked = {a.name: f"tainted: {a.tainted}" if a.tainted else a.aside for a in ones if a.tainted or a.aside}
    return GroupView(
        name,
        f"g{mapped[-1]}" if mapped else "",
        _weight(world, name),
        answering,
        baselines.get(name, size),
        world.counts(name).in_flight,
        _role(world, name),
        marked,
    )


def _role(world: World, name: str) -> Literal["live", "new", "control", "warm", "leaving"]:
    rollout = world.rollout
    if any(m.group == name for m in control.wanted(world)):
        return "control"
    if any(m.group == name for m in world.members(world.serving).values()):
        return "live"
    if (
        rollout
        and rollout.phase != "rolling back"
        and any(m.group == name for m in world.members(rollout.new).values())
    ):
        return "new"
    for generation in world.generations.values():
        if generation.warm_until > world.now and any(m.group == name for m in generation.members):
            return "warm"
    return "leaving"


def _rollout(world: World, rollout: Rollout) -> RolloutView:
    generation = world.generations.get(rollout.new)
    old, new = world.members(rollout.old), world.members(rollout.new)
    phase: str = rollout.phase
    if rollout.phase == "stage":
        phase = f"stage {rollout.stage + 1} of {traffic.stage_count(old, new)}"
    weight = max((world.weight(m.service, m.group) for m in new.values()), default=0)
    is_good = rollout.phase in {"warm", "done"}
    return RolloutView(
        f"g{rollout.new}",
        generation.release if generation else "",
        rollout.kind,
        phase,
        weight,
        rollout.since,
        rollout.reason,
        is_over=is_good or rollout.phase == "rolled back",
        is_good=is_good,
        guard=_guard(world, rollout),
    )


def _guard(world: World, rollout: Rollout) -> str:
    if rollout.phase not in {"full", "warm"} or not rollout.old or rollout.kind == "rollback":
        return ""
    old, new = world.members(rollout.old), world.members(rollout.new)
    beside = control.watched(rollout, old, new).values()
    left = [f"{one.group}, which keeps {new[one.service].policy.warm_control / 10:g} %" for one in beside]
    if left:
        return f"until the warm window is over it is still compared with {'; with '.join(left)}"
    from anew.core.verdict import BREAKER_RATE, BREAKER_REQUESTS  # noqa: PLC0415 - only after a stage
    from anew.shell.evidence import RECENT  # noqa: PLC0415 - only after a stage

    own = sorted({one.name for member in world.members(rollout.new).values() for one in member.policy.criteria})
    counted = f", or are bad by {' or '.join(own)}" if own else ""
    breaker = f"{100 * BREAKER_RATE:g} % of at least {BREAKER_REQUESTS} requests within {RECENT:g} s fail{counted}"
    return f"nothing is compared any more: it goes back only if {breaker}, or its instances die"


def is_under_way(rollout: Rollout | None) -> bool:
    """Say whether a rollout has stages to go."""
    return rollout is not None and rollout.phase in (*BEFORE_FULL, "full", "rolling back")


def releases(journal: Journal, project: str) -> tuple[ReleaseView, ...]:
    """Return all releases of a project and where each one runs or ran."""
    where: dict[str, list[str]] = {}
    for row in journal.environments():
        if row.scope.project != project:
            continue
        for generation in journal.generations.all(row.scope).values():
            state = "serves" if generation.number == row.serving else generation.outcome or "sealed"
            where.setdefault(generation.digest, []).append(f"{row.scope.environment} {generation.name} {state}")
    return tuple(
        ReleaseView(
            one.name,
            one.digest,
            one.at,
            {part.service.name: part.image.digest for part in one.parts},
            tuple(where.get(one.digest, ())),
        )
        for one in journal.releases.all(project)
    )


def logs(journal: Journal, compute: Compute, scope: Scope, target: str, lines: int) -> tuple[tuple[str, str], ...]:
    """Return the last lines of every instance that `target` names, newest instance last."""
    found: Mapping[str, tuple[str, ...]] = {}
    wanted = journal.instances.names(scope, target)
    if not wanted:
        known = sorted(journal.instances.groups(scope)) or ["none yet"]
        raise NotFound(
            f"no service, group or instance {target!r} ever ran in {scope}",
            hint=f"groups: {', '.join(known)}; an instance is named like {names.instance_name(scope, 'web-g1', 0)}",
        )
    for name in wanted:
        try:
            found = {name: compute.logs(name, lines), **found}
        except NotFound:
            continue  # it was allotted and never launched
    return tuple((name, line) for name, ones in found.items() for line in ones)
