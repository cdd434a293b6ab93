"""What the tests of collections are made of: a whole state on the disk, and processes that use it at once.

Run as a program: `collecting_state.py TASK HOME ARGUMENT`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from journal_rows import any_port

from anew.build.entries import Entry
from anew.build.stockroom import Stockroom
from anew.build.store import ImageStore
from anew.core.consequences import Change
from anew.core.digest import digest, digest_bytes
from anew.core.steps import Begin, Enter
from anew.engines.embedded.archive import Archive
from anew.engines.embedded.records import ENDED, Record
from anew.errors import EngineError, NotFound
from anew.model import Environment, Generation, Gone, Image, Member, Part, Phase, Policy, Release, Scope, Seal, Service
from anew.shell.collecting import Stores, admit, collect
from anew.shell.journal import Also, Journal
from anew.shell.leases import LEASES, Leases
from anew.shell.parts import Copies
from anew.views import Collected, Kept

DAY = 86400.0
LATER = 2 * DAY  # so far the clock of a collection is ahead: then nothing was used lately


@dataclass
class Ahead:
    """A clock that is ahead of the machine's."""

    by: float = 0.0

    def now(self) -> float:
        return time.time() + self.by

    def monotonic(self) -> float:
        return time.monotonic()


def quiet(_line: str) -> None:
    """Take a line of progress."""


