"""The use cases that make things: images, their tests, and the lock of what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from anew import views
from anew.errors import NotFound
from anew.model import AS_USUAL
from anew.shell.ageing import overdue

if TYPE_CHECKING:
    from anew.model import Manner, Part, Release
    from anew.ports import Say
    from anew.shell.journal import Journal
    from anew.shell.making import Workshop
    from anew.shell.parts import Parts
    from anew.views import Built, HeadView, Tested


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

    def build(
        self, services: Sequence[str], say: Say, *, update: bool = False, manner: Manner = AS_USUAL
    ) -> tuple[Built, ...]:
        """Build the images of `services`, or all."""
        spec = self._workshop.spec()
        if manner.until:
            return (self._workshop.partly(spec, services, say, manner),)
        made = self._workshop.build(spec, services, say, update=update, manner=manner)
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
        return overdue(self._parts.making(self._root).lock(spec, heads, say, update=update), spec)

    def rebuild(self, release: str, say: Say, *, is_offline: bool = False) -> tuple[views.Rebuilt, ...]:
        """Make the images of releases again, each of them once, and compare."""
        spec = self._workshop.spec()
        notary = self._parts.notary(spec.project)
        trusted = tuple(dict.fromkeys(line for one in spec.environments for line in one.trust))
        chosen = self._releases(spec.project, release)
        having: dict[tuple[str, ...], list[tuple[str, Part]]] = {}
        for one in chosen:
            for part in one.parts:  # the same image may have been made from several definitions
                having.setdefault((part.image.digest, *part.image.inputs), []).append((one.name, part))
        out = []
        with self._parts.making(self._root).proving(is_offline=is_offline) as prove:
            for found in having.values():
                names, part = tuple(name for name, _ in found), found[0][1]
                service, image = part.service.name, part.image
                if not notary.explains(image, trusted):
                    # What a definition says is run here, with this machine's secrets of builds.
                    why = "no trusted key says that it was made from the definition that it names; see `anew verify`"
                    out.append(views.Rebuilt(service, image.digest, "not proved", why, (), 0.0, names))
                    continue
                say(f"making the image of {service} in {names[0]} again")
                out.append(replace(prove(service, image, say), releases=names))
        return tuple(out)

    def verify_all(self, environment: str, release: str) -> views.Verification:
        """See whether all is what it was, and who vouches for it."""
        from anew.shell import refusing, vouching

        spec = self._workshop.spec()
        settings = refusing.environment_of(spec, environment)
        notary = self._parts.notary(spec.project)
        scopes = [row.scope for row in self._journal.environments() if row.scope.project == spec.project]
        # Where something was sealed there were releases: if they are gone, the ledgers tell which.
        is_bare = bool(scopes) and release in {"", "*"} and not self._journal.releases.all(spec.project)
        releases = () if is_bare else self._releases(spec.project, release)
        images = vouching.vouched(notary, releases, settings.trust)
        return views.Verification(
            environment=environment,
            trusted=notary.trusted(settings.trust),
            images=images,
            lock=self._parts.wrong_with_lock(self._root),
            ledgers={
                scope.environment: vouching.witnessed(self._journal, self._parts.witness(scope), scope)
                for scope in scopes
            },
            seals={scope.environment: vouching.unsealed(self._journal, scope) for scope in scopes},
        )

    def signing_key(self) -> views.SigningKeyView:
        """Return the public half of the project's key."""
        project = self._parts.project(self._root)
        notary = self._parts.notary(project)
        return views.SigningKeyView(project, notary.trusted(())[0], notary.line())

    def _releases(self, project: str, release: str) -> tuple[Release, ...]:
        if release not in {"", "*"}:
            return (self._journal.releases.named(project, release),)
        every = self._journal.releases.all(project)
        if not every:
            raise NotFound(f"{project} has no release yet", hint="anew up makes the first one")
        return every if release else every[:1]

    def outdated(self, say: Say) -> tuple[HeadView, ...]:
        """Compare the lock with what there is now."""
        spec = self._workshop.spec()
        return overdue(self._parts.making(self._root).outdated(spec, say), spec)
