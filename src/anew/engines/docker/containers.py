"""The containers of one state in the engine: found, made, signalled and removed; what they mean is said elsewhere.

A process is signalled by us and not by the engine: it knows only the first process of a container, which is an init,
and hands a signal to one child, where the embedded engine sends it to the application's whole process group.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anew.engines.docker import labels, life, podlog
from anew.engines.docker.client import Client
from anew.engines.docker.life import Life
from anew.engines.embedded import proc
from anew.errors import AnewError, Conflict, EngineError, NotFound, Unsupported
from anew.model import Scope, Seconds

LIMIT: Seconds = 10.0  # from SIGKILL until the kernel and the engine have cleared everything
_NO_INIT = ("container-init binary", "docker-init", "catatonit")


NAME_TAKEN = "already in use"  # as engines say it
GONE_MEANWHILE = "no such process"  # so, too


class NameTaken(Conflict):
    """The engine has a container of that name, or is making one that is not to be seen yet."""


class Containers:
    """The containers of the state `owner`."""

    def __init__(self, client: Client, owner: str) -> None:
        self.client = client
        self._owner = owner

    def find(self, name: str) -> Mapping[str, Any] | None:
        """Return what the engine says of the container of that name; None if there is none.

        Blocks  while it is just being started.
        Raises  Conflict if it is another state's, or none of ours at all.
        """
        said = self.inspected(name)
        if said is None or str(said.get("Name", "")).lstrip("/") != name:  # engines also take the beginning of an id
            said = self._renamed(name)
        if said is None:
            return None
        owner = (said["Config"].get("Labels") or {}).get(labels.OWNER)
        if owner != self._owner:
            whose = "another state" if owner else "something that anew did not make"
            raise Conflict(
                f"{name} belongs to {whose}",
                hint="use the state folder that made it, or another project name" if owner else f"rename it: {name}",
                facts={"owner": owner or "", "command": f"docker inspect {name}"},
            )
        return said

    def inspected(self, container: str) -> Mapping[str, Any] | None:
        """Return what the engine says of a container, whosever it is; None if there is none."""
        try:
            with self.client.asking(f"looking at {container}", f"GET /containers/{container}/json") as api:
                said: Mapping[str, Any] = api.inspect_container(container)
        except NotFound:
            return None
        return said

    def _renamed(self, name: str) -> Mapping[str, Any] | None:
        """Return the instance that was launched under that name and is called otherwise now; None if there is none."""
        wanted = {labels.OWNER: self._owner, labels.NAME: name, labels.KIND: "instance"}
        found = self.listed([f"{label}={value}" for label, value in wanted.items()])
        return self.inspected(str(found[0]["Id"])) if found else None

    def life(self, name: str) -> Life | None:
        """Return the life of the container of that name; None if there is none. Raises as `find`."""
        said = self.find(name)
        return None if said is None else life.of(said)

    def listed(self, filters: list[str]) -> list[Mapping[str, Any]]:
        """Return what the engine says in short of all containers with these labels."""
        for is_last in (False, False, True):
            try:
                with self.client.asking("listing containers", "GET /containers/json?all=true") as api:
                    found: list[Mapping[str, Any]] = api.containers(all=True, filters={"label": filters})
                break
            except (
                EngineError
            ) as error:  # Podman fails where a process ends while it looks; what is asked again is known
                if is_last or GONE_MEANWHILE not in error.what:
                    raise
        return found

    def of_scope(self, scope: Scope, kind: labels.Kind) -> list[Mapping[str, Any]]:
        """Return those of ours in `scope`."""
        return self.listed(labels.wanted(scope, self._owner, kind))

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container, and return its id. Raises NameTaken if another one has its name, or is just being made."""
        try:
            with self.client.asking(f"making {name}", "POST /containers/create") as api:
                return str(api.create_container_from_config(dict(body), name)["Id"])
        except AnewError as cause:
            if NAME_TAKEN in cause.what:  # Docker calls it a conflict, Podman a failure
                raise NameTaken(cause.what, where=cause.where, facts=cause.facts) from cause
            raise _explained(cause) from cause

    def start(self, container: str, name: str) -> None:
        """Start a container; success if it runs. Blocks until its first process runs."""
        try:
            with self.client.asking(f"starting {name}", f"POST /containers/{container}/start") as api:
                api.start(container)
        except AnewError as cause:
            raise _explained(cause) from cause

    def end(self, now: Life, grace: Seconds) -> None:
        """Ask the application to end, wait up to `grace`, then kill all that is left; return when it is cleared.

        Raises  EngineError if it does not end.
        """
        if now.is_paused:
            with (
                suppress(Conflict, EngineError),  # somebody else was faster
                self.client.asking("thawing a container", f"POST /containers/{now.id}/unpause") as api,
            ):
                api.unpause(now.id)
        if now.is_revived:
            request = f"POST /containers/{now.id}/update"
            with self.client.asking("forbidding the engine to restart a container", request) as api:
                api.update_container(now.id, restart_policy={"Name": "no"})
        with pinned(now) as handle:
            if handle >= 0:
                if grace > 0:
                    ask(now.pid)
                    ends_within(handle, grace)
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                ends_within(handle, LIMIT)
            else:
                self._kill(now)
        self.settled(now)

    def _kill(self, now: Life) -> None:
        """Let the engine kill a container whose processes we can't find; success if it has ended."""
        try:
            with self.client.asking("killing a container", f"POST /containers/{now.id}/kill") as api:
                api.kill(now.id)
        except (Conflict, NotFound):
            return
        except EngineError as cause:
            if "state improper" not in cause.what:  # Podman's word for a conflict
                raise

    def settled(self, now: Life) -> int:
        """Wait until the engine has seen the end of a container; return its exit code."""
        request = f"POST /containers/{now.id}/wait"
        try:
            with self.client.asking(f"waiting for the end of {now.labels.get(labels.NAME, now.id)}", request) as api:
                return int(api.wait(now.id, timeout=LIMIT)["StatusCode"])
        except NotFound:
            return 0

    def remove(self, container: str) -> None:
        """Remove a container, killing what may run in it; success if it is gone."""
        request = f"DELETE /containers/{container}?force=true&v=true"
        try:
            with self.client.asking("removing a container", request) as api:
                api.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except Conflict as cause:
            if "already in progress" not in cause.what:
                raise

    def log(self, container: str, lines: int | None = None) -> bytes:
        """Return at least the last `lines` lines that a container wrote, or all that is kept of it."""
        if self.client.is_podman:
            return b"".join(self.log_parts(container))
        with self.client.asking("reading a log", f"GET /containers/{container}/logs?stdout=1&stderr=1") as api:
            said: bytes = api.logs(container, stdout=True, stderr=True, tail="all" if lines is None else lines)
        return said

    def log_parts(self, container: str) -> Iterator[bytes]:
        """Yield all that is kept of what a container wrote, in parts; raises NotFound if it is gone."""
        if self.client.is_podman:
            said = self.inspected(container) or {}
            path = Path(str(said.get("LogPath", "")))
            if path.is_file():
                with path.open("rb") as file:
                    yield from podlog.texts(file)
            return
        with self.client.asking("reading a log", f"GET /containers/{container}/logs?stdout=1&stderr=1") as api:
            yield from api.logs(container, stdout=True, stderr=True, stream=True, follow=False)


