"""One container or sandbox at a time, started in several ways, until its program says that it listens."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from anew.build.store import ImageStore
from anew.core.names import group_name, instance_name
from anew.engines.docker import body, labels
from anew.engines.docker.client import Client
from anew.engines.docker.compute import Docker
from anew.engines.docker.containers import Containers
from anew.engines.docker.labels import Lot
from anew.engines.docker.network import name_of
from anew.engines.embedded.compute import Embedded
from anew.errors import EngineError, Unsupported
from anew.model import Image, Order, Scope
from anew.testing.rig import Rig

PATIENCE = 30.0  # seconds until a program that was started must have said that it listens
PORT = 20_001
UID = 777_001
# It listens, and then calls who measures, which is a connection to a socket that is open already: well below 1 ms.
PROGRAM = """
import _socket, os, time
one = _socket.socket()
one.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
one.bind((os.environ["HOST"], int(os.environ["PORT"])))
one.listen(64)
bell = _socket.socket()
host, port = os.environ["BELL"].split(":")
bell.connect((host, int(port)))
time.sleep(600)
"""
COMMAND = ("python3", "-I", "-S", "-c", PROGRAM)


class Bell:
    """A socket that programs call as soon as they listen."""

    def __init__(self, host: str) -> None:
        self._socket = socket.create_server((host, 0))
        self._socket.settimeout(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def address(self) -> str:
        """Where it is called, as host:port."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def rung(self) -> None:
        """Return when it is called. Raises EngineError if nobody does."""
        try:
            self._socket.accept()[0].close()
        except TimeoutError as cause:
            raise EngineError(f"nothing that was started listened within {PATIENCE:g} s") from cause


@dataclass(frozen=True, slots=True)
class Places:
    """Where an image is started: in a container engine and in sandboxes, for the state of a rig."""

    scope: Scope
    image: Image
    docker: Docker
    embedded: Embedded
    containers: Containers
    client: str  # the command line of the container engine

    @property
    def name(self) -> str:
        """The name of the image in the container engine."""
        return self.docker.images.tag(self.image.digest)

    def order(self, number: int, host: str, bell: str) -> Order:
        """Return the order of the instance of that number."""
        variables = (("BELL", bell), ("HOST", host), ("PORT", str(PORT)))
        group = group_name("web", number)
        return Order(instance_name(self.scope, group, 1), group, self.scope, self.image, COMMAND, variables, (), PORT)


def places(project: Rig) -> Places:
    """Build the project of a rig, and bring its image to both engines.

    Raises  Unsupported if there is no command line of Docker.
    """
    client = shutil.which("docker", path="/usr/bin:/usr/local/bin")
    if client is None:
        raise Unsupported("the peer is the command line of Docker, and there is none", hint="install it")
    (built,) = json.loads(project.expect("build", "--json", limit=600.0))
    store = ImageStore(project.home / "images")
    image = store.record(built["input"])
    if image is None:
        raise EngineError("the image that was built is not in the store")
    store.admit(image)
    owner, engine = project.owner(), Client()
    docker = Docker(project.home, store.blobs, owner, client=engine)
    docker.images.admit(image)
    embedded = Embedded(project.home, store.tree, owner)
    scope = Scope(project.project, "local", owner)
    return Places(scope, image, docker, embedded, Containers(engine, owner), client)


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Append the milliseconds of the block."""
    began = time.perf_counter()
    yield
    into.append(1000 * (time.perf_counter() - began))


def launch(engine: Docker | Embedded, order: Order, bell: Bell, into: Mapping[str, list[float]]) -> None:
    """Launch an instance as a keeper does; note when that returned and when its program listens, and end it."""
    with timed(into["listens"]):
        with timed(into["returns"]):
            engine.launch(order)
        bell.rung()
    engine.stop(order.name, 0.0)
    engine.remove(order.name)


def run(at: Places, order: Order, bell: Bell, into: list[float]) -> None:
    """Start the same by ``docker run --detach``, with the same settings; note when its program listens, and end it."""
    with timed(into):
        done = subprocess.run([at.client, *arguments(at, order)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise EngineError(f"docker run failed: {done.stderr.strip()}")
        bell.rung()
    at.containers.remove(done.stdout.strip())


def create(at: Places, order: Order, bell: Bell, into: list[float]) -> None:
    """Start the same by the two requests that this takes at least, and nothing else."""
    lot = Lot("instance", at.scope.owner, UID, "", "")
    around = body.Surroundings(at.docker.images.admitted(at.image).id, name_of(at.scope))
    made = body.container(order, lot, around)
    with timed(into):
        container = at.containers.create(order.name, made)
        at.containers.start(container, order.name)
        bell.rung()
    at.containers.remove(container)


def arguments(at: Places, order: Order) -> list[str]:
    """Return the arguments of ``docker run`` that ask for what anew asks for. Pure."""
    return [
        *("run", "--detach", "--name", order.name, "--network", name_of(order.scope), "--user", f"{UID}:{UID}"),
        *("--label", f"{labels.OWNER}={order.scope.owner}"),
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--init"),
        *("--cgroupns", "private", "--ipc", "private", "--hostname", "anew", "--workdir", "/"),
        *("--tmpfs", f"{body.TMP}:{body.ROOM},uid={UID},gid={UID}"),
        *("--log-driver", body.LOG["Type"]),
        *(part for name, value in body.LOG["Config"].items() for part in ("--log-opt", f"{name}={value}")),
        *(part for name, value in body.variables(order).items() for part in ("--env", f"{name}={value}")),
        *("--entrypoint", "", at.name, *order.command),
    ]


def take_turns(at: Places, number: int, tell: Callable[[str], None]) -> dict[str, list[float]]:
    """Start the image in all four ways in turn, again and again; return milliseconds by way."""
    out: dict[str, list[float]] = {way: [] for way in ("listens", "returns", "run", "create", "inside", "in sandbox")}
    with Bell(at.docker.inside(at.scope)) as bell, Bell("127.0.0.1") as near:
        for turn in range(1, number + 2):
            order = at.order(turn, "0.0.0.0", bell.address)
            launch(at.docker, order, bell, out)
            run(at, order, bell, out["run"])
            create(at, order, bell, out["create"])
            ours = replace(at.order(turn, "127.0.0.1", near.address))
            launch(at.embedded, ours, near, {"listens": out["in sandbox"], "returns": out["inside"]})
            tell(f"start {turn}: " + ", ".join(f"{way} {spans[-1]:.0f} ms" for way, spans in out.items()))
    at.docker.leave(at.scope)
    return {
        way: spans[1:] for way, spans in out.items()
    }  # the first one fills caches that a keeper has filled long ago
