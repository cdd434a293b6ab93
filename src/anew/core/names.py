"""Names that tell role and build. All are LDH labels (letters, digits, hyphens) of at most 63 characters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anew.model import Scope

if TYPE_CHECKING:
    from anew.model import Door

LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
GENERATION = re.compile(r"g([1-9][0-9]*)\Z")
BASELINE = re.compile(r"(-g[1-9][0-9]*)b([1-9][0-9]*)\Z")
RELEASE = re.compile(r"r([1-9][0-9]*)\Z")
MOST = 63  # RFC 1035, section 2.3.4: octets of a label
SUFFIX = "-g99999-99999"  # an instance's name must fit in one label for as long as anybody counts
LONGER = "-g99999b99999-99999"  # of one that may have a baseline


def is_label(text: str) -> bool:
    """Say whether `text` can be a label of ours: lower case LDH, begins with a letter, at most 63.

    >>> is_label("web"), is_label("Web"), is_label("a" * 64)
    (True, False, False)
    """
    return LABEL.match(text) is not None


def fits(project: str, environment: str, service: str, suffix: str = SUFFIX) -> bool:
    """Say whether every instance of the service will have a name that fits in a label."""
    return len(f"{project}-{environment}-{service}{suffix}") <= MOST


def group_name(service: str, generation: int) -> str:
    """Return the name of the group that `generation` launches first.

    >>> group_name("web", 43)
    'web-g43'
    """
    return f"{service}-g{generation}"


def instance_name(scope: Scope, group: str, ordinal: int) -> str:
    """Return the name of one instance.

    >>> instance_name(Scope("shop", "production"), "web-g43", 2)
    'shop-production-web-g43-2'
    """
    return f"{scope.project}-{scope.environment}-{group}-{ordinal}"


def baseline_name(group: str, beside: int) -> str:
    """Return the name of the group of new instances of `group` that the generation `beside` is compared with.

    >>> baseline_name("web-g42", 43)
    'web-g42b43'
    """
    return f"{group}b{beside}"


def original(group: str) -> str:
    """Return the group whose seal a group has: of a baseline another one.

    >>> original("web-g42b43"), original("web-g42")
    ('web-g42', 'web-g42')
    """
    return BASELINE.sub(r"\1", group)


def beside(group: str) -> int:
    """Return the generation that a baseline is there for; 0 if the group is none.

    >>> beside("web-g42b43"), beside("web-g42")
    (43, 0)
    """
    match = BASELINE.search(group)
    return int(match[2]) if match else 0


def preview_host(scope: Scope, group: str) -> str:
    """Return the Host name under which the preview listener serves a group.

    >>> preview_host(Scope("shop", "production"), "web-g43")
    'g43.web.production.shop.internal'
    """
    service, _, build = group.rpartition("-")
    return f"{build}.{service}.{scope.environment}.{scope.project}.internal"


def local_host(project: str, service: str) -> str:
    """Return the Host name that a service has for free on a loopback listener.

    >>> local_host("shop", "web")
    'web.shop.localhost'
    """
    return f"{service}.{project}.localhost"


def address_of(door: Door, host: str) -> tuple[tuple[str, str], ...]:
    """Return the environment variables that tell a caller where it reaches a service: on `host`, the edge's address.

    >>> from anew.model import Door
    >>> address_of(Door("api", 20001), "127.0.0.1"), address_of(Door("the-cache", 20002, is_tcp=True), "127.0.0.1")
    ((('API_URL', 'http://127.0.0.1:20001'),), (('THE_CACHE_HOST', '127.0.0.1'), ('THE_CACHE_PORT', '20002')))
    """
    name = door.service.upper().replace("-", "_")
    if door.is_tcp:
        return (f"{name}_HOST", host), (f"{name}_PORT", str(door.port))
    return ((f"{name}_URL", f"http://{host}:{door.port}"),)


def generation_number(text: str) -> int | None:
    """Return 43 for ``g43``; None if `text` names no generation."""
    match = GENERATION.match(text)
    return int(match[1]) if match else None


PROJECT = re.compile(r"""^project:[ \t]*["']?([a-z0-9-]+)["']?[ \t]*(?:\#.*)?$""", re.MULTILINE)


def project_of(text: str) -> str:
    """Return the project that a spec names; "" if none.

    It reads that one line only, so that what runs can be looked at and taken back though the rest is broken.

    >>> project_of("project: shop  # the shop")
    'shop'
    """
    match = PROJECT.search(text)
    return match[1] if match else ""
