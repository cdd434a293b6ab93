"""The demo's project: a copy of the example in a temporary folder, over which one release after another is laid."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anew
from anew.errors import Bug, Conflict, NotFound, SpecError, Unsupported

EXAMPLE = "examples/hello"
LOCK = "anew.lock"
PORTS = range(18080, 18180)  # below the ports that the kernel gives to clients

READY_IN_CONTAINERS = "20s"  # a launch takes thirty times as long there, and on a busy machine longer

Os = Literal["debian", "host"]
Engine = Literal["embedded", "docker"]


@dataclass(frozen=True, slots=True)
class Project:
    """Where the demo works. `cache` keeps the lock of the head from one run to the next."""

    root: Path
    example: Path
    cache: Path
    os: Os
    engine: Engine
    port: int

    def lay(self, change: str) -> None:
        """Make `root` the example with the files of one change over it; "" is the example as it stands."""
        for old in self.root.iterdir():
            if old.name != LOCK:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        left_out = shutil.ignore_patterns("__pycache__", "changes", LOCK)
        shutil.copytree(self.example, self.root, dirs_exist_ok=True, ignore=left_out)
        if change:
            shutil.copytree(self.example / "changes" / change, self.root, dirs_exist_ok=True, ignore=left_out)
        spec = self.root / "anew.yaml"
        spec.write_text(adapted(spec.read_text("utf-8"), self.os, self.port, self.engine), "utf-8")

    def recall_lock(self) -> None:
        """Begin with the head that an earlier run of the demo locked, if there was one."""
        if (self.cache / self._kept).exists():
            shutil.copyfile(self.cache / self._kept, self.root / LOCK)

    def remember_lock(self) -> None:
        """Keep the lock for the next run."""
        if (self.root / LOCK).exists():
            shutil.copyfile(self.root / LOCK, self.cache / self._kept)

    @property
    def _kept(self) -> str:
        return f"{self.os}.lock"


def adapted(spec: str, system: Os, port: int, engine: Engine = "embedded") -> str:
    r"""Return the example's spec for this demo: port, engine, and perhaps the machine's own root as the head.

    Raises  Bug if the example does not look as expected.

    >>> adapted("os:\n  base: {debian: bookworm}\nengine: embedded\nlisten: 127.0.0.1:8080\n", "host", 18080)
    'os:\n  base: {host: true}\nengine: embedded\nlisten: 127.0.0.1:18080\n'
    """
    wanted = {"listen": f"127.0.0.1:{port}", "engine": engine}
    if system == "host":
        wanted["base"] = "{host: true}"
    text = spec if engine == "embedded" else re.sub(r"\bready: \w+", f"ready: {READY_IN_CONTAINERS}", spec)
    for key, value in wanted.items():
        text, count = re.subn(rf"(?m)^(\s*{key}:) .*$", rf"\1 {value}", text)
        if count != 1:
            raise Bug(
                f"the example's spec has {count} lines `{key}:`; the demo expects one", where=f"{EXAMPLE}/anew.yaml"
            )
    return text


@contextmanager
def opened(system: Os, engine: Engine = "embedded", *, is_kept: bool) -> Iterator[Project]:
    """Make the project, for one demo at a time; the folder is removed in the end unless `is_kept`.

    Raises  SpecError for the machine's own root in a container; Conflict if another demo of this user runs; NotFound
            if the example is not there.
    """
    if (system, engine) == ("host", "docker"):
        hint = "leave out `--os host`, or `--engine docker`"
        raise SpecError("the machine's own root is no image, so no container runs on it", where="--os", hint=hint)
    cache = _cache()
    with (cache / "running").open("w") as running:
        try:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                "another demo is running", where=str(cache / "running"), hint="wait for it, or end it with ^C"
            ) from error
        top = Path(tempfile.mkdtemp(prefix="anew-demo-"))
        try:
            root = top / "hello"
            root.mkdir()
            yield Project(root, _example(), cache, system, engine, _free_port())
        finally:
            if not is_kept:
                shutil.rmtree(top)


def _example() -> Path:
    package = Path(anew.__file__).parent
    for place in (package, package.parent.parent):  # in a wheel, and in a checkout
        if (place / EXAMPLE / "anew.yaml").exists():
            return place / EXAMPLE
    raise NotFound(f"{EXAMPLE} is missing", where=str(package), hint="install anew again, or run from a checkout")


def _cache() -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anew" / "demo"
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / "running").touch()
    except OSError as error:
        hint = "set XDG_CACHE_HOME to a folder that can be written"
        raise Unsupported(f"the demo can't keep anything in {place}: {error.strerror}", hint=hint) from error
    return place


def _free_port() -> int:
    for port in PORTS:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody's; the next one may be free
            return port
    raise Conflict(f"no port from {PORTS[0]} to {PORTS[-1]} is free", hint="end the programs that listen there")
