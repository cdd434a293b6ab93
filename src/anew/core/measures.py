"""What is to be counted of a rollout besides what the edge counts, and under which key of the evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from anew.core import control, names
from anew.core.machine import BEFORE_FULL
from anew.core.world import LOOPBACK, World
from anew.model import Criterion, Member, Outcomes, Seconds

PROBES = "/probes"  # how the key of what is sent to a group ends
LOOKED_AT = BEFORE_FULL | {"full", "warm"}  # the phases from which a rollout may go back by itself


@dataclass(frozen=True, slots=True)
class Written:
    """The outcomes that one living instance writes down, or answers with at `url`."""

    key: str
    instance: str
    started: float
    outcomes: Outcomes
    url: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """Requests that are sent to both groups of a service at the same moments, at the preview of each."""

    keys: tuple[str, str]  # of the old and of the new group
    hosts: tuple[str, str]  # that lead to them
    port: int
    path: str
    every: Seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """Counts of a criterion for one group; what stood for names in `criterion` is filled in."""

    key: str
    criterion: Criterion


Measure = Written | Sent | Asked


def measures(world: World) -> tuple[Measure, ...]:
    """Return all that is to be counted now.

    Of what can be judged in stages both groups are looked at from the beginning, so that it is known what each had
    counted before; and the new ones for as long as the rollout may go back.
    """
    rollout = world.rollout
    if rollout is None or rollout.kind == "rollback" or not rollout.old or rollout.phase not in LOOKED_AT:
        return ()
    old, new = world.members(rollout.old), world.members(rollout.new)
    beside, watched = control.controls(rollout, old, new), control.watched(rollout, old, new)
    found: list[Measure] = []
    for service, member in sorted(new.items()):
        before = beside.get(service, old.get(service))
        if before is not None and before.group == member.group:
            continue
        if before is not None and (rollout.phase in BEFORE_FULL or service in watched):
            found += (*_written(world, before), *_asked(world, member, before))
        found += (*_written(world, member), *_asked(world, member, member))
        if before is not None and service in watched:
            found += _sent(world, before, member)
    return tuple(found)


def keys(says: Member, *groups: str) -> tuple[str, ...]:
    """Return the keys under which groups are judged, as a member says."""
    return tuple(group + end for group in groups for end in ("", *_ends(says)))


def end_of(criterion: Criterion) -> str:
    """Return how the keys of a criterion end."""
    return f"/{criterion.name}"


def end_of_outcomes(member: Member) -> str:
    """Return how the key of outcomes ends: those of a worker are its errors, for nothing else is counted of it."""
    return "" if member.kind == "worker" else "/outcomes"


def _ends(member: Member) -> Iterator[str]:
    if member.policy.probes:
        yield PROBES
    if member.outcomes is not None:
        yield end_of_outcomes(member)
    yield from map(end_of, member.policy.criteria)


def _asked(world: World, says: Member, group: Member) -> Iterator[Asked]:
    """Yield the criteria of `says`, as they are asked for a group."""
    stands = {
        "group": group.group,
        "generation": group.group.rpartition("-")[2],
        "service": group.service,
        "environment": world.scope.environment,
        "project": world.scope.project,
    }
    for one in says.policy.criteria:
        http, prometheus, good, bad = (filled(text, stands) for text in (one.http, one.prometheus, one.good, one.bad))
        yield Asked(group.group + end_of(one), replace(one, http=http, prometheus=prometheus, good=good, bad=bad))


def filled(text: str, stands: Mapping[str, str]) -> str:
    """Return a text with names for what stands for them; any other `$` is what it is.

    >>> filled('jobs{group="$group", path=~"/a$"}', {"group": "web-g2"})
    'jobs{group="web-g2", path=~"/a$"}'
    """
    return re.sub(r"\$([a-z]+)\b", lambda match: stands.get(match[1], match[0]), text)


def _sent(world: World, old: Member, new: Member) -> Iterator[Sent]:
    if new.kind != "http":
        return
    ours = (old.group + PROBES, new.group + PROBES)
    hosts = (_preview_host(world, old), _preview_host(world, new))
    for one in new.policy.probes:
        yield Sent(ours, hosts, world.preview_port, one.get, one.every)


def _preview_host(world: World, member: Member) -> str:
    return names.preview_host(world.scope, member.group)


def _written(world: World, member: Member) -> Iterator[Written]:
    if member.outcomes is None:
        return
    for one in world.by_group.get(member.group, ()):
        seen = world.seen.get(one.name)
        if seen is not None and seen.is_alive:
            path = member.outcomes.metrics
            url = f"http://{seen.host or LOOPBACK}:{one.port}{path}" if path else ""
            yield Written(member.group + end_of_outcomes(member), one.name, seen.started, member.outcomes, url)
