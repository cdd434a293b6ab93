"""What HAProxy is told: its whole configuration as text. Pure.

How a request finds its way: the Host name gives the service, a thousand buckets in a map give the group, and the group
is a backend whose server slots are the instances. Names with an underscore are anew's own; no group can have one.

The *structure* is all of it except which target sits in which slot. While the structure stays the same, nothing needs
a reload: weights are maps, and targets are changed on the socket. Its digest stands in the configuration's
`description`, so a running HAProxy says itself what it knows.

After a reload an old worker finishes what it has, and still gets one more request on each connection that is kept
alive. It knows neither new groups nor new weights. So it is switched over: with ``relay yes`` in its `switch.map` it
passes every request to the newest worker over a local socket, and only the newest worker decides about traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anew.core.digest import digest, short
from anew.core.names import is_label
from anew.edge.slots import Slots
from anew.errors import Complaint, SpecError
from anew.model import Declaration, EdgeGroup, Target

NONE, UNKNOWN, RELAY, PREVIEW_RELAY, PUBLIC, PREVIEW = (
    "_none",
    "_unknown",
    "_relay",
    "_relay_preview",
    "_public",
    "_preview",
)
SWITCH = "switch.map"
SWITCH_KEY = "relay"
SWITCH_TEXT = f"{SWITCH_KEY} no\n"
RETRY_AFTER = 1  # seconds; long enough for an instance to be replaced in the usual case
HARD_STOP = 60  # seconds that an old worker may take to finish what it has

_RELAYED = 1000  # id of the listeners that take what older workers pass on
_HEALTH = re.compile(r"/[!#%&()*+,\-./0-9:;=?@A-Z_a-z~$\[\]]*\Z")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\Z")
_ADDRESS = re.compile(r"[0-9A-Za-z.:-]+\Z")

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


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine allows."""

    connections: int
    threads: int
    uid: int | None = None  # under which the workers run; None: as whoever starts them


@dataclass(frozen=True, slots=True)
class Sockets:
    """Names of sockets in Linux's abstract namespace: workers reach them under any uid, and they leave no files."""

    relay: str
    preview_relay: str
    telemetry: str

    @classmethod
    def of(cls, folder: Path) -> Sockets:
        """Return the sockets of the edge whose state is in `folder`."""
        mark = short(digest(str(folder)))
        return cls(f"anew-{mark}-relay", f"anew-{mark}-preview", f"anew-{mark}-telemetry")


def map_name(service: str) -> str:
    """Return the file of a service's buckets, beside the configuration.

    >>> map_name("web")
    'web.map'
    """
    return f"{service}.map"


def services(declaration: Declaration) -> tuple[str, ...]:
    """Return the services that the edge knows, sorted."""
    return tuple(sorted({g.service for g in declaration.groups} | {r.service for r in declaration.routes}))


def check(declaration: Declaration) -> None:
    """Refuse what can't be written down, or would mean something else in a configuration.

    Raises  SpecError with every complaint.
    """
    wrong = [
        Complaint(f"{name!r} can't be the name of a group or a service", hint="use letters, digits and hyphens")
        for name in (*(g.name for g in declaration.groups), *services(declaration))
        if not is_label(name)
    ]
    wrong += [
        Complaint(f"{g.health!r} can't be a health path", where=g.name, hint="use a path like /healthz")
        for g in declaration.groups
        if g.health and not _HEALTH.match(g.health)
    ]
    hosts = (*(r.host for r in declaration.routes), *(g.preview_host for g in declaration.groups if g.preview_host))
    wrong += [
        Complaint(f"{host!r} is no host name", hint='use a name like shop.example.com, or "*"')
        for host in hosts
        if host != "*" and not _HOST.match(host.lower())
    ]
    if not _ADDRESS.match(declaration.host):
        wrong.append(Complaint(f"{declaration.host!r} is no address to listen on", hint="use `listen: 127.0.0.1:8080`"))
    for kind, many in (
        ("group", [g.name for g in declaration.groups]),
        ("route", [r.host for r in declaration.routes]),
    ):
        wrong += [
            Complaint(f"the {kind} {one!r} is declared twice") for one in sorted(set(many)) if many.count(one) > 1
        ]
    if wrong:
        raise SpecError.of(wrong)


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
        _OWN_BACKENDS,
        _relay(RELAY, sockets.relay),
        _relay(PREVIEW_RELAY, sockets.preview_relay),
        *(_group(group, slots[group.name]) for group in declaration.groups),
    ]
    return "".join(parts)


