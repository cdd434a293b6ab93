"""The PHP example on both engines: nginx and PHP-FPM, upgraded and taken back under load; nothing dropped or wrong."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from anew.testing.containers import ContainerEngine
from anew.testing.load import Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig, free_port, rig

pytestmark = pytest.mark.timeout(900)  # whoever comes first makes two or three heads of Debian packages

EXAMPLE = Path(__file__).parents[2] / "examples" / "php"
HOST = "shop.example.com"
ENGINES = {"embedded": "local", "docker": "production"}  # and the environment of the example that is on it
GREETINGS = {"local": "hello", "production": "welcome"}
PAUSE = 0.02  # seconds between two questions of a reader
ROLLOUT = "rollout: {stages: [50%], each: 1s, at_most: 3s, ready: 30s, drain: 500ms, grace: 10s, warm: WARM}"
ROOT_MODE = """awk '$2 == "/" {print substr($4, 1, 2)}' /proc/mounts | tail -1"""
WORDS = {"/": "This is version", "/style.css": "sans-serif", "/report": "The sum is 5050."}


@dataclass(frozen=True)
class Shop:
    """The example with a state of its own: both environments, each on a port of its own."""

    rig: Rig
    ports: dict[str, int]

    def write(self, version: int, *, warm: str = "10m") -> None:
        """Write the example in another version; requests may take longer than the edge waits for them."""
        shutil.copytree(EXAMPLE, self.rig.root, dirs_exist_ok=True)
        (self.rig.root / "app" / "VERSION").write_text(f"{version}\n")
        text = (EXAMPLE / "anew.yaml").read_text().replace("project: php\n", f"project: {self.rig.project}\n")
        text = re.sub(r"rollout: .*", ROLLOUT.replace("WARM", warm), text)
        for environment, port in (("local", 8080), ("production", 8081)):
            assert f"127.0.0.1:{port}" in text
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[environment]}")
        (self.rig.root / "anew.yaml").write_text(text)

    def load(self, environment: str) -> LoadProcess:
        """Return load on all kinds of connections, with two requests that take two seconds at any time."""
        port = self.ports[environment]
        return LoadProcess(Load(port, header=HOST, slow_path="/report", slow=2, rate=60.0, seconds=600.0))


@dataclass
class Readers:
    """People who look at what they are sent, on connections that are kept."""

    port: int
    greeting: str
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)  # path, version
    wrong: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._told = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(path,)) for path in WORDS]
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        for one in self._threads:
            one.join()

    def versions(self) -> set[str]:
        """Return the versions that have answered."""
        return {version for path, version in self.seen if path == "/"}

    def _read(self, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        while not self._told.wait(PAUSE):
            try:
                connection.request("GET", path, headers={"Host": HOST})
                answer = connection.getresponse()
                body = answer.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{path}: {error!r}")
                connection.close()
                continue
            version = answer.headers.get("X-Release", "")
            wanted = [WORDS[path], *([f"{self.greeting}, world", f"version {version}."] if path == "/" else [])]
            if answer.status != 200 or not all(one in body for one in wanted):
                self.wrong.append(f"{path}: {answer.status} {body}")
            self.seen[path, version] += 1
        connection.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("making a Debian head needs root and mmdebstrap")
    engine = "docker" if ContainerEngine().answers() else "embedded"
    with rig(engine=engine, project=f"php-{os.urandom(3).hex()}") as project:
        yield Shop(project, {environment: free_port() for environment in ENGINES.values()})


@pytest.mark.parametrize("engine", ENGINES)
def test_php_is_upgraded_and_taken_back_under_load_and_every_answer_is_right(shop: Shop, engine: str) -> None:
    if shop.rig.engine not in {engine, "docker"}:
        pytest.skip("no container engine answers")
    environment, project = ENGINES[engine], shop.rig
    try:
        shop.write(1)
        project.expect("up", "-e", environment, limit=600.0)
        readers = Readers(shop.ports[environment], GREETINGS[environment])
        with shop.load(environment) as load, readers:
            project.wait(lambda: "1" in readers.versions(), limit=20, what="version 1 answers")
            shop.write(2)
            project.expect("up", "-e", environment)
            project.wait(lambda: "2" in readers.versions(), limit=20, what="version 2 answers")
            project.expect("rollback", "-e", environment)
            # Those of version 1 are asked to end while they still answer: what takes longer than `drain` is theirs.
            shop.write(3, warm="0s")
            project.expect("up", "-e", environment)
            project.wait(lambda: is_over(project, environment, "web-g1"), limit=60, what="version 1 has ended")
            figures = load.stop()
        assert not readers.wrong, readers.wrong[:5]
        assert {"1", "2", "3"} == readers.versions()
        assert figures.dropped == 0, figures.drops
        assert {"200": figures.sent} == figures.by_status
        assert figures.by_kind["slow"] > 4
        ended = project.expect("logs", "-e", environment, "web-g1", "-n", "1000")
        assert ended.count("Finishing ...") == 2, ended  # PHP-FPM's word for a graceful end, of both instances
        assert inside(project, environment, ROOT_MODE).strip() == "ro"
        assert int(inside(project, environment, "id -u")) > 0
    finally:
        project.expect("dispose", "-e", environment)


def is_over(project: Rig, environment: str, group: str) -> bool:
    """Say whether nothing of a group runs any more."""
    return group not in project.expect("status", "-e", environment)


def inside(project: Rig, environment: str, line: str) -> str:
    """Return what a command says in an instance like those that serve."""
    return project.expect("run", "-e", environment, "web", "--", "sh", "-c", f"{line} 2>&1")
