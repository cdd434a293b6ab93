"""What HAProxy is told: its whole configuration as text. Pure.

How a request finds its way: the Host name gives the service, a thousand buckets in a map give the group, and the group
is a backend whose server slots are the instances. On the other listeners, the port gives the service: see `listeners`.

The *structure* is all of it except which target sits in which slot, which listener is pinned, and what is slow. While
it stays the same, nothing needs a reload: weights, pins and thresholds are maps, and targets are changed on the socket.
Its digest stands in the configuration's `description`, so a running HAProxy says itself what it knows.

After a reload an old worker finishes what it has, and still gets one more request on each connection that is kept
alive. It knows neither new groups nor new weights. So it is switched over: with ``relay yes`` in its map it
passes every request to the newest worker over a local socket, and only the newest worker decides about traffic.

Another program is a new master with workers of its own. It takes over what the old one listens on, from the socket
`Sockets.exposed`; then the old master's workers are old workers like all others, and it ends with the last of them.

An old worker lives as long as something that it serves: a request, a WebSocket, a TCP connection. No time ends it, for
a connection to an instance that stays must stay. What ends it is the end of the instance, the client, or the timeouts
of silence; and so that old workers never fill a machine, one is ended when `MOST_OLD_WORKERS` reloads came after its.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from anew.core.digest import digest, short
from anew.edge import judged
from anew.edge.listeners import http_frontend, tcp_sections
from anew.edge.section import (
    IS_LOCAL,
    NONE,
    PREVIEW,
    PREVIEW_RELAY,
    PUBLIC,
    RELAY,
    UNKNOWN,
    bound,
    relay,
    relayed_bind,
    section,
    switched,
)
from anew.edge.slots import Slots, server_lines
from anew.edge.sticky import COOKIE, bucket_rules, given_cookie, way
from anew.model import Declaration, EdgeGroup

RETRY_AFTER = 1  # seconds; long enough for an instance to be replaced in the usual case
MOST_OLD_WORKERS = 50  # some 10 MB each

_CHECKS = "check inter 1s fastinter 100ms downinter 500ms fall 2 rise 1 observe layer4 error-limit 1 on-error fastinter"

_DEFAULTS = f"""
defaults
  mode http
  log global
  log-format "%b %ST %Ta %[date] %ts"
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 15s
  timeout queue 5s
  timeout tunnel 1h
  timeout check 5s
  option idle-close-on-response
  option dontlognull
  http-reuse safe
  option redispatch 1
  retries 2
  retry-on conn-failure
  http-error status 503 content-type text/plain string "No instance of this service can answer now.\\n" \
hdr Retry-After {RETRY_AFTER}
"""
_OWN_BACKENDS = f"""
backend {NONE}
  timeout queue 1s

backend {UNKNOWN}
  http-request return status 404 content-type text/plain string "No service here answers to this host name.\\n"
"""

_LOGGING = re.compile(r"^  log(-format)? .*\n", re.MULTILINE)  # HAProxy warns of it where there is no log
_RING = """
ring telemetry
  format raw
  maxlen 512
  size 4194304
  timeout connect 1s
  timeout server 10s
  server reader abns@{name}
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine allows."""

    connections: int
    threads: int
    uid: int | None = None  # under which the workers run; None: as whoever starts them


@dataclass(frozen=True, slots=True)
class Sockets:
    """Names of sockets in Linux's abstract namespace: workers reach them under any uid, and they leave no files.

    Only `exposed` is a file, since what it hands out is for nobody else.
    """

    relay: str
    preview_relay: str
    callers_relay: str
    telemetry: str = ""  # where the request log goes. "": there is none
    exposed: str = ""  # a path; whoever may open it is handed all that a worker listens on. "": there is none

    @classmethod
    def of(cls, folder: Path, exposed: str = "", *, is_logged: bool = False) -> Sockets:
        """Return the sockets of the edge whose state is in `folder`."""
        mark = f"anew-{short(digest(str(folder)))}"
        log = f"{mark}-telemetry" if is_logged else ""
        return cls(f"{mark}-relay", f"{mark}-preview", f"{mark}-callers", log, exposed)


def services(declaration: Declaration) -> tuple[str, ...]:
    """Return the services that the edge knows, sorted."""
    named = {one.service for one in declaration.groups} | {one.service for one in declaration.routes}
    return tuple(sorted(named | {one.service for one in declaration.listeners}))


def structure(declaration: Declaration, slots: Mapping[str, Slots], sockets: Sockets, limits: Limits) -> str:
    """Return a short digest of all that only a reload can change."""
    bare = replace(declaration, groups=tuple(replace(g, targets=()) for g in declaration.groups))
    empty = {name: Slots(one.count) for name, one in slots.items()}
    return short(digest(_text(bare, empty, sockets, limits, "")))


def config(declaration: Declaration, slots: Mapping[str, Slots], sockets: Sockets, limits: Limits) -> str:
    """Return the configuration; `slots` has an entry for every group. The maps lie beside it, see `map_name`."""
    name = description(structure(declaration, slots, sockets, limits))
    return _text(declaration, slots, sockets, limits, name)


def description(structure_digest: str) -> str:
    """Return what a HAProxy of this structure answers when asked for its description."""
    return f"anew-{structure_digest}"


def _text(declaration: Declaration, slots: Mapping[str, Slots], sockets: Sockets, limits: Limits, name: str) -> str:
    parts = [
        _global(sockets, limits, name),
        _DEFAULTS,
        _public(declaration, sockets),
        _preview(declaration, sockets) if declaration.preview_port else "",
        http_frontend(declaration, sockets.callers_relay),
        _OWN_BACKENDS,
        judged.tables(),
        relay(RELAY, sockets.relay),
        relay(PREVIEW_RELAY, sockets.preview_relay),
        *(_group(declaration, group, slots[group.name]) for group in declaration.groups if not group.is_tcp),
        tcp_sections(declaration, slots),
    ]
    text = "".join(parts)
    return text if sockets.telemetry else _LOGGING.sub("", text)


def _global(sockets: Sockets, limits: Limits, name: str) -> str:
    place = shlex.quote(sockets.exposed)
    exposed = f"  stats socket {place} mode 600 level user expose-fd listeners\n" if sockets.exposed else ""
    owner = f"  uid {limits.uid}\n  gid {limits.uid}\n" if limits.uid is not None else ""
    logged = "  log ring@telemetry format raw local0\n" if sockets.telemetry else ""
    ring = _RING.format(name=sockets.telemetry) if sockets.telemetry else ""
    return f"""# Written by anew; it is overwritten at every change.
