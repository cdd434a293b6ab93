"""A state folder with images for the embedded engine, on the real thing."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from anew.engines.embedded import cgroup_places
from anew.engines.embedded.compute import Embedded
from anew.engines.embedded.doctor import PORTS, checks
from anew.engines.embedded.ports import is_free
from anew.errors import NotFound
from anew.model import Digest, Identity, Image, Order, Pin, Scope
from anew.testing.conformance_bench import Bench
from anew.testing.conformance_secrets import VALUES

PYTHON = "/usr/bin/python3"
NEEDED = ("bubblewrap", "user namespaces", "overlays")
OWNER, STRANGER = "state-of-ours", "state-of-others"
LIMITS = frozenset(one for one, place in cgroup_places.places().items() if isinstance(place, cgroup_places.Place))
UNUSED = ("test", "idlelib", "lib2to3", "ensurepip", "distutils", "__pycache__", "config-*", "tkinter", "site-packages")


def digest_of(number: int) -> Digest:
    return f"sha256:{number:064x}"


def image_of(*layers: Digest, is_host: bool = False) -> Image:
    nothing = digest_of(0)
    return Image(Identity(nothing, nothing, layers, nothing, nothing), layers, is_host=is_host)


def reveal(scope: Scope, pin: Pin) -> bytes:
    """Tell the values of the conformance suite, as a vault would."""
    if pin.name not in VALUES:
        raise NotFound(f"{scope} has no secret {pin.name}")
    return VALUES[pin.name]


def require(home: Path) -> None:
    """Skip unless this machine can run instances."""
    lacking = [f"{one.name}: {one.detail}" for one in checks(home) if one.name in NEEDED and one.state != "ok"]
    if not Path(PYTHON).exists():
        lacking.append(f"{PYTHON} is not there")
    if lacking:
        pytest.skip("; ".join(lacking))


@dataclass(frozen=True)
class World:
    """A state folder, and where layers are unpacked."""

    home: Path
    layers: Path

    def engine(self, owner: str = OWNER) -> Embedded:
        return Embedded(self.home, self.tree, owner, reveal=reveal)

    def tree(self, digest: Digest) -> Path:
        return self.layers / digest.removeprefix("sha256:")

    def elsewhere(self, order: Order) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("embedded_launcher.py")
        return subprocess.Popen(
            [sys.executable, script, self.home, self.layers, OWNER, pickle.dumps(order).hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def bench(self, image: Image, mark: str) -> Bench:
        return Bench(
            client=self.engine,
            stranger=lambda: self.engine(STRANGER),
            image=image,
            port=free_port,
            elsewhere=self.elsewhere,
            python=PYTHON,
            mark=mark,
            secrets=VALUES,
            volumes=self.engine,
            limits=LIMITS,
        )


def free_port() -> int:
    return next(port for port in random.sample(PORTS, len(PORTS)) if is_free(port))


@contextmanager
def world() -> Iterator[World]:
    """Make a world below /var, as a real one is: the machine's own root then contains its state."""
    top = Path(tempfile.mkdtemp(prefix="anew-test-", dir="/var/tmp"))
    top.chmod(0o755)
    try:
        home = top / "home"
        home.mkdir(mode=0o755)
        yield World(home, top / "layers")
    finally:
        shutil.rmtree(top)


def make_layers(world: World) -> Image:
    """Copy the machine's Python into an image of two layers, the upper of which takes away a file of the lower."""
    lower, upper = world.tree(digest_of(1)), world.tree(digest_of(2))
    program = Path(PYTHON).resolve()
    library = Path("/usr/lib") / program.name
    shutil.copytree(library, lower / library.relative_to("/"), ignore=shutil.ignore_patterns(*UNUSED), symlinks=True)
    for file in (program, *_libraries(program)):
        target = lower / "usr" / file.relative_to("/usr") if file.is_relative_to("/usr") else lower / f"usr{file}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        target.chmod(0o755)
    for name in ("bin", "lib", "lib64"):
        (lower / "usr" / name).mkdir(exist_ok=True)
        (lower / name).symlink_to(f"usr/{name}")
    (lower / "etc").mkdir()
    (lower / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (lower / "etc" / "taken-away").write_text("of the lower layer\n")
    (upper / "usr" / "bin").mkdir(parents=True)
    (upper / "usr" / "bin" / "python3").symlink_to(program.name)
    (upper / "etc").mkdir()
    os.mknod(upper / "etc" / "taken-away", 0o020000, os.makedev(0, 0))
    for layer in (lower, upper):
        for one in (layer, *layer.rglob("*")):
            if one.is_dir() and not one.is_symlink():
                one.chmod(0o755)
    return image_of(digest_of(1), digest_of(2))


def _libraries(program: Path) -> tuple[Path, ...]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return tuple(Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/"))
