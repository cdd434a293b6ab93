"""From a release and an environment to what a generation consists of: members and seals. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from anew.core import names
from anew.model import Environment, Image, Member, Part, Release, Scope, Seal

LOOPBACK = ("127.", "localhost", "::1")
ANY_HOST = "*"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a generation consists of, before it has a number; `members[n]` goes with `seals[n]` and `images[n]`."""

    members: tuple[Member, ...]
    seals: tuple[Seal, ...]
    images: tuple[Image, ...]


def seal(scope: Scope, release: Release, environment: Environment) -> Sealed:
    """Seal `release` for `environment`. A member's group is left empty: the journal knows which group has its seal."""
    parts = sorted(release.parts, key=lambda part: part.service.name)
    return Sealed(
        tuple(_member(scope, part, environment, parts) for part in parts),
        tuple(_seal(part, environment) for part in parts),
        tuple(part.image for part in parts),
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a listener on `host`."""
    return host.startswith(LOOPBACK)


def _seal(part: Part, environment: Environment) -> Seal:
    service = part.service
    override = next((o for o in environment.overrides if o.service == service.name), None)
    flags = dict(service.flags) | dict(override.flags if override else ())
    health = service.http.health if service.http else ""
    return Seal(
        service.name, part.image.digest, service.command, tuple(sorted(flags.items())), health, service.writable
    )


def _member(scope: Scope, part: Part, environment: Environment, parts: list[Part]) -> Member:
    service = part.service
    override = next((o for o in environment.overrides if o.service == service.name), None)
    size = override.size if override and override.size is not None else service.size
    tests = tuple(t for t in service.tests if t.at == "preview")
    return Member(service.name, "", size, service.policy, tests, _hosts(scope, part, environment, parts))


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