global
  description {name}
  default-path config
{logged}  maxconn {limits.connections}
  nbthread {limits.threads}
  mworker-max-reloads {MOST_OLD_WORKERS}
{exposed}{owner}{ring}"""


def _public(declaration: Declaration, sockets: Sockets) -> str:
    lines = [
        f"frontend {PUBLIC}",
        f"  bind {bound(declaration.host, declaration.port)}",
        relayed_bind(sockets.relay),
        "  http-request set-var(txn.host) req.hdr(host),host_only,lower",
    ]
    fallback = ""
    for route in declaration.routes:
        if route.host == "*":
            fallback = (
                f"  http-request set-var(txn.service) str({route.service}) unless {{ var(txn.service) -m found }}"
            )
        else:
            when = f"if {{ var(txn.host) -m str {route.host.lower()} }}"
            lines.append(f"  http-request set-var(txn.service) str({route.service}) {when}")
    lines += [fallback] if fallback else []
    for service in services(declaration):  # of all: so their maps are there
        lines += bucket_rules(service, way(declaration, service))
    lines += [
        switched(RELAY),
        f"  use_backend {UNKNOWN} unless {{ var(txn.service) -m found }}",
        "  use_backend %[var(txn.group)] if { var(txn.group) -m found }",
        f"  default_backend {NONE}",
    ]
    return section(lines)


def _preview(declaration: Declaration, sockets: Sockets) -> str:
    lines = [
        f"frontend {PREVIEW}",
        f"  bind 127.0.0.1:{declaration.preview_port}",
        relayed_bind(sockets.preview_relay),
        '  log-format "%b %ST %Ta %[date] %ts preview"',
        "  http-request set-var(txn.host) req.hdr(host),host_only,lower",
        switched(PREVIEW_RELAY),
    ]
    lines += [
        f"  use_backend {group.name} if {{ var(txn.host) -m str {group.preview_host.lower()} }}"
        for group in declaration.groups
        if group.preview_host and not group.is_tcp
    ]
    return section([*lines, f"  default_backend {UNKNOWN}"])


def _group(declaration: Declaration, group: EdgeGroup, slots: Slots) -> str:
    lines = [f"backend {group.name}", "  balance roundrobin"]
    if group.health:
        lines += [
            "  option httpchk",
            f"  http-check send meth GET uri '{group.health}' ver HTTP/1.1 hdr Host localhost hdr Connection close",
            "  http-check expect status 200",
        ]
    # What a proxy on this machine says of its client is believed; what comes from elsewhere is written by us.
    lines += [
        f"  http-request del-header X-Forwarded-For unless {IS_LOCAL}",
        "  http-request add-header X-Forwarded-For %[src]",
        "  acl is_told req.hdr(X-Forwarded-Proto) -m found",
        f"  http-request set-header X-Forwarded-Proto http unless is_told {IS_LOCAL}",
    ]
    how = way(declaration, group.service)
    lines += judged.rules(group, is_sticky=bool(how))
    lines += [given_cookie(group.service)] if how == COOKIE else []
    return section([*lines, f"  default-server {_CHECKS}", *server_lines(group, slots)])
