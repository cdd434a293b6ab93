"""Which engines there are, and which are only designed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from anew.errors import NotFound, Unsupported

EMBEDDED = "embedded"
DOCKER = "docker"
NAMES = (EMBEDDED, DOCKER)
LATER: Mapping[str, str] = MappingProxyType(
    {
        "kubernetes": "a Deployment and a Service per group",
        "aws": "an auto-scaling group and a target group per group",
        "vm": "one virtual machine per instance",
    }
)


def check(name: str, where: str = "") -> str:
    """Return the name of an engine that there is.

    Raises  Unsupported if it is designed and not there yet; NotFound if there is no such engine.
    """
    hint = f"choose one of: {', '.join(NAMES)}"
    if name in NAMES:
        return name
    if name in LATER:
        raise Unsupported(f"the engine {name} ({LATER[name]}) is not there yet", where=where, hint=hint)
    raise NotFound(f"there is no engine {name}", where=where, hint=hint)
