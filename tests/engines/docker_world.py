"""A state folder with an image for a container engine, on the real thing."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import embedded_world
import pytest
from embedded_world import PYTHON, reveal

from anew.build.entries import scanned
from anew.build.store import ImageStore
from anew.core.digest import digest, short
from anew.engines.docker import sockets
from anew.engines.docker.client import Client
from anew.engines.docker.compute import Docker
from anew.engines.docker.doctor import LIMITING, unheld
from anew.engines.docker.fittings import RUN
from anew.engines.embedded import proc
from anew.errors import AnewError
from anew.model import Image, Order
from anew.testing.conformance_bench import Bench, of_this_machine
from anew.testing.conformance_secrets import VALUES

MOMENTS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4)  # a launch takes a third of a second, or two
INITS = ("/usr/bin/catatonit", "/usr/libexec/podman/catatonit", "/usr/bin/tini-static", "/usr/bin/docker-init")
CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
init_path = "{init}"
[engine]
init_path = "{init}"
runtime = "{runtime}"
events_logger = "file"
"""


@dataclass(frozen=True)
class World:
    """A state folder, an image in its store, and a container engine."""

    home: Path
    client: Client
    owner: str  # one of its own: the engine is everybody's

    @property
    def store(self) -> ImageStore:
        return ImageStore(self.home / "images")

    def engine(self, owner: str = "") -> Docker:
        return Docker(self.home, self.store.blobs, owner or self.owner, reveal=reveal, client=self.client)

    def elsewhere(self, order: Order, *kind: str) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("docker_launcher.py")
        return subprocess.Popen(
            [sys.executable, script, self.home, self.client.socket, self.owner, pickle.dumps(order).hex(), *kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def bench(self, image: Image, mark: str = "") -> Bench:
        numbers = count(20_000)
        return Bench(
            client=self.engine,
            stranger=lambda: self.engine(f"{self.owner}-not"),
            image=image,
            port=lambda: next(numbers),
            elsewhere=self.elsewhere,
            python=PYTHON,
            mark=mark or f"d{uuid.uuid4().hex[:8]}",
            secrets=VALUES,
            volumes=self.engine,
            listen="0.0.0.0",  # in a network of its own
            shares_ports=False,
            moments=MOMENTS,
            processes=processes,
            limits=frozenset(LIMITING) - set(unheld(self.client)),
        )

    def clear(self, bench: Bench) -> None:
        """End all that a test has left, and the networks of its environments."""
        bench.clear()
        for scope in (bench.scope, bench.other):
            self.engine().leave(scope)
        assert bench.processes(bench.mark) == ()


def processes(token: str) -> tuple[int, ...]:
    """Return the processes of instances; Podman's own, which names its container, ends a little later."""
    return tuple(pid for pid in of_this_machine(token) if proc.name(pid) != "conmon")


@contextmanager
def world(kind: str) -> Iterator[World]:
    """Make a world on the engine of this machine, or on a Podman that is started for it."""
    top = Path(tempfile.mkdtemp(prefix="anew-test-", dir="/var/tmp"))
    top.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, top)
        client = docker_client() if kind == "docker" else stack.enter_context(podman(top / "podman"))
        stack.callback(client.close)
        made = World(top / "home", client, f"state-{uuid.uuid4().hex[:8]}")
        yield made
        for digest_ in made.store.blobs.images():
            made.engine().images.remove(digest_)
        if (given := RUN / short(digest(made.owner))).is_dir():
            shutil.rmtree(given)


def docker_client() -> Client:
    """Return the client of Docker on this machine; skip if there is none, or we may not use it."""
    client = Client()
    try:
        client.require_reach()
    except AnewError as cause:
        pytest.skip(f"no container engine: {cause.what}")
    return client


@contextmanager
def podman(top: Path) -> Iterator[Client]:
    """Start a service of Podman with a storage of its own; skip where there is none."""
    program, init = shutil.which("podman"), next((one for one in INITS if Path(one).exists()), "")
    if program is None or not init or os.geteuid() != 0:
        pytest.skip("no Podman with an init (apt-get install podman catatonit), or we are not root")
    top.mkdir()
    runtime = "crun" if shutil.which("crun") else "runc"
    (top / "containers.conf").write_text(CONF.format(init=init, runtime=runtime))
    runroot, path = Path(tempfile.mkdtemp(prefix="anew-podman-", dir="/run")), top / "podman.sock"
    line = [program, "--runtime", runtime, "--root", str(top / "root"), "--runroot", str(runroot)]
    environment = {**os.environ, "CONTAINERS_CONF": str(top / "containers.conf")}
    with (top / "log").open("wb") as log:
        service = subprocess.Popen(
            [*line, "system", "service", "--time=0", f"unix://{path}"],
            cwd=top,  # where conmon leaves a note of who was killed for memory
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 20
        while not sockets.is_socket(path):
            assert service.poll() is None, (top / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)
        yield Client(path)
    finally:
        service.terminate()
        service.wait(20)
        for mounted in (top / "root" / "overlay", top / "root"):
            subprocess.run(["umount", "-l", mounted], capture_output=True, check=False)
        shutil.rmtree(runroot)


def make_image(store: ImageStore, name: str = "python") -> Image:
    """Make an image of two layers with the machine's Python in the store."""
    if not Path(PYTHON).exists():
        pytest.skip(f"{PYTHON} is not there")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        there = embedded_world.World(Path(folder), Path(folder) / "layers")
        made = embedded_world.make_layers(there)
        layers = [store.add_layer(scanned(there.tree(one))).digest for one in made.layers]
    identity = store.add_image(digest(name), layers, name, is_host=False)
    return Image(identity, tuple(layers))
