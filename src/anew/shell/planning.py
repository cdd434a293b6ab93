"""What `up` would do: decided as if the images were built and wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anew.core import preview, traffic, undecided
from anew.core.identity import seal_digest
from anew.core.names import original
from anew.core.world import GroupState, World
from anew.model import Generation, Group, Identity, Image, Part, Release
from anew.shell import ageing
from anew.shell.forecasting import Traffic
from anew.shell.sealing import seal, secrets_of
from anew.views import Plan

if TYPE_CHECKING:
    from anew.model import Environment, Scope, Service, Spec
    from anew.shell.journal import Journal
    from anew.shell.observe import Observer
    from anew.shell.parts import Making
    from anew.shell.sealing import Sealed


def planned(spec: Spec, scope: Scope, observer: Observer, journal: Journal, making: Making) -> Plan:
    """Say what `up` would do, and write nothing. Images that are not built yet are taken as ones that will pass."""
    environment = next(e for e in spec.environments if e.name == scope.environment)
    parts, builds = [], []
    for service in spec.services:
        image = making.recognised(spec, service)
        if image is None:
            builds.append(f"build the image of {service.name}")
            image = _unbuilt(making, spec, service)
        parts.append(Part(service, image))
    release = Release(spec.project, "", "", tuple(parts))
    old = ageing.notes(ageing.of_parts(making, parts, 0.0, observer.clock.now()), environment)
    is_used = journal.environment(scope.project, scope.environment) is not None
    world = replace(observer.world(), environment=environment) if is_used else _unused(observer, environment)
    come = Traffic(observer.edge)
    sealed = seal(scope, release, environment, journal.vault.pins(scope, secrets_of(release)))
    wanted = imagined(world, sealed)
    if wanted is world:
        return Plan(scope.environment, world.generations[world.serving].release, tuple(builds), (), old)
    steps = preview.preview(wanted)
    notes = (*old, *come.notes(wanted.generations, world.serving, wanted.generations[wanted.wish]))
    return Plan(scope.environment, "new", tuple(builds), tuple(s.describe() for s in steps), notes, _stages(wanted))


def imagined(world: World, sealed: Sealed) -> World:
    """Return `world` as if the generation made of `sealed` were wanted; `world` itself if that one serves already."""
    number = max(world.generations, default=0) + 1
    groups = dict(world.groups)
    members = []
    for member, one, image in zip(sealed.members, sealed.seals, sealed.images, strict=True):
        known = [n for n, g in groups.items() if original(n) == n and g.group.digest == seal_digest(one)]
        name = known[-1] if known else f"{member.service}-g{number}"
        groups.setdefault(name, GroupState(Group(name, member.service, seal_digest(one), one, image)))
        members.append(replace(member, group=name))
    serving = world.generations.get(world.serving)
    if serving is not None and serving.members == tuple(members):
        return world
    generation = Generation(number, "new", "", tuple(members), previous=world.serving)
    return replace(
        world,
        groups=groups,
        generations={**world.generations, number: generation},
        wish=number,
        wish_kind="rollout",
    )


def _stages(world: World) -> tuple[str, ...]:
    """Say how each service that changes comes into traffic, where it does so by stages."""
    old, new = world.members(world.serving), world.members(world.wish)
    return tuple(f"{service}: {undecided.told(new[service].policy)}" for service in traffic.judged(old, new))


def _unused(observer: Observer, environment: Environment) -> World:
    """Return the world of an environment that was never used: nothing is there, and the journal does not know it."""
    return World(observer.clock.now(), observer.scope, environment, 0, 0, "rollout", 0, {})


def _unbuilt(making: Making, spec: Spec, service: Service) -> Image:
    wanted = making.input_digest(spec, service)
    return Image(Identity(wanted, "", (), "", f"unbuilt:{wanted}"), ())
