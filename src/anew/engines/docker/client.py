"""One connection to the container engine, shared by all that talk to it: the only place that knows the SDK's errors.

::

    client = Client()
    with client.asking("starting shop-production-web-g3-1", "POST /containers/ID/start") as api:
        api.start("ID")

Rules
    1  The SDK is imported when the engine is first asked, and nowhere else than in this package.
    2  Every call has a bound: `QUICK` unless the caller says how long it may take.
    3  What the SDK or the connection raises becomes an error of `anew.errors` by `_as_error`, the one table; its facts
       hold a line that asks the engine the same.
"""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anew.engines.docker import sockets
from anew.errors import AnewError, Conflict, EngineError, NotFound, Unsupported
from anew.model import Seconds

if TYPE_CHECKING:
    from docker import APIClient

QUICK: Seconds = 30.0  # of anything that the engine does at once; a busy disk may make it wait
LONG: Seconds = 600.0  # of what moves images
_FULL = "no space left on device"
_GONE = "no such container"  # Podman's words, as an error of its own, for one that goes while it is looked at


class Client:
    """The container engine of this machine. Safe to be used by several threads; connects when it is first asked."""

    def __init__(
        self, socket: Path | None = None, environ: Mapping[str, str] = os.environ, note: Path | None = None
    ) -> None:
        self._socket = socket
        self._note = note
        self._environ = environ
        self._guard = threading.Lock()
        self._by_bound: dict[Seconds, APIClient] = {}
        self._info: Mapping[str, Any] | None = None
        self._is_podman: bool | None = None

    @property
    def socket(self) -> Path:
        """Return the socket of the engine. Raises Unsupported if there is none on this machine."""
        if self._socket is None:
            self._socket = sockets.find(self._environ, self._note)
        return self._socket

    @contextmanager
    def asking(self, act: str, request: str = "", bound: Seconds = QUICK) -> Iterator[APIClient]:
        """Yield the SDK's low-level client; what goes wrong within becomes an error of ours.

        `act` says for people what is being done, as in "starting shop-production-web-g3-1"; `request` is method and
        path of the request, as in "POST /containers/ID/start", for the line that repeats it.

        Raises  NotFound if the engine does not know what was asked for; Conflict if it says so; Unsupported if it can't
                be reached by us; EngineError for anything else.
        """
        try:
            yield self._api(bound)
        except AnewError:
            raise
        except Exception as cause:
            error = _as_error(cause, act, self.socket, request)
            if error is None:
                raise
            raise error from cause

    def info(self) -> Mapping[str, Any]:
        """Return what the engine says of itself; asked once."""
        if self._info is None:
            with self.asking("asking the container engine what it is", "GET /info") as api:
                self._info = api.info()
        return self._info

    @property
    def is_podman(self) -> bool:
        """Whether the engine is Podman, which answers as Docker does, but for a few habits; asked once."""
        if self._is_podman is None:
            self._is_podman = self._has("podman")
        return self._is_podman

    def _has(self, part: str) -> bool:
        with self.asking("asking the container engine what it is", "GET /version") as api:
            said = api.version()
        return any(part in str(one.get("Name", "")).lower() for one in said.get("Components") or ())

    def require_reach(self) -> None:
        """Raise Unsupported unless instances of this engine can be watched and reached from here.

        One that runs without root puts its containers into a network of its own, which this machine has no way into.
        """
        if any("rootless" in str(one) for one in self.info().get("SecurityOptions") or ()):
            raise Unsupported(
                f"the container engine at {self.socket} runs without root: its instances have no address that this "
                "machine can reach",
                where=str(self.socket),
                hint="use the engine of the machine (DOCKER_HOST=unix:///var/run/docker.sock), as root",
            )
        if os.geteuid() != 0:
            raise Unsupported(
                "the engine docker needs root: it hands secrets to other uids, and looks at other users' processes",
                hint="run anew as root: sudo anew …",
            )

    def settle(self, *, is_used: bool) -> None:
        """Write down that this state has something on this engine, or that it has nothing left there. Idempotent."""
        if self._note is not None and is_used:
            sockets.keep(self._note, self.socket)
        elif self._note is not None:
            self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of all connections; the next question makes new ones."""
        with self._guard:
            clients, self._by_bound = list(self._by_bound.values()), {}
        for one in clients:
            one.close()

    def _api(self, bound: Seconds) -> APIClient:
        from docker import APIClient

        with self._guard:
            known = self._by_bound.get(bound)
            if known is None:
                sockets.knock(self.socket)
                before = next(iter(self._by_bound.values()), None)
                version = "auto" if before is None else before.api_version
                known = APIClient(base_url=f"unix://{self.socket}", version=version, timeout=bound)
                self._by_bound[bound] = known
        return known


def pasteable(socket: Path, request: str) -> str:
    """Return the line for a shell that sends the same request, without a body.

    >>> pasteable(Path("/var/run/docker.sock"), "GET /info")
    'curl -X GET --unix-socket /var/run/docker.sock http://localhost/info'
    """
    method, _, path = (request or "GET /version").partition(" ")
    return shlex.join(["curl", "-X", method, "--unix-socket", str(socket), f"http://localhost{path}"])


def _as_error(cause: Exception, act: str, socket: Path, request: str) -> AnewError | None:
    """Return our error for one of the SDK, of requests below it, or of the system; None if it is of neither."""
    from docker import errors
    from requests import exceptions

    said = _said(cause)
    where, facts = str(socket), {"command": pasteable(socket, request)}
    is_forbidden = "Permission denied" in said
    match cause:
        case errors.APIError() if cause.status_code == 404 or _GONE in said.lower():
            return NotFound(f"{act}: the container engine has no such thing: {said}", where=where, facts=facts)
        case errors.APIError() if cause.status_code == 409:
            return Conflict(f"{act}: {said}", where=where, hint="look at what is there: anew status", facts=facts)
        case errors.APIError():
            hint = "free some space: anew gc" if _FULL in said else "see the log of the container engine"
            return EngineError(f"{act} failed: {said}", where=where, hint=hint, facts=facts)
        case exceptions.Timeout() | TimeoutError():
            hint = "look whether the container engine is busy or hangs"
            what = f"{act}: the container engine did not answer in time"
            return EngineError(what, where=where, hint=hint, facts=facts)
        case exceptions.RequestException() | errors.DockerException() | OSError() if is_forbidden:
            hint = "run anew as root: sudo anew …"
            return Unsupported("we may not talk to the container engine", where=where, hint=hint, facts=facts)
        case exceptions.RequestException() | errors.DockerException() | OSError():
            hint = "start it (systemctl start docker, or podman.socket), and try again"
            what = f"{act}: no container engine answers: {said}"
            return EngineError(what, where=where, hint=hint, facts=facts)
    return None


def _said(cause: Exception) -> str:
    """Return the engine's own words, in one line."""
    explanation = getattr(cause, "explanation", None)
    return " ".join(str(explanation or cause).split())[:500]
