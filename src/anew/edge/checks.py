"""What an edge refuses before it touches anything. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from anew.core.names import is_label
from anew.core.times import MOST
from anew.edge.render import services
from anew.edge.sticky import ADDRESS, is_way
from anew.errors import Bug, Complaint, NotFound, SpecError
from anew.model import FULL, Declaration, Weights

HIGHEST_PORT = 65_535

_HEALTH = re.compile(r"/[!#%&()*+,\-./0-9:;=?@A-Z_a-z~$\[\]]*\Z")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\Z")
_ADDRESS = re.compile(r"[0-9A-Za-z.:-]+\Z")
_LISTENER = re.compile(r"[0-9A-Za-z][0-9A-Za-z.>-]{0,150}\Z")


def check(declaration: Declaration) -> None:
    """Refuse what can't be written down, or would mean something else in a configuration.

    Raises  SpecError with every complaint; NotFound for a listener that is pinned to a group which is not declared.
    """
    wrong = [*_names(declaration), *_listeners(declaration), *_kinds(declaration)]
    wrong += [*_sticky(declaration), *_slow(declaration)]
    for kind, many in (
        ("group", [g.name for g in declaration.groups]),
        ("route", [r.host for r in declaration.routes]),
        ("listener", [one.name for one in declaration.listeners]),
        ("threshold of", [service for service, _ in declaration.slow]),
        ("way to know a client of", [service for service, _ in declaration.sticky]),
    ):
        wrong += [Complaint(f"the {kind} {one!r} is declared twice") for one in _repeated(many)]
    if wrong:
        raise SpecError.of(wrong)
    known = {group.name: group.service for group in declaration.groups}
    for one in declaration.listeners:
        if one.group and known.get(one.group) != one.service:
            raise NotFound(
                f"the listener {one.name} is pinned to {one.group}, and the edge knows no such group of {one.service}",
                hint="declare the group with it",
            )


def _names(declaration: Declaration) -> Iterator[Complaint]:
    for name in (*(g.name for g in declaration.groups), *services(declaration)):
        if not is_label(name):
            yield Complaint(
                f"{name!r} can't be the name of a group or a service", hint="use letters, digits and hyphens"
            )
    for group in declaration.groups:
        if group.health and not _HEALTH.match(group.health):
            yield Complaint(
                f"{group.health!r} can't be a health path", where=group.name, hint="use a path like /healthz"
            )
    hosts = (*(r.host for r in declaration.routes), *(g.preview_host for g in declaration.groups if g.preview_host))
    for host in hosts:
        if host != "*" and not _HOST.match(host.lower()):
            yield Complaint(f"{host!r} is no host name", hint='use a name like shop.example.com, or "*"')
    if not _ADDRESS.match(declaration.host):
        yield Complaint(f"{declaration.host!r} is no address to listen on", hint="use `listen: 127.0.0.1:8080`")


def _listeners(declaration: Declaration) -> Iterator[Complaint]:
    for one in declaration.listeners:
        if not _LISTENER.match(one.name):
            yield Complaint(f"{one.name!r} can't be the name of a listener", hint="use a name like web-g43>api")
        if not _ADDRESS.match(one.host):
            yield Complaint(f"{one.host!r} is no address to listen on", where=one.name, hint="use one like 127.0.0.1")
        if not 0 < one.port <= HIGHEST_PORT:
            yield Complaint(f"{one.port} is no port to listen on", where=one.name, hint="use one from 1 to 65535")
    often = Counter([declaration.port, declaration.preview_port, *(one.port for one in declaration.listeners)])
    for one in declaration.listeners:
        if often[one.port] > 1:
            yield Complaint(f"port {one.port} is declared twice", where=one.name, hint="give each one its own")


def _kinds(declaration: Declaration) -> Iterator[Complaint]:
    """Yield what mixes HTTP with TCP: a service is one or the other."""
    tcp = {group.service for group in declaration.groups if group.is_tcp}
    http = {group.service for group in declaration.groups if not group.is_tcp}
    for service in sorted(tcp & http):
        yield Complaint(f"the service {service} has groups of TCP and of HTTP", hint="give it a new name")
    for one in declaration.listeners:
        if one.service in (http if one.is_tcp else tcp):
            kinds = ("TCP", "HTTP") if one.is_tcp else ("HTTP", "TCP")
            yield Complaint(f"a listener of {kinds[0]} can't reach a service of {kinds[1]}", where=one.name)
    for route in declaration.routes:
        if route.service in tcp:
            yield Complaint(
                f"{route.host} can't be routed to {route.service}: TCP has no host names", hint="declare a listener"
            )
    for group in declaration.groups:
        if group.is_tcp and group.health:
            yield Complaint("a group of TCP has no health path", where=group.name, hint="leave it empty")


def _sticky(declaration: Declaration) -> Iterator[Complaint]:
    tcp = {group.service for group in declaration.groups if group.is_tcp}
    for service, how in declaration.sticky:
        if not is_way(how):
            yield Complaint(f"a client can't be known by {how!r}", where=service, hint="use cookie or address")
        elif service in tcp and how != ADDRESS:
            yield Complaint(f"a client of TCP can't be known by {how!r}", where=service, hint=f"use {ADDRESS}")


def _slow(declaration: Declaration) -> Iterator[Complaint]:
    for service, limit in declaration.slow:
        if not 0 <= limit < MOST:
            yield Complaint(f"{limit} us can't be the most that an answer takes", where=service, hint="use less, or 0")


def _repeated(many: Sequence[str]) -> list[str]:
    return sorted({one for one in many if many.count(one) > 1})


def check_weights(weights: Weights, declaration: Declaration) -> None:
    """Raise NotFound for a weight of a group that is not declared, Bug for weights that do not sum up."""
    known = {group.name: group.service for group in declaration.groups}
    for service, ones in weights.items():
        for group, weight in ones.items():
            if known.get(group) != service and weight:
                raise NotFound(f"the edge knows no group {group} of {service}", hint="declare it first")
        if sum(ones.values()) not in {0, FULL} or min(ones.values(), default=0) < 0:
            raise Bug(f"weights of {service} must sum to {FULL}, or to 0: {dict(ones)}")