class State:
    """A state folder with an image store, a journal, and an archive of instances."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = Ahead()
        self.store = ImageStore(home / "images")
        self.journal = Journal(home / "state.db", self.clock, patience=60)
        self.instances = home / "instances"
        self.projects: set[str] = set()  # that this object made releases of

    def image(self, project: str, service: str, contents: Sequence[str], *, head: str = "") -> Image:
        """Build an image as a builder does: layers with checkpoints, the head pinned."""
        inputs = digest([project, service, *contents, head])
        known = self.store.record(inputs)
        if known is not None:
            return known
        layers = []
        for content in ([f"head {head}"] if head else []) + list(contents):
            data = content.encode() * 3000
            entry = Entry(path=digest_bytes(data)[7:15].encode(), kind="file", size=len(data), content=data)
            layers.append(self.store.add_layer([entry]).digest)
            self.store.remember_checkpoint(digest(["step", content]), layers[-1:])
        if head:
            self.store.pin(layers[0], head)
        name = f"{project}-{service}-{inputs[7:19]}"
        image = Image(self.store.add_image(inputs, layers, name, is_host=False), tuple(layers))
        self.store.admit(image)
        self.store.remember(image)
        return image

    def release(self, project: str, images: Mapping[str, Image]) -> Release:
        self.projects.add(project)
        parts = tuple(Part(Service(name, "base", ("run",)), image) for name, image in sorted(images.items()))
        body = digest([project, [[part.service.name, part.image.digest] for part in parts]])
        return self.journal.releases.add(Release(project, "", body, parts))

    def up(self, release: Release, environment: str, *, keep: int = 5, outcome: str = "promoted") -> Generation:
        """Seal a release and let its rollout end, then retire as a keeper does."""
        scope = self.journal.open_environment(release.project, environment).scope
        self.journal.save_settings(scope, Environment(environment, keep=keep))
        admit(self.store, release)
        members = [Member(part.service.name, "", 1, Policy()) for part in release.parts]
        seals = [Seal(part.service.name, part.image.digest, part.service.command) for part in release.parts]
        one = self.journal.generations.seal(scope, release, members, seals, any_port)
        self.journal.wish(scope, one.number, "rollout", expect=None)
        row = self.journal.environment(scope.project, scope.environment)
        assert row is not None
        if row.serving != one.number:
            rollout = self.journal.begin(scope, Begin("rollout", row.serving, one.number, "it is wanted"))
            is_good = outcome == "promoted"
            change = Change(one.number, outcome="promoted" if is_good else "rolled back")
            also = Also(
                serving=one.number if is_good else None, wish=None if is_good else row.serving, changes=(change,)
            )
            phase: Phase = "done" if is_good else "rolled back"
            self.journal.enter(scope, Enter(rollout.id, rollout.version, phase, 0, "it ended"), also=also)
        self.retire(scope, keep)
        return one

    def retire(self, scope: Scope, keep: int) -> None:
        generations = self.journal.generations.all(scope)
        row = self.journal.environment(scope.project, scope.environment)
        assert row is not None
        served = [n for n, g in generations.items() if g.outcome == "promoted" and not g.is_retired]
        kept = {*served[-keep:], row.serving, row.wish}
        gone = [n for n, g in generations.items() if n not in kept and not g.is_retired]
        self.journal.generations.change(scope, [Change(n, is_retired=True) for n in gone])
        mapped = {
            m.group for n, g in self.journal.generations.all(scope).items() if not g.is_retired for m in g.members
        }
        for name in self.journal.instances.groups(scope):
            if name not in mapped:
                self.journal.instances.forget_group(scope, name)

    def ended(self, scope: Scope, group: str, ordinal: int, *, ago: float, owner: str = "") -> Path:
        """Write down an instance that ended some time ago."""
        at = time.time() - ago
        name = f"{scope.project}-{scope.environment}-{group}-{ordinal}"
        place = self.instances / ENDED / name
        place.mkdir(parents=True)
        owned = replace(scope, owner=owner or self.journal.owner)
        record = Record(name, group, owned, "sha256:0", ("run",), (), (), 20000, 0, at)
        (place / "record.json").write_text(record.as_json())
        (place / "output.log").write_text("it ran\n" * 1000)
        (place / "status.json").write_text('{"exit-code": 0}\n')
        for path in place.iterdir():
            os.utime(path, (at, at))
        return place

    def collect(self, *, by: float = LATER, is_dry: bool = False, copies: Sequence[Copies] = ()) -> Collected:
        """Collect with a clock that is `by` ahead."""
        works = (self.home / "work",)
        archive = Archive(self.instances, self.journal.owner)
        stores = Stores(Stockroom(self.store, works), archive, copies=copies, leases=Leases(self.home / LEASES))
        return collect(self.journal, stores, Ahead(by), quiet, is_dry=is_dry)

    def needed(self) -> dict[str, Image]:
        """Return the images that must be there, by digest: found in another way than a collection does."""
        out: dict[str, Image] = {}
        projects = self.projects | {row.scope.project for row in self.journal.environments()}
        made = [self.journal.releases.all(one) for one in sorted(projects)]
        newest = [max(ones, key=lambda one: int(one.name[1:])) for ones in made if ones]
        for row in self.journal.environments():
            releases = {one.digest: one for one in self.journal.releases.all(row.scope.project)}
            for generation in self.journal.generations.all(row.scope).values():
                if not generation.is_retired:
                    out |= {part.image.digest: part.image for part in releases[generation.digest].parts}
        for release in newest:
            out |= {part.image.digest: part.image for part in release.parts}
        return out

    def check(self, image: Image) -> None:
        """Verify every byte of an image, whatever was noted of it."""
        for blob in (image.digest, image.identity.config, *image.layers):
            self.store.blobs.mark(blob).unlink(missing_ok=True)
        self.store.admit(image)
        assert self.store.has(image.digest)


@dataclass
class Shelf:
    """An engine that keeps each image as a file in a folder, while it answers."""

    folder: Path
    answers: bool = True

    def bring(self, *images: Image) -> None:
        self.folder.mkdir(exist_ok=True)
        for image in images:
            (self.folder / image.digest).write_bytes(bytes(1000))

    def has(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def sweep(self, *, is_dry: bool) -> tuple[str, ...]:
        if not self.answers:
            raise EngineError("nobody answers")
        return ("shop-production-web-run-1",)

    def reduce(self, stay: Collection[str], *, is_dry: bool) -> tuple[tuple[Gone, ...], tuple[Kept, ...]]:
        if not self.answers:
            return (), (Kept("images on the shelf", "nobody answers"),)
        leaving = sorted(self.has() - set(stay))
        for name in () if is_dry else leaving:
            (self.folder / name).unlink()
        return tuple(Gone("copy", one, 1000) for one in leaving), ()


def blobs(home: Path) -> set[str]:
    folder = home / "images" / "blobs" / "sha256"
    return {f"sha256:{path.name}" for path in folder.iterdir()} if folder.exists() else set()


def collect_and_die(home: Path, effect: str) -> None:
    """Collect, and be killed just before an effect on the disk."""
    left = int(effect)

    def count(event: str, _arguments: object) -> None:
        nonlocal left
        if event in {"os.rename", "os.remove", "os.rmdir"}:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    state = State(home)
    sys.addaudithook(count)
    state.collect()


def collect_for(home: Path, seconds: str) -> None:
    """Collect again and again; what was not used for a second goes."""
    end, freed = time.monotonic() + float(seconds), 0
    state = State(home)
    while time.monotonic() < end:
        freed += state.collect(by=3600.0 - 1.0).freed
        time.sleep(random.uniform(0.0, 0.05))
    sys.stdout.write(json.dumps(freed))


def build_for(home: Path, seconds: str) -> None:
    """Build or recognise images again and again, release them, and look whether all of each is there."""
    end, lost = time.monotonic() + float(seconds), 0
    state = State(home)
    project = f"p{os.getpid()}"
    count = 0
    while time.monotonic() < end:
        number = random.randrange(8)
        image = state.image("shared", "web", [f"low {number % 3}", f"high {number}"])
        time.sleep(random.uniform(0.0, 0.3))
        state.store.admit(image)
        time.sleep(random.uniform(0.0, 0.3))
        release = state.release(project, {"web": image})
        if release.name == max(state.journal.releases.all(project), key=lambda one: int(one.name[1:])).name:
            state.check(image)
            count += 1
        else:  # of an old release the image may be collected at any time
            try:
                state.up(release, "local", keep=1)
            except NotFound as error:
                assert "it was collected" in error.what  # noqa: PT017 - a program, not a test
                lost += 1
            else:
                state.check(image)
                count += 1
        time.sleep(random.uniform(0.0, 0.1))
    sys.stdout.write(json.dumps([count, lost]))


if __name__ == "__main__":
    task, place, argument = sys.argv[1:]
    {"die": collect_and_die, "collect": collect_for, "build": build_for}[task](Path(place), argument)
