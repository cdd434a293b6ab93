"""The story that the demo plays: four rollouts, a refusal and a rollback by hand, under load all the time.

It knows anew by `ports.Anew` alone, so it shows nothing that a user could not do.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from anew.cases import Anew
from anew.errors import AnewError, Conflict, EngineError, GateClosed, NotFound
from anew.faces.demo.passage import POLL, Passage, follow
from anew.faces.demo.project import Project
from anew.faces.demo.screen import Screen
from anew.faces.demo.story import ByHand, Outcome, Story, Told
from anew.model import Seconds
from anew.testing.load import Load
from anew.testing.load_process import LoadProcess

ENVIRONMENT = "local"
TITLES = {
    "r1": "r1 goes live",
    "r2": "r2, a friendlier greeting, rolls out in stages",
    "r3": "r3 looks healthy, but one answer in five is a 500",
    "r4": "r4 never becomes healthy here",
    "r5": "r5 fails its own test",
}
RATE = 300.0  # requests per second
MORE = 100  # requests that are watched before the first rollout and after the last, to see where they go
SETTLE: Seconds = 20.0


@dataclass(slots=True)
class Scenario:
    """Plays the story; what it sees goes to the screen, what comes out into `story`."""

    anew: Anew
    project: Project
    screen: Screen
    story: Story

    def clear(self) -> None:
        """End what an earlier demo left running."""
        if self._is_there():
            self.screen.begin("clearing up after an earlier demo")
            self.anew.dispose(ENVIRONMENT, self.screen.say)
            self.screen.end("nothing of it runs any more", is_good=True)

    def leave(self) -> None:
        """End everything that the demo started."""
        if self._is_there():
            self.screen.begin("everything is stopped")
            self.anew.dispose(ENVIRONMENT, self.screen.say)
            self.screen.clear()
            self.screen.end("nothing of the demo runs any more", is_good=True)

    def _is_there(self) -> bool:
        try:
            status = self.anew.status(ENVIRONMENT)
        except NotFound:
            return False  # no demo ever ran here
        return bool(status.keeper or status.edge or status.serving or any(one.groups for one in status.services))

    def play(self) -> None:
        """Play the whole story; it ends early only if r1 does not go live.

        Raises  what anew raises where the story does not expect it.
        """
        self.project.recall_lock()
        if self._roll_out("r1").outcome != "promoted":
            return
        self.project.remember_lock()
        with LoadProcess(self._load()) as load:
            self.screen.figures = load.figures
            try:
                self._watch_traffic(load)
                for name in ("r2", "r3", "r4"):
                    self._roll_out(name)
                self._refuse("r5")
                self._go_back(load)
                self.story.figures = load.stop()
            finally:
                self.story.figures = load.figures()
                self.screen.figures = None

    def _load(self) -> Load:
        status = self.anew.status(ENVIRONMENT)
        urls = [url for service in status.services for url in service.urls]
        edge = urlsplit(status.edge)
        if not urls or edge.port is None:
            raise EngineError("r1 is live but has no address", hint="see `anew status`", facts={"edge": status.edge})
        self.story.url = urls[0]
        return Load(
            port=edge.port, host=edge.hostname or "127.0.0.1", header=urlsplit(urls[0]).netloc, rate=RATE, seconds=600.0
        )

    def _roll_out(self, name: str) -> Told:
        self.screen.begin(TITLES[name])
        self.project.lay("" if name == "r1" else name)
        try:
            number = self._up(name)
        except GateClosed as error:
            told = Told(name, "refused", _in_full(error))
        else:
            told = _told(name, follow(self.anew, ENVIRONMENT, f"g{number}", self.screen.look))
        self._tell(told, is_good=told.outcome == ("promoted" if name in {"r1", "r2"} else "rolled back"))
        return told

    def _up(self, name: str) -> int:
        """Make the project the wish; the head is resolved again if the one kept from an earlier run is gone."""
        try:
            return self.anew.up(ENVIRONMENT, "", self.screen.say, again=True)
        except Conflict as error:
            if name != "r1":
                raise
            self.screen.say(f"{error.what}: the head is resolved again")
            self.anew.build((), self.screen.say, update=True)
            return self.anew.up(ENVIRONMENT, "", self.screen.say, again=True)

    def _refuse(self, name: str) -> None:
        self.screen.begin(TITLES[name])
        self.project.lay(name)
        before = self._sealed()
        try:
            number = self.anew.up(ENVIRONMENT, "", self.screen.say, again=True)
        except GateClosed as error:
            told = Told(name, "refused", _in_full(error), sealed=tuple(sorted(self._sealed() - before)))
        else:
            told = _told(name, follow(self.anew, ENVIRONMENT, f"g{number}", self.screen.look))
        self._tell(told, is_good=told.outcome == "refused" and not told.sealed)

    def _sealed(self) -> set[str]:
        releases = self.anew.releases()
        generations = {" ".join(text.split()[:2]) for one in releases for text in one.generations}  # without its state
        return {one.name for one in releases} | generations

    def _go_back(self, load: LoadProcess) -> None:
        self.screen.begin("rollback by hand")
        asked = time.time()
        number = self.anew.rollback(ENVIRONMENT, 0)
        passage = follow(self.anew, ENVIRONMENT, f"g{number}", self.screen.look)
        self._watch_traffic(load)
        generations = {one.generation: one.name for one in self.story.told}
        to = generations.get(f"g{number}", "") if passage.is_good else ""
        self.story.by_hand = ByHand("r2", to, asked, passage.reason)
        self.screen.end(f"back to {to or 'nothing'}, g{number}: {passage.reason}", is_good=to == "r1")

    def _watch_traffic(self, load: LoadProcess) -> None:
        enough = load.figures().answered + MORE
        end = time.monotonic() + SETTLE
        while load.figures().answered < enough and time.monotonic() < end:
            self.screen.look(self.anew.status(ENVIRONMENT))
            time.sleep(POLL)

    def _tell(self, told: Told, *, is_good: bool) -> None:
        self.story.told.append(told)
        self.screen.end(f"{told.outcome}: {told.reason}", is_good=is_good)


def _told(name: str, passage: Passage) -> Told:
    outcome: Outcome = "promoted" if passage.is_good else "rolled back"
    return Told(name, outcome, passage.reason, passage.generation, passage.stages, passage.decided)


def _in_full(error: AnewError) -> str:
    return "; ".join([error.what, *(one.what for one in error.complaints if one.what != error.what)])
