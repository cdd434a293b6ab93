"""Words that several parts of the configuration share. Pure.

Names with an underscore are anew's own; no group and no service can have one.
"""

from __future__ import annotations

from collections.abc import Sequence

PUBLIC, PREVIEW = "_public", "_preview"
NONE, UNKNOWN, RELAY, PREVIEW_RELAY, CALLERS_RELAY = "_none", "_unknown", "_relay", "_relay_preview", "_relay_callers"
SWITCH = "_switch.map"
SWITCH_KEY = "relay"
SWITCH_TEXT = f"{SWITCH_KEY} no\n"

_RELAYED = 1000  # id of the listeners that take what older workers pass on
IS_RELAYED = f"{{ so_id {_RELAYED} }}"
IS_LOCAL = "{ src 127.0.0.0/8 ::1 }"  # a client, or a proxy, on this machine


def map_name(service: str) -> str:
    """Return the file of a service's buckets, beside the configuration.

    >>> map_name("web")
    'web.map'
    """
    return f"{service}.map"


def section(lines: Sequence[str]) -> str:
    """Return lines as one section of the configuration."""
    return "\n" + "\n".join(lines) + "\n"


def bound(host: str, port: int) -> str:
    """Return an address as HAProxy wants it.

    >>> bound("::1", 80)
    '[::1]:80'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def relayed_bind(name: str) -> str:
    """Return the line that takes requests which older workers pass on."""
    return f"  bind abns@{name} accept-proxy id {_RELAYED}"


def switched(backend: str) -> str:
    """Return the line that passes a request on to the newest worker, where this one is old."""
    return f"  use_backend {backend} if {{ str({SWITCH_KEY}),map({SWITCH},no) -m str yes }} !{IS_RELAYED}"


def relay(name: str, socket: str, *more: str) -> str:
    """Return the backend that is the newest worker."""
    return section([f"backend {name}", *more, f"  server newest abns@{socket} send-proxy-v2"])
