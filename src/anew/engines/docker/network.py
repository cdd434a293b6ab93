"""The network of an environment: a bridge of its own, on which instances have addresses that this machine reaches.

No port is published. The edge reaches an instance at its address, and instances reach the edge at the gateway, which is
this machine's own address on the bridge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from anew.engines.docker import labels
from anew.engines.docker.client import Client
from anew.errors import Conflict, EngineError, NotFound
from anew.model import Scope

_IN_USE = re.compile(r"active endpoints|in use|being used", re.IGNORECASE)
_FULL = re.compile(r"non-overlapping|address pool", re.IGNORECASE)


def name_of(scope: Scope) -> str:
    """Return the name of the network of an environment.

    >>> name_of(Scope("shop", "production"))
    'anew-shop-production'
    """
    return f"anew-{scope.project}-{scope.environment}"


class Network:
    """The networks of one state, whose id is `owner`."""

    def __init__(self, client: Client, owner: str) -> None:
        self._client = client
        self._owner = owner

    def ensure(self, scope: Scope) -> str:
        """Return the gateway of the network of `scope`, which is made if need be.

        Raises  Conflict if something that is not ours has its name; EngineError if the engine has no addresses left.
        """
        found = self._find(scope)
        if found is None:
            self._make(scope)
            found = self._find(scope)
        if found is None:
            raise EngineError(f"the network {name_of(scope)} is gone again", hint="try again")
        for one in found.get("IPAM", {}).get("Config") or ():
            gateway = str(one.get("Gateway", "")).partition("/")[0]
            if gateway and ":" not in gateway:
                return gateway
        raise EngineError(
            f"the network {name_of(scope)} has no gateway",
            hint="remove it when nothing runs in it; the next launch makes it",
            facts={"command": f"docker network inspect {name_of(scope)}"},
        )

    def remove(self, scope: Scope) -> None:
        """Remove the network of `scope`; success if it is gone.

        Raises  Conflict if something runs in it, or it is not ours.
        """
        if self._find(scope) is None:
            return
        name = name_of(scope)
        try:
            with self._client.asking(f"removing the network {name}", f"DELETE /networks/{name}") as api:
                api.remove_network(name)
        except NotFound:
            return
        except EngineError as cause:  # what one engine calls forbidden is a conflict for the other
            if not _IN_USE.search(cause.what):
                raise
            hint = "end what runs in it first"
            raise Conflict(cause.what, where=cause.where, hint=hint, facts=cause.facts) from cause

    def has_any(self) -> bool:
        """Say whether the engine has a network of any environment of this state."""
        with self._client.asking("looking for networks", "GET /networks") as api:
            return bool(api.networks(filters={"label": f"{labels.OWNER}={self._owner}"}))

    def _find(self, scope: Scope) -> Mapping[str, Any] | None:
        name = name_of(scope)
        with self._client.asking(f"looking for the network {name}", "GET /networks") as api:
            every = [one for one in api.networks(names=[name]) if one.get("Name") == name]
        for one in every:
            told = one.get("Labels") or {}
            if told.get(labels.OWNER) != self._owner or not labels.is_of(told, scope):
                raise Conflict(
                    f"the network {name} belongs to "
                    + ("another state" if told.get(labels.OWNER) else "something that anew did not make"),
                    where=name,
                    hint="use the state folder that made it, or another project name; or remove it",
                    facts={"command": f"docker network inspect {name}"},
                )
        return every[0] if every else None

    def _make(self, scope: Scope) -> None:
        name = name_of(scope)
        told = labels.of_scope(scope, self._owner, "network")
        try:
            with self._client.asking(f"making the network {name}", "POST /networks/create") as api:
                api.create_network(name, driver="bridge", labels=told, check_duplicate=True)
        except Conflict:  # somebody made it meanwhile: whose it is, is looked at next
            return
        except EngineError as cause:
            if _FULL.search(cause.what):
                hint = "remove networks that nothing uses (docker network prune), or give the engine more addresses"
                raise EngineError(cause.what, where=cause.where, hint=hint, facts=cause.facts) from cause
            raise