@contextmanager
def pinned(now: Life) -> Iterator[int]:
    """Yield a handle of a container's first process; -1 if it is gone.

    Whose the process is, is looked at after the handle was taken: so it can't be somebody else's.
    """
    handle = -1
    try:
        handle = os.pidfd_open(now.pid) if now.pid else -1
    except OSError as cause:
        if cause.errno not in {errno.ESRCH, errno.EINVAL}:  # Linux 6.1 says EINVAL of one that is being taken apart
            raise
    try:
        yield handle if handle >= 0 and is_in(now.pid, now.id) else -1
    finally:
        if handle >= 0:
            os.close(handle)


def is_in(pid: int, container: str) -> bool:
    """Say whether a process is in a control group of the container."""
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text("utf-8")
    except proc.VANISHED:
        return False


def ask(first: int) -> None:
    """Send SIGTERM to the process group of the application, which is the only child that an init has at the start."""
    children = proc.children(first)
    application = children[0] if children else first
    with suppress(ProcessLookupError):
        if os.getpgid(application) == application and application != first:
            os.killpg(application, signal.SIGTERM)
        else:
            os.kill(application, signal.SIGTERM)


def ends_within(handle: int, limit: Seconds) -> bool:
    """Wait until the process of a pidfd has ended, at most `limit`; return whether it has."""
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    return bool(waiting.poll(max(0.0, limit) * 1000))


def _explained(cause: AnewError) -> AnewError:
    """Return the error that says what to do where the engine lacks a part of itself."""
    if isinstance(cause, EngineError) and any(one in cause.what for one in _NO_INIT):
        hint = "install it, as root: apt-get install tini (for Docker) or catatonit (for Podman)"
        return Unsupported(f"the container engine has no init: {cause.what}", where=cause.where, hint=hint)
    return cause
