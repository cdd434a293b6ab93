"""One project on a container engine of its own: brought up, kept, put under load, and looked at past anew."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from subjects.leftovers import in_containers
from subjects.own_engine import OwnEngine
from subjects.watch import Watch

from anew.errors import AnewError, EngineError
from anew.model import Seconds
from anew.testing.containers import name_of
from anew.testing.load import Figures, Load
from anew.testing.load_process import LoadProcess
from anew.testing.rig import Rig

SOUND_WITHIN: Seconds = 120.0
NEVER = "0001-01-01"


@dataclass(slots=True)
class Seen:
    """What the load and the watch saw of one misfortune."""

    figures: Figures = field(default_factory=Figures)
    away: Seconds = 0.0

    def __str__(self) -> str:
        errors = sum(count for status, count in self.figures.by_status.items() if status >= "500")
        told = f"requests {self.figures.sent}, dropped {self.figures.dropped}, 5xx {errors}"
        return f"{told}, no good answer for {self.away:.2f} s at most"


@dataclass(slots=True)
class Ground:
    """Where misfortunes happen: a service of two instances; releases are written one after the other."""

    project: Rig
    engine: OwnEngine
    releases: int = 0
    is_outlived: bool = False  # the engine was started so that its containers outlive it
    mark: int = 0  # the newest event of the ledger when the misfortune began

    def write(self, **changes: Any) -> str:
        """Write the next release; return the name of the generation that it will be."""
        self.releases += 1
        self.project.write(f"r{self.releases}", **changes)
        return f"g{self.releases}"

    def begin(self) -> None:
        """Bring the first release up."""
        self.write()
        self.project.expect("up", limit=300.0)
        self.require_sound()

    def engine_as(self, *, is_outlived: bool) -> None:
        """Start the engine anew if its containers do not end, or live on, as they shall when it is gone."""
        if self.is_outlived != is_outlived:
            self.engine.stop()
            self.engine.start(is_outlived=is_outlived)
            self.is_outlived = is_outlived
            self.project.expect("serve", "--until-idle", limit=SOUND_WITHIN)
            self.require_sound()
        self.remember()

    def instances(self) -> dict[str, str]:
        """Return the ids of the containers of instances that run, by name."""
        found = self.engine.api.containers(self.project.owner())
        return {
            name_of(one): str(one["Id"])
            for one in found
            if one["Labels"]["anew.kind"] == "instance" and one["State"] == "running"
        }

    def inspected(self, container: str) -> dict[str, Any]:
        """Return all that the engine knows of one container."""
        found: dict[str, Any] = self.engine.api.ask("GET", f"/containers/{container}/json")
        return found

    def pids(self) -> dict[str, int]:
        """Return the first processes of all containers that run, the edge's too, by name."""
        found = (one for one in self.engine.api.containers(self.project.owner()) if one["State"] == "running")
        return {name_of(one): int(self.inspected(one["Id"])["State"]["Pid"]) for one in found}

    def wrong(self) -> list[str]:
        """Say what is not as an undisturbed environment is; nothing if all is well."""
        status = self.project.status()
        groups = [g for s in status["services"] for g in s["groups"]]
        wrong = []
        if not status["serving"] or (status["rollout"] and not status["rollout"]["is_over"]) or status["warm"]:
            wrong.append(f"{status['serving'] or 'nothing'} serves, rollout {status['rollout']}, warm {status['warm']}")
        if [(g["generation"], g["weight"], g["ready"]) for g in groups] != [(status["serving"], 1000, 2)]:
            wrong.append(f"the groups are {groups}")
        wrong += in_containers(self.project, 2)
        for name, container in self.instances().items():
            said = self.inspected(container)
            if said["RestartCount"] or not said["State"]["FinishedAt"].startswith(NEVER):
                wrong.append(f"{name} was restarted")
        return wrong

    def require_sound(self, old: dict[str, str] | None = None) -> Seconds:
        """Wait until all is well, and none of the `old` instances runs; return how long that took.

        Raises  EngineError with what is wrong when it takes longer than `SOUND_WITHIN`.
        """
        begun = time.monotonic()
        while True:
            wrong = self.wrong()
            now = self.instances()
            if old and (same := set(old) & set(now) | set(old.values()) & set(now.values())):
                wrong.append(f"those of before run: {sorted(same)}")
            if not wrong:
                return time.monotonic() - begun
            if time.monotonic() - begun > SOUND_WITHIN:
                raise EngineError("; ".join(wrong), facts={"keeper": self.project.keeper_log()[-4000:]})
            time.sleep(0.2)

    def history(self) -> str:
        """Return what the ledger says has happened since the misfortune began."""
        return "\n".join(str(one["text"]) for one in self._events() if one["number"] > self.mark)

    def remember(self) -> None:
        """Let `history` begin here."""
        self.mark = max(int(one["number"]) for one in self._events())

    def _events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.project.expect("history", "-n", "100", "--json"))
        return found

    @contextmanager
    def kept(self) -> Iterator[subprocess.Popen[bytes]]:
        """Keep the environment, as the keeper that is a service of the machine does."""
        keeper = self.project.begin("serve")
        try:
            self.project.wait(
                lambda: keeper.poll() is not None or not self.project.is_idle(), limit=30, what="a keeper"
            )
            yield keeper
            if keeper.poll() is not None:
                raise AnewError(
                    f"the keeper ended with {keeper.returncode}", facts={"log": self.project.keeper_log()[-3000:]}
                )
        finally:
            keeper.terminate()
            keeper.wait(30)

    @contextmanager
    def under_load(self) -> Iterator[Seen]:
        """Send load meanwhile, and watch how long no good answer comes."""
        seen = Seen()
        load = Load(self.project.port, rate=60.0, keep_alive=4, fresh=2, slow=0, seconds=600.0)
        with Watch(self.project.port) as watch, LoadProcess(load) as traffic:
            time.sleep(1.0)  # that it has begun when the misfortune comes
            yield seen
            time.sleep(1.0)  # that it is seen to go on afterwards
            seen.away = watch.away
            seen.figures = traffic.stop()
