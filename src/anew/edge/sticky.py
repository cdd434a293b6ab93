"""How a request draws its bucket: by chance, or by who asks, so that a client stays on one side. Pure.

`Declaration.sticky` says for a service by what a client is known; without it, each request draws for itself. Else the
bucket is a hash of what the client is known by, and as buckets move in order (see `buckets`), a client that moved to
the new group stays there while its weight grows. The hash is salted with the service: who is among the first to see a
new version of one service is not among the first of all.

- ``cookie``: an id in the cookie ``anew-SERVICE``. A client that has none gets one with the answer, by the group's
  backend; so an old worker that only passes a request on gives none. Any other value is as good an id.
- ``address``: where the connection comes from. What a proxy on this machine says of its client is believed, as it is
  in the headers that an instance gets: of the addresses in ``X-Forwarded-For`` the last one, which it wrote itself. An
  older worker passes the address on.
- ``header:NAME``: the value of that header. A request without it, or with nothing in it, draws for itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from anew.edge.section import IS_LOCAL, NONE, map_name
from anew.model import FULL, Declaration

COOKIE, ADDRESS, HEADER = "cookie", "address", "header:"
_WAYS = re.compile(rf"{COOKIE}\Z|{ADDRESS}\Z|{HEADER}[0-9A-Za-z][0-9A-Za-z._-]{{0,99}}\Z")
_CLIENT = "var(txn.client)"


def is_way(how: str) -> bool:
    """Say whether a client can be known by this.

    >>> is_way("cookie"), is_way("header:X-User"), is_way("header:"), is_way("who")
    (True, True, False, False)
    """
    return bool(_WAYS.match(how))


def way(declaration: Declaration, service: str) -> str:
    """Return by what a client of a service is known; "" if each request draws for itself."""
    return dict(declaration.sticky).get(service, "")


def bucket_rules(service: str, how: str) -> list[str]:
    """Return the lines that draw a group for a request by the weights of its service."""
    return list(_rules(service, how, f"{{ var(txn.service) -m str {service} }}"))


def _rules(service: str, how: str, is_ours: str) -> Iterator[str]:
    set_client = "  http-request set-var(txn.client)"
    is_known = f"{{ {_CLIENT} -m found }}"
    of_client, by_chance = _group(service, f"{_CLIENT},{_hashed(service)}"), _group(service, f"rand({FULL})")
    if how == COOKIE:
        cookie = f"req.cook({cookie_name(service)})"
        yield f"{set_client} {cookie} if {is_ours} {{ {cookie} -m len 1: }}"
        yield f"  http-request set-var(txn.given) uuid if {is_ours} !{is_known}"
        yield f"{set_client} var(txn.given) if {is_ours} !{is_known}"
        yield f"{of_client} if {is_ours}"
    elif how == ADDRESS:
        told = "req.hdr_ip(X-Forwarded-For,-1)"
        yield f"{set_client} src if {is_ours}"
        yield f"{set_client} {told} if {is_ours} {IS_LOCAL} {{ {told} -m found }}"
        yield f"{of_client} if {is_ours} {is_known}"
    elif how.startswith(HEADER):
        header = f"req.fhdr({how.removeprefix(HEADER)})"
        yield f"{set_client} {header} if {is_ours} {{ {header} -m len 1: }}"
        yield f"{of_client} if {is_ours} {is_known}"
        yield f"{by_chance} if {is_ours} !{is_known}"
    else:
        yield f"{by_chance} if {is_ours}"


def _group(service: str, draw: str) -> str:
    return f"  http-request set-var(txn.group) {draw},map_int({map_name(service)},{NONE})"


def tcp_draw(service: str, how: str) -> str:
    """Return the bucket of a TCP connection, as an expression."""
    return f"src,{_hashed(service)}" if how == ADDRESS else f"rand({FULL})"


def _hashed(service: str) -> str:
    """Return what makes a bucket of a client.

    The salt has 31 bits and the hash 32: the eldest and the youngest bucket differ by one client in four million.
    """
    salt = int.from_bytes(hashlib.sha256(service.encode()).digest()[:4]) >> 1
    return f"xxh32({salt}),mod({FULL})"


def cookie_name(service: str) -> str:
    """Return the cookie by which clients of a service are known.

    >>> cookie_name("web")
    'anew-web'
    """
    return f"anew-{service}"


def given_cookie(service: str) -> str:
    """Return the line of a group's backend that gives its cookie to a client that had none."""
    cookie = f"{cookie_name(service)}=%[var(txn.given)]; Path=/; HttpOnly; SameSite=Lax"
    return f'  http-after-response add-header Set-Cookie "{cookie}" if {{ var(txn.given) -m found }}'
