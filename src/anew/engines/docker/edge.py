"""The edge's HAProxy in a container of its own: what `anew.edge.program.Program` asks for.

Rules

1. The container shares this machine's network and process ids. So what owns the addresses is the machine, listeners go
   from one container to the next, and a process has one id for everybody. The edge is told, watched and ended as where
   it is no container: through its sockets and its processes, whose folders have the same paths inside.
2. It has nothing else: a read-only root, no capability but `NEEDED`, no way to more, no restart.
3. What has ended, and what was made and never started, `clear` removes. That the engine does so by itself is not asked
   for: one that starts again while its containers live on takes those away that live, too.
4. Configurations are checked by the same program from the same image, unpacked in the image store, in a sandbox: that
   is some thirty times as fast as a container, and each rollout waits for it.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anew.core.digest import digest
from anew.engines.docker import labels
from anew.engines.docker.client import Client
from anew.engines.docker.containers import NAME_TAKEN
from anew.engines.docker.images import DockerImages
from anew.errors import AnewError, Conflict, EngineError, NotFound
from anew.model import Image, Outcome, Scope, Seconds
from anew.ports import Say
from anew.sandbox import find

KIND = "edge"
BINARY = "/usr/sbin/haproxy"
# To listen on low ports; to run the workers under a uid of their own, and to signal them then.
NEEDED = ("NET_BIND_SERVICE", "SETUID", "SETGID", "KILL")
CPU_SHARES = 8192  # eight times those of an instance: it needs little, and everybody waits for it
CLEARS_WITHIN: Seconds = 20.0
LOOKS_EVERY: Seconds = 0.02
TRIES_AGAIN_AFTER: Seconds = 600.0  # to have an image for an edge that runs
_PODMAN_RUNS = "state improper"  # Podman's words for what Docker calls a conflict
_ALIVE = frozenset({"running", "paused", "restarting", "stopping"})
_INTO_LOG = f'log=$0; exec {BINARY} "$@" >>"$log" 2>&1'


@dataclass(frozen=True, slots=True)
class Supply:
    """Where the image comes from: `image` recognises or makes it, `tree` is the folder with its files."""

    image: Callable[[], Image]
    tree: Callable[[Image], Path]


@dataclass(frozen=True, slots=True)
class Place:
    """Whose edge it is, the folders that it reads and writes, and where sandboxes keep their program."""

    scope: Scope
    owner: str
    folders: tuple[Path, ...]
    bin_dir: Path

    @property
    def labels(self) -> dict[str, str]:
        """What is written on every container of this edge."""
        return {
            labels.OWNER: self.owner,
            labels.PROJECT: self.scope.project,
            labels.ENVIRONMENT: self.scope.environment,
            labels.KIND: KIND,
        }

    @property
    def shared(self) -> tuple[Path, ...]:
        """The folders, without those that lie in another one; they are there."""
        ones = {one.absolute() for one in self.folders}
        return tuple(sorted(one for one in ones if not ones & set(one.parents)))

    def name(self, launch: str) -> str:
        """Return what the container of a launch is called."""
        return f"{self.scope.project}-{self.scope.environment}-{KIND}-{launch}"


class ContainerProgram:
    """Implements `anew.edge.program.Program`; the image is made when it is first needed."""

    def __init__(self, client: Client, images: DockerImages, supply: Supply, place: Place, say: Say) -> None:
        self._client = client
        self._images = images
        self._supply = supply
        self._place = place
        self._say = say
        self._is_vain_until = float("-inf")

    def identity(self) -> str:
        """Return a digest of the image, made if need be; "" where none can be had, and for a while from then on."""
        if time.monotonic() < self._is_vain_until:
            return ""
        try:
            return digest({"image": self._supply.image().digest, "needed": NEEDED})
        except AnewError as error:
            self._is_vain_until = time.monotonic() + TRIES_AGAIN_AFTER
            self._say(f"what runs of the edge goes on: {error.what}")
            return ""

    def run(self, arguments: Sequence[str], limit: Seconds) -> Outcome:
        """Run it in a sandbox on the image's files, which sees the edge's folders, read-only."""
        tree = self._supply.tree(self._supply.image())
        seen = [part for one in self._place.shared for part in ("--ro-bind", str(one), str(one))]
        command = [
            str(find.bwrap(self._place.bin_dir)),
            *("--overlay-src", str(tree), "--tmp-overlay", "/", "--proc", "/proc", "--dev", "/dev"),
            *seen,
            *("--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--chdir", "/"),
            *("--", BINARY, *arguments),
        ]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise EngineError(f"HAProxy can't be run: {cause}", facts={"command": shlex.join(command)}) from cause
        return Outcome(done.returncode, done.stderr + done.stdout)

    def launch(self, name: str, arguments: Sequence[str], log: Path) -> None:
        """Start a container; see `Program`.

        Raises  Conflict if something that is not this edge's has the name.
        """
        called = self._place.name(name)
        body = self._body(self._images.admitted(self._supply.image()).id, arguments, log)
        until = time.monotonic() + CLEARS_WITHIN
        made: Mapping[str, Any] = {}
        while not made:
            try:
                with self._client.asking(f"making {called}", "POST /containers/create") as api:
                    made = api.create_container_from_config(body, called)
            except (Conflict, EngineError) as cause:
                self._require_ours(called)
                if NAME_TAKEN not in cause.what or time.monotonic() > until:
                    raise
                # A launcher was killed, and the engine went on: what it makes is to be seen only afterwards.
                self._remove(called)
                time.sleep(LOOKS_EVERY)
        try:
            with self._client.asking(f"starting {called}", f"POST /containers/{called}/start") as api:
                api.start(made["Id"])
        except AnewError:
            self.clear()
            raise

    def clear(self) -> None:
        """Remove containers of this edge whose master has ended; returns when none is left, or is being started.

        Raises  EngineError if the engine still has one after `CLEARS_WITHIN`.
        """
        until = time.monotonic() + CLEARS_WITHIN
        while ended := self._ended():
            for identifier in ended:
                self._remove(identifier)
            if time.monotonic() > until:
                raise EngineError(
                    f"the container engine does not remove {', '.join(ended.values())}",
                    hint="see its log",
                    facts={"command": shlex.join(["docker", "rm", *ended.values()])},
                )
            time.sleep(LOOKS_EVERY)

    def pasteable(self, arguments: Sequence[str]) -> str:
        """Return the line that runs it in a container."""
        host = ("--network", "host", "--pid", "host", "--read-only", "--cap-drop", "ALL")
        needed = (f"--cap-add={one}" for one in NEEDED)
        seen = (f"--mount=type=bind,source={one},target={one}" for one in self._place.shared)
        tag = self._images.tag(self._supply.image().digest)
        return shlex.join(["docker", "run", "--rm", *host, *needed, *seen, tag, BINARY, *arguments])

    # ------------------------------------------------------------ inside

    def _body(self, image: str, arguments: Sequence[str], log: Path) -> dict[str, Any]:
        """Return the request that makes the container; its output goes into `log`: the engine keeps none of it."""
        seen = [{"Type": "bind", "Source": str(one), "Target": str(one)} for one in self._place.shared]
        return {
            "Image": image,
            "Entrypoint": ["/bin/sh", "-c", _INTO_LOG, str(log)],
            "Cmd": list(arguments),
            "User": "0:0",
            "WorkingDir": "/",
            "Labels": self._place.labels,
            "HostConfig": {
                "CpuShares": CPU_SHARES,
                "NetworkMode": "host",
                "PidMode": "host",
                "UsernsMode": "host",  # the other two need it, where the engine maps uids
                "IpcMode": "private",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "CapAdd": list(NEEDED),
                "SecurityOpt": ["no-new-privileges", "label=disable"],  # labels keep containers' sockets apart
                "Mounts": seen,
                "LogConfig": {"Type": "none"},
                "RestartPolicy": {"Name": "no"},
            },
        }

    def _ended(self) -> dict[str, str]:
        """Return id and name of our containers that do not run."""
        wanted = {"label": [f"{name}={value}" for name, value in self._place.labels.items()]}
        with self._client.asking("looking for containers of the edge", "GET /containers/json?all=1") as api:
            found: list[Mapping[str, Any]] = api.containers(all=True, filters=wanted)
        ended = {}
        for one in found:
            if str(one["State"]) not in _ALIVE or not self._is_running(str(one["Id"])):
                ended[str(one["Id"])] = str(one["Names"][0]).lstrip("/")
        return ended

    def _is_running(self, identifier: str) -> bool:
        """Say whether the process of a container is there; the engine itself sees its end a little later."""
        try:
            with self._client.asking("looking at the edge", f"GET /containers/{identifier}/json") as api:
                pid = int(api.inspect_container(identifier)["State"]["Pid"])
        except NotFound:
            return False
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # one that ends has none, before it is a zombie too
        except OSError:
            return False

    def _remove(self, identifier: str) -> None:
        """Ask for the removal of a container that does not run; success if it is gone, runs, or the engine lags."""
        try:
            with self._client.asking("removing a container of the edge", f"DELETE /containers/{identifier}") as api:
                api.remove_container(identifier)
        except (NotFound, Conflict):
            return  # whoever asked looks again
        except EngineError as cause:
            if _PODMAN_RUNS not in cause.what:
                raise

    def _require_ours(self, called: str) -> None:
        """Raise Conflict if there is a container of that name which is not of this edge."""
        try:
            with self._client.asking(f"looking at {called}", f"GET /containers/{called}/json") as api:
                has: Mapping[str, str] = api.inspect_container(called)["Config"]["Labels"] or {}
        except NotFound:
            return
        if not self._place.labels.items() <= has.items():
            raise Conflict(
                f"there is a container {called} already, and it is not of this edge",
                where=called,
                hint=f"rename it, and try again: docker rename {called} OTHER",
                facts={"command": f"docker inspect {called}"},
            )