def _global(sockets: Sockets, limits: Limits, name: str) -> str:
    owner = f"  uid {limits.uid}\n  gid {limits.uid}\n" if limits.uid is not None else ""
    return f"""# Written by anew; it is overwritten at every change.
global
  description {name}
  default-path config
  log ring@telemetry format raw local0
  maxconn {limits.connections}
  nbthread {limits.threads}
  hard-stop-after {HARD_STOP}s
{owner}
ring telemetry
  format raw
  maxlen 512
  size 4194304
  timeout connect 1s
  timeout server 10s
  server reader abns@{sockets.telemetry}
"""


def _public(declaration: Declaration, sockets: Sockets) -> str:
    lines = [
        f"frontend {PUBLIC}",
        f"  bind {_bracketed(declaration.host)}:{declaration.port}",
        _relayed_bind(sockets.relay),
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
    lines += [
        f"  http-request set-var(txn.group) rand(1000),map_int({map_name(service)},{NONE})"
        f" if {{ var(txn.service) -m str {service} }}"
        for service in services(declaration)
    ]
    lines += [
        _switch(RELAY),
        f"  use_backend {UNKNOWN} unless {{ var(txn.service) -m found }}",
        "  use_backend %[var(txn.group)] if { var(txn.group) -m found }",
        f"  default_backend {NONE}",
    ]
    return _section(lines)


def _preview(declaration: Declaration, sockets: Sockets) -> str:
    lines = [
        f"frontend {PREVIEW}",
        f"  bind 127.0.0.1:{declaration.preview_port}",
        _relayed_bind(sockets.preview_relay),
        '  log-format "%b %ST %Ta %[date] %ts preview"',
        "  http-request set-var(txn.host) req.hdr(host),host_only,lower",
        _switch(PREVIEW_RELAY),
    ]
    lines += [
        f"  use_backend {group.name} if {{ var(txn.host) -m str {group.preview_host.lower()} }}"
        for group in declaration.groups
        if group.preview_host
    ]
    return _section([*lines, f"  default_backend {UNKNOWN}"])


def _relayed_bind(name: str) -> str:
    return f"  bind abns@{name} accept-proxy id {_RELAYED}"


def _switch(backend: str) -> str:
    is_switched = f"{{ str({SWITCH_KEY}),map({SWITCH},no) -m str yes }}"
    return f"  use_backend {backend} if {is_switched} !{{ so_id {_RELAYED} }}"


def _relay(name: str, socket: str) -> str:
    return _section([f"backend {name}", f"  server newest abns@{socket} send-proxy-v2"])


def _group(group: EdgeGroup, slots: Slots) -> str:
    lines = [f"backend {group.name}", "  balance roundrobin"]
    if group.health:
        lines += [
            "  option httpchk",
            f"  http-check send meth GET uri '{group.health}' ver HTTP/1.1 hdr Host localhost hdr Connection close",
            "  http-check expect status 200",
        ]
    # What a proxy on this machine says of its client is believed; what comes from elsewhere is written by us.
    lines += [
        "  http-request del-header X-Forwarded-For unless { src 127.0.0.0/8 ::1 }",
        "  http-request add-header X-Forwarded-For %[src]",
        "  acl is_told req.hdr(X-Forwarded-Proto) -m found",
        "  http-request set-header X-Forwarded-Proto http unless is_told { src 127.0.0.0/8 ::1 }",
        f"  default-server {_CHECKS}",
    ]
    by_slot = {slots.taken[target.name]: target for target in group.targets}
    lines += [_server(number, by_slot.get(number)) for number in range(slots.count)]
    return _section(lines)


def server_name(slot: int) -> str:
    """Return how the server in a slot is called within its backend."""
    return f"s{slot}"


def _server(slot: int, target: Target | None) -> str:
    if target is None:
        return f"  server {server_name(slot)} 127.0.0.1:1 weight 1 disabled"
    return f"  server {server_name(slot)} 127.0.0.1:{target.port} weight {0 if target.is_draining else 1}"


def _section(lines: Sequence[str]) -> str:
    return "\n" + "\n".join(lines) + "\n"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
