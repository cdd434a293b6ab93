"""From a release and an environment to what a generation consists of: members and seals. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anew.core import names
from anew.core.undecided import settled
from anew.model import (
    Limits,
    Member,
    Need,
    Override,
    Seal,
)

if TYPE_CHECKING:
    from anew.model import (
        Environment,
        Image,
        Kind,
        Part,
        Pin,
        Release,
        Scope,
        Service,
    )

LOOPBACK = ("127.", "localhost", "::1")
ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a generation consists of, before it has a number; `members[n]` goes with `seals[n]` and `images[n]`."""

    members: tuple[Member, ...]
    seals: tuple[Seal, ...]
    images: tuple[Image, ...]


def seal(scope: Scope, release: Release, environment: Environment, pins: Sequence[Pin] = ()) -> Sealed:
    """Seal `release` for `environment` with the present versions of its secrets.

    A member's group is left empty: the journal knows which group has its seal.
    """
    parts = sorted(release.parts, key=lambda part: part.service.name)
    kinds = {part.service.name: part.service.kind for part in parts}
    return Sealed(
        tuple(_member(scope, part, environment, parts) for part in parts),
        tuple(_seal(part.service, part.image, environment, kinds, pins) for part in parts),
        tuple(part.image for part in parts),
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a listener on `host`."""
    return host.startswith(LOOPBACK)


def secrets_of(release: Release) -> tuple[str, ...]:
    """Return the names of all secrets that the services of a release get, sorted."""
    return tuple(sorted({name for part in release.parts for name in part.service.secrets}))


def _override(service: Service, environment: Environment) -> Override:
    return next((o for o in environment.overrides if o.service == service.name), Override(service.name))


def _seal(
    service: Service, image: Image, environment: Environment, kinds: Mapping[str, Kind], pins: Sequence[Pin]
) -> Seal:
    override = _override(service, environment)
    flags = dict(service.flags) | dict(override.flags) | dict(service.told)
    return Seal(
        service=service.name,
        image=image.digest,
        command=service.command,
        flags=tuple(sorted(flags.items())),
        health=service.http.health if service.http else "",
        writable=tuple(dict.fromkeys(service.folders)),
        kind=service.kind,
        needs=tuple(Need(name, kinds[name] == "tcp") for name in service.needs),
        secrets=tuple(pin for pin in pins if pin.name in service.secrets),
        volumes=service.volumes,
        ready_after=service.ready_after if service.kind == "worker" else 0.0,
        schedule=service.schedule,
        within=service.within if service.kind == "job" else 0.0,
        limits=_limits(service.limits, override.limits or Limits()),
        is_asked=service.is_asked,
    )


def _limits(said: Limits, here: Limits) -> Limits:
    """Return the limits of a service, each as its environment says, if that says it."""
    return Limits(here.memory or said.memory, here.cpu or said.cpu, here.pids or said.pids)


def _member(scope: Scope, part: Part, environment: Environment, parts: list[Part]) -> Member:
    service = part.service
    override = _override(service, environment)
    size = service.size if override.size is None else override.size
    return Member(
        service=service.name,
        group="",
        size=0 if service.kind == "job" else size,
        policy=settled(service.policy, environment),
        tests=tuple(t for t in service.tests if t.at == "preview"),
        hosts=_hosts(scope, part, environment, parts),
        kind=service.kind,
        needs=service.needs,
        port=service.port if override.port is None else override.port,
        before=service.before,
        is_alone=service.is_singleton or any(not v.is_shared for v in service.volumes),
        max_age=service.max_age if override.max_age is None else override.max_age,
        outcomes=service.outcomes,
    )


def _hosts(scope: Scope, part: Part, environment: Environment, parts: list[Part]) -> tuple[str, ...]:
    """Return the Host names of a service: those it exposes, and on a loopback listener one for free.

    The only service that is reachable at all also answers to every other name.
    """
    service = part.service
    if service.http is None:
        return ()
    free = is_loopback(environment.host)
    hosts = set(service.hosts)
    if free:
        hosts.add(names.local_host(scope.project, service.name))
    reachable = [p for p in parts if p.service.http and (p.service.is_exposed or free)]
    if reachable == [part] and (free or not service.hosts):
        hosts.add(ANY_HOST)
    return tuple(sorted(hosts)) if service.is_exposed or free else ()
