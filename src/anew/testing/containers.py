"""PUBLIC: a container engine as a test sees it, past anew: what belongs to a state, and how that goes in the end.

It speaks to the engine's socket by itself, so that what anew says about the engine can be compared with it.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anew.core.digest import digest, short
from anew.errors import Conflict, EngineError, NotFound
from anew.model import Seconds

SOCKET = Path("/var/run/docker.sock")
OWNER = "anew.owner"
NOT_FOUND, CONFLICT, FAILED = 404, 409, 400
FITTINGS = Path("/run/anew")


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, limit: Seconds) -> None:
        super().__init__("localhost", timeout=limit)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """The engine behind a socket of this machine."""

    socket: Path = SOCKET

    def answers(self) -> bool:
        """Say whether it answers now."""
        try:
            self.ask("GET", "/_ping", limit=5.0)
        except EngineError:
            return False
        return True

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, limit: Seconds = 60.0) -> Any:
        """Send one request; return what it answers, as data where that is JSON.

        Raises  NotFound and Conflict as the engine says; EngineError for anything else, and if nothing answers.
        """
        connection = _Connection(self.socket, limit)
        try:
            connection.request(
                method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as cause:
            raise EngineError(
                f"{method} {path}: no container engine answers: {cause}", where=str(self.socket)
            ) from cause
        finally:
            connection.close()
        if answer.status >= FAILED:
            kind = {NOT_FOUND: NotFound, CONFLICT: Conflict}.get(answer.status, EngineError)
            raise kind(f"{method} {path}: {said.decode(errors='replace').strip()}", where=str(self.socket))
        return json.loads(said) if "json" in answer.headers.get("Content-Type", "") else said

    def containers(self, owner: str) -> list[dict[str, Any]]:
        """Return what the engine says in short of all containers of a state, ended ones too; sorted by name."""
        found: list[dict[str, Any]] = self.ask("GET", f"/containers/json?all=1&filters={_owned(owner)}")
        return sorted(found, key=lambda one: str(one["Names"]))

    def networks(self, owner: str) -> list[str]:
        """Return the names of the networks of a state."""
        return sorted(str(one["Name"]) for one in self.ask("GET", f"/networks?filters={_owned(owner)}"))

    def images(self, owner: str) -> list[str]:
        """Return the tags under which a state has admitted images."""
        wanted = quote(json.dumps({"reference": [f"anew.internal/{short(digest(owner))}:*"]}))
        return sorted(tag for one in self.ask("GET", f"/images/json?filters={wanted}") for tag in one["RepoTags"] or ())

    def clear(self, owner: str) -> None:
        """Remove all that a state has in the engine, and what it gave to its instances; nobody else's."""
        for one in self.containers(owner):
            self._remove(f"/containers/{one['Id']}?force=true&v=true")
        for name in self.networks(owner):
            self._remove(f"/networks/{name}")
        for tag in self.images(owner):
            self._remove(f"/images/{tag}")
        shutil.rmtree(fittings(owner), ignore_errors=True)

    def _remove(self, path: str) -> None:
        try:
            self.ask("DELETE", path)
        except NotFound:
            return
        except Conflict as cause:
            if "already in progress" not in cause.what:
                raise


def fittings(owner: str) -> Path:
    """Return the folder in memory of what the instances of a state are given."""
    return FITTINGS / short(digest(owner))


def name_of(said: Mapping[str, Any]) -> str:
    """Return the name of a container in a list."""
    return str(said["Names"][0]).lstrip("/")


def _owned(owner: str) -> str:
    return quote(json.dumps({"label": [f"{OWNER}={owner}"]}))
