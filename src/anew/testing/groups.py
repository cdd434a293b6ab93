"""Groups for worlds that are made up: a seal, an image and doors that fit the member which maps to them."""

from __future__ import annotations

from collections.abc import Mapping

from anew.model import Door, Group, Identity, Image, Kind, Member, Need, Policy, Seal, Volume

VOLUME = Volume("store", "/var/lib/store")
SCHEDULE = "* * * * *"
RUN = 30.0  # seconds that a scheduled run may take


def group_of(service: str, name: str) -> Group:
    """Return a group named `name` that speaks HTTP, with a seal and an image of its own."""
    return group_for(Member(service, name, 1, Policy()), {})


def group_for(member: Member, kinds: Mapping[str, Kind], port: int = 40_000) -> Group:
    """Return the group that a member maps to; `kinds` are those of whom it calls, `port` is that of its first door."""
    name, service = member.group, member.service
    digest = f"sha256:{name}"
    identity = Identity(digest, digest, (digest,), digest, digest)
    needs = tuple(Need(one, kinds[one] == "tcp") for one in member.needs)
    seal = Seal(
        service,
        digest,
        ("/bin/serve",),
        health="/healthz" if member.kind == "http" else "",
        kind=member.kind,
        needs=needs,
        volumes=(VOLUME,) if member.is_alone and member.kind != "worker" else (),
        ready_after=1.0 if member.kind == "worker" else 0.0,
        schedule=SCHEDULE if member.kind == "job" else "",
        within=RUN if member.kind == "job" else 0.0,
    )
    own = (Need(service, is_tcp=True),) if member.kind == "tcp" else ()
    doors = tuple(Door(one.service, port + n, one.is_tcp) for n, one in enumerate((*needs, *own)))
    return Group(name, service, digest, seal, Image(identity, (digest,)), doors)


def needs_of(member: Member, calls: Mapping[str, Member]) -> tuple[Need, ...]:
    """Return whom a member calls, and how, in a generation with the members `calls`."""
    return tuple(Need(one, calls[one].kind == "tcp") for one in member.needs)


def fits(needs: tuple[Need, ...], calls: Mapping[str, Member]) -> bool:
    """Say whether a seal with `needs` is the same in a generation with the members `calls`."""
    return all(n.service in calls and calls[n.service].kind == ("tcp" if n.is_tcp else "http") for n in needs)
