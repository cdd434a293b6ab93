"""A real registry on a free port of this machine, with its storage in a temporary folder; ended by who began it."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anew.testing.rig import free_port

PROGRAM = "docker-registry"


@dataclass(slots=True)
class Server:
    """A registry that can be killed and started again at the same place."""

    folder: Path
    port: int = field(default_factory=free_port)
    auth: str = ""  # as in its configuration
    _process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def storage(self) -> Path:
        return self.folder / "storage" / "docker" / "registry" / "v2"

    def start(self) -> None:
        """Start it; blocks until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder / 'storage'}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{self.host}', secret: the-same-after-a-restart}}\n{self.auth}"
        )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=log, stderr=log)
        end = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "the registry does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.host, timeout=1)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in {200, 401}
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a loss of power would; success if it has ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def under_way(self) -> int:
        """Return how many bytes it has of uploads that have not ended."""
        sizes = []
        for path in self.storage.glob("repositories/**/_uploads/*/data"):
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return sum(sizes)

    def blob(self, digest: str) -> Path:
        """Return where the registry keeps a blob."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.storage / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal / "data"


def need_registry() -> None:
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"needs {PROGRAM}: apt-get install docker-registry")


@contextmanager
def serving(folder: Path, auth: str = "") -> Iterator[Server]:
    """Run a registry."""
    need_registry()
    server = Server(folder, auth=auth)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def without_logins(folder: Path) -> Mapping[str, str]:
    """Return an environment in which nobody is logged in anywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "REGISTRY_", "XDG_"))}
    return {**kept, "HOME": str(folder)}
