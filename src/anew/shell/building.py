"""The use cases that make things: images, their tests, and the lock of what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from anew.ports import Say
from anew.shell.journal import Journal
from anew.shell.parts import Parts
from anew.views import Built, HeadView, Tested

if TYPE_CHECKING:
    from anew.shell.making import Workshop


class Building:
    """Implements `anew.cases.Builder` for one project on this machine, but for `plan`."""

    def __init__(self, home: Path, root: Path, journal: Journal, parts: Parts) -> None:
        self._home = home
        self._root = root
        self._journal = journal
        self._parts = parts

    @cached_property
    def _workshop(self) -> Workshop:
        from anew.shell.making import Workshop
        from anew.shell.throwaways import Throwaways

        throwaways = Throwaways(self._home / "trials", self._journal.owner)
        return Workshop(self._root, self._journal, self._parts, throwaways)

    def build(self, services: Sequence[str], say: Say, *, update: bool = False) -> tuple[Built, ...]:
        """Build the images of `services`, or all."""
        spec = self._workshop.spec()
        made = self._workshop.build(spec, services, say, update=update)
        if update and any(one.engine == "docker" for one in spec.environments):
            self._parts.update_edge(say)
        return tuple(built for _, built in made)

    def test(self, services: Sequence[str], say: Say) -> tuple[Tested, ...]:
        """Build and run the image gate."""
        from anew.shell.making import require

        spec = self._workshop.spec()
        tested = self._workshop.test(spec, [p for p, _ in self._workshop.build(spec, services, say)], say)
        require(tested)
        return tested

    def lock(self, heads: Sequence[str], say: Say, *, update: bool = False) -> tuple[HeadView, ...]:
        """Resolve heads, and write the lock."""
        spec = self._workshop.spec()
        return self._parts.making(self._root).lock(spec, heads, say, update=update)

    def outdated(self, say: Say) -> tuple[HeadView, ...]:
        """Compare the lock with what there is now."""
        return self._parts.making(self._root).outdated(self._workshop.spec(), say)
