"""The use cases of somebody who works on the project: comparing releases, and running a service from its sources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from anew.errors import NotFound, Unsupported
from anew.model import Release, Scope
from anew.shell import custody, refusing
from anew.shell.building import Building

if TYPE_CHECKING:
    from anew.model import Environment, Spec
    from anew.model.comparison import Comparison
    from anew.model.developed import Developed, Terminal
    from anew.shell.development import Chosen
    from anew.views import Recomputed


class Developing(Building):
    """Implements `anew.cases.Developer` for one project on this machine."""

    def compare(self, environment: str, before: str, after: str) -> Comparison:
        """Return what differs between two releases or generations."""
        from anew.shell.comparing import compared

        scope = Scope(self._parts.project(self._root), environment, self._journal.owner)
        return compared(self._journal, scope, before, after, self._parts.compare_images)

    def recompute(self, environment: str, generation: int) -> tuple[Recomputed, ...]:
        """Judge a generation again."""
        from anew.shell.recomputing import recomputed

        scope = Scope(self._parts.project(self._root), environment, self._journal.owner)
        return recomputed(self._journal, scope, generation)

    def develop(self, environment: str, service: str, terminal: Terminal) -> Developed:
        """Run a service from its sources."""
        spec = self._workshop.spec()
        settings = refusing.environment_of(spec, environment)
        scope = Scope(spec.project, environment, self._journal.owner)
        self._workshop.tidy(terminal.say)
        chosen = self._chosen(spec, scope, settings, service, terminal)
        terminal.say(f"{service} in {environment}, with the image of {chosen.origin}")
        with self._kept(chosen):
            self._parts.images().admit(chosen.group.image)
            return self._developed(spec, scope, chosen, terminal)

    def _developed(self, spec: Spec, scope: Scope, chosen: Chosen, terminal: Terminal) -> Developed:
        from anew.shell import development

        service = chosen.service.name
        known = {one.name: one for one in spec.services}
        tree = self._parts.source_tree(self._root, known.get(service, chosen.service))
        name = f"{scope.project}-{scope.environment}-{service}-dev-{os.urandom(3).hex()}"
        with (
            self._company(scope, chosen, terminal) as company,
            self._port(is_wanted=chosen.group.seal.has_port) as port,
        ):
            asked = development.order(scope, chosen, name, port, company)
            for note in development.notes(chosen, asked):
                terminal.say(note)
            with self._parts.workbench().opened(asked) as piece:
                followed = development.Following(piece, asked, chosen, tree, terminal)
                if chosen.group.seal.listens:
                    ending = "" if terminal.is_shell else "; ^C ends it"
                    terminal.say(f"its address is {development.address(chosen, asked)}{ending}")
                followed.run()
                return development.outcome(scope, followed)

    def _kept(self, chosen: Chosen) -> AbstractContextManager[None]:
        """Keep the images that are used from collections: maybe nothing else names them, or soon nothing will."""
        from anew.shell.leases import LEASES, Leases

        company = chosen.company.actors if chosen.company else ()
        images = (chosen.group.image, *(actor.part.image for actor in company))
        why = f"anew dev {chosen.service.name}, process {os.getpid()}, uses it"
        return Leases(self._home / LEASES).taken(images, why)

    def _chosen(self, spec: Spec, scope: Scope, settings: Environment, service: str, terminal: Terminal) -> Chosen:
        """Return what serves in the environment; or the newest release that has the service; or what a build makes."""
        from anew.shell.development import Chosen, from_release

        row = self._journal.environment(scope.project, scope.environment)
        engine = row.settings.engine if row is not None and row.serving else settings.engine
        if engine != "embedded":
            raise Unsupported(
                f"{scope.environment} runs on the engine {engine}, which has no place to develop in",
                where=f"anew.yaml environments.{scope.environment}.engine",
                hint="name an environment on the engine `embedded`: anew dev SERVICE -e ENV; images are the same there",
            )
        releases = [one for one in self._journal.releases.all(spec.project) if _has(one, service)]
        if row is not None and row.serving:
            generation = self._journal.generations.all(row.scope)[row.serving]
            if any(member.service == service for member in generation.members):
                origin = f"{generation.name} of {generation.release}, which serves"
                group = custody.serving_group(self._journal, row, service)
                release = self._journal.releases.named(spec.project, generation.release)
                part = next(part for part in release.parts if part.service.name == service)
                if not part.service.needs or self._parts.edge(row.scope).reading().is_up:
                    return Chosen(part.service, group, origin)
                terminal.say(f"the edge of {scope.environment} does not answer, so what {service} needs is started")
                releases = [release]
        if releases:
            origin = f"{releases[0].name}, the newest release that has it"
            return from_release(self._journal, scope, releases[0], settings, (service, origin))
        if service not in {one.name for one in spec.services}:
            known = ", ".join(sorted(one.name for one in spec.services))
            raise NotFound(f"there is no service {service!r}", hint=f"the services are: {known}")
        release = self._built(spec, service, terminal)
        return from_release(self._journal, scope, release, settings, (service, "a build, for there is no release yet"))

    def _built(self, spec: Spec, service: str, terminal: Terminal) -> Release:
        """Build a service and all that it needs; return that as a release that nothing records."""
        from anew.core import trials

        names = (service, *trials.needed((service,), {one.name: one.needs for one in spec.services}))
        parts = tuple(part for part, _ in self._workshop.build(spec, names, terminal.say))
        return Release(spec.project, "", "", parts)

    @contextmanager
    def _company(self, scope: Scope, chosen: Chosen, terminal: Terminal) -> Iterator[Mapping[str, int]]:
        """Let run what the service needs and does not serve; yield its ports by service."""
        if chosen.company is None:
            yield {}
            return
        from anew.shell.throwaways import GATE, Throwaways

        names = ", ".join(actor.part.service.name for actor in chosen.company.actors)
        terminal.say(f"starting what it needs: {names}")
        for actor in chosen.company.actors:
            self._parts.images().admit(actor.part.image)
        place = Scope(scope.project, GATE, self._journal.owner)
        lent: list[int] = []

        def port() -> int:
            lent.append(self._journal.ports.lend(self._parts.is_free))
            return lent[-1]

        try:
            with Throwaways(self._home / "trials", self._journal.owner).trial(scope.project) as serial:
                compute = self._parts.compute(place)
                with self._parts.company(compute, place, chosen.company, serial, port, terminal.say) as ports:
                    yield ports
        finally:
            for one in lent:
                self._journal.ports.give_back(one)

    @contextmanager
    def _port(self, *, is_wanted: bool) -> Iterator[int]:
        """Yield a port that is ours as long as we live; 0 if none is wanted."""
        port = self._journal.ports.lend(self._parts.is_free) if is_wanted else 0
        try:
            yield port
        finally:
            if port:
                self._journal.ports.give_back(port)


def _has(release: Release, service: str) -> bool:
    return any(part.service.name == service for part in release.parts)
