"""The edge's ports beside the public one and the previews: who is reached through each of them. Pure.

All HTTP listeners are one frontend and all TCP listeners another; a connection is known by the name of the port that
it came in on. A pin is an entry of one map, `PINS`, from the name of a listener to a group. It is changed live, and
while a listener has one, the weights do not matter to it.

An old worker passes HTTP requests on to the newest one (see `render`), and says in a header through which listener
they came. What it says is believed only on that socket. TCP connections need no such thing: an old worker takes no
new ones, and those that it has stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from anew.edge.section import CALLERS_RELAY, IS_RELAYED, NONE, bound, map_name, relay, relayed_bind, section, switched
from anew.edge.slots import Slots, server_lines
from anew.edge.sticky import bucket_rules, tcp_draw, way
from anew.model import Declaration, EdgeGroup, Listener

PINS = "_pins.map"
CALLERS, TCP, NO_CONNECTION = "_callers", "_tcp", "_none_tcp"

_HEADER = "X-Anew-Listener"

# A TCP connection may be silent for as long as both ends live. That they do, the kernel asks: an end that is gone is
# found within two minutes. 24 days is the longest that HAProxy can count. A client that has no more to say may wait
# an hour for the last answer; one whose instance has no more to say, or is gone, has a minute to see it.
_TCP_DEFAULTS = """
defaults
  mode tcp
  log global
  log-format "%b 0 %Tt %[date] %ts"
  timeout connect 2s
  timeout client 24d
  timeout server 24d
  timeout tunnel 24d
  timeout client-fin 60s
  timeout server-fin 1h
  timeout queue 5s
  option clitcpka
  clitcpka-idle 60s
  clitcpka-intvl 10s
  clitcpka-cnt 6
  option srvtcpka
  srvtcpka-idle 60s
  srvtcpka-intvl 10s
  srvtcpka-cnt 6
  option redispatch 1
  retries 2
"""


def pins(declaration: Declaration) -> dict[str, str]:
    """Return the group to which each listener is pinned; those that follow the weights are left out."""
    return {one.name: one.group for one in declaration.listeners if one.group}


def with_pins(declaration: Declaration, has: Mapping[str, str]) -> Declaration:
    """Return the declaration with these pins, and no others."""
    listeners = tuple(replace(one, group=has.get(one.name, "")) for one in declaration.listeners)
    return replace(declaration, listeners=listeners)


def addresses(declaration: Declaration) -> dict[tuple[str, int], str]:
    """Return which listener has which host and port."""
    return {(one.host, one.port): one.name for one in declaration.listeners}


def http_frontend(declaration: Declaration, socket: str) -> str:
    """Return the frontend of all HTTP listeners; without any, it still answers what older workers pass on."""
    ones = [one for one in declaration.listeners if not one.is_tcp]
    services = sorted({one.service for one in ones})
    pinned = f"var(txn.listener),map({PINS})"
    lines = [
        f"frontend {CALLERS}",
        *(_bind(one) for one in ones),
        relayed_bind(socket),
        "  http-request set-var(txn.listener) so_name",
        f"  http-request set-var(txn.listener) req.hdr({_HEADER}) if {IS_RELAYED}",
        f"  http-request del-header {_HEADER}",
        *(f"  http-request set-var(txn.service) str({one.service}) if {_is(one)}" for one in ones),
        *(rule for service in services for rule in bucket_rules(service, way(declaration, service))),
        f"  http-request set-var(txn.group) {pinned} if {{ {pinned} -m found }}",
        switched(CALLERS_RELAY),
        "  use_backend %[var(txn.group)] if { var(txn.group) -m found }",
        f"  default_backend {NONE}",
    ]
    told = f"  http-request set-header {_HEADER} %[var(txn.listener)]"
    return section(lines) + relay(CALLERS_RELAY, socket, told)


def tcp_sections(declaration: Declaration, slots: Mapping[str, Slots]) -> str:
    """Return all that passes connections on as they are; "" if nothing does."""
    groups = [group for group in declaration.groups if group.is_tcp]
    ones = [one for one in declaration.listeners if one.is_tcp]
    if not groups and not ones:
        return ""
    frontend = [
        f"frontend {TCP}",
        *(_bind(one) for one in ones),
        f"  use_backend %[so_name,map({PINS})] if {{ so_name,map({PINS}) -m found }}",
        *(f"  use_backend %[{_draw(declaration, one)}] if {{ so_name -m str {one.name} }}" for one in ones),
        f"  default_backend {NO_CONNECTION}",
    ]
    parts = [
        _TCP_DEFAULTS,
        section(frontend) if ones else "",
        section([f"backend {NO_CONNECTION}"]),
        *(_group(group, slots[group.name]) for group in groups),
    ]
    return "".join(parts)


def _draw(declaration: Declaration, one: Listener) -> str:
    draw = tcp_draw(one.service, way(declaration, one.service))
    return f"{draw},map_int({map_name(one.service)},{NO_CONNECTION})"


def _bind(one: Listener) -> str:
    return f"  bind {bound(one.host, one.port)} name {one.name}"


def _is(one: Listener) -> str:
    return f"{{ var(txn.listener) -m str {one.name} }}"


def _group(group: EdgeGroup, slots: Slots) -> str:
    """Return the backend of a TCP group.

    There are no health checks: a program that speaks first, or logs every caller, would be disturbed by connections
    that say nothing. Which instances are there, the edge is told; one that died in between refuses connections, and
    they go to another.
    """
    return section([f"backend {group.name}", "  balance leastconn", *server_lines(group, slots)])
