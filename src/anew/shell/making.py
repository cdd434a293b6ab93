"""The use cases that make things: build, test, release, and the plan of an `up`."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anew import views
from anew.errors import GateClosed, NotFound, SpecError
from anew.model import (
    AS_USUAL,
    Part,
    Release,
    Scope,
)
from anew.shell.throwaways import GATE

if TYPE_CHECKING:
    from anew.core.trials import Skew
    from anew.model import (
        Manner,
        Service,
        Spec,
        Trial,
    )
    from anew.ports import Say
    from anew.shell.journal import Journal
    from anew.shell.observe import Observer
    from anew.shell.parts import Parts
    from anew.shell.throwaways import Throwaways
    from anew.views import Built, Plan, Tested

TESTS_AT_ONCE = 4


@dataclass(slots=True)
class Workshop:
    """Makes and tests the images of one project."""

    root: Path
    journal: Journal
    parts: Parts
    throwaways: Throwaways

    def spec(self) -> Spec:
        """Return what the project's file says now."""
        return self.parts.parse(self.root)

    def build(
        self, spec: Spec, services: Sequence[str], say: Say, *, update: bool = False, manner: Manner = AS_USUAL
    ) -> tuple[tuple[Part, Built], ...]:
        """Build the images of `services`, one after the other; steps of one image are the parallel part."""
        chosen = _chosen(spec, services)
        making, notary = self.parts.making(self.root), self.parts.notary(spec.project)
        made = []
        for service in chosen:
            image, built = making.build(spec, service, say, update=update, manner=manner)
            notary.attest(service.name, image)
            made.append((Part(service, image), built))
        return tuple(made)

    def partly(self, spec: Spec, services: Sequence[str], say: Say, manner: Manner) -> Built:
        """Build as far as a step of the one service that has it.

        Raises  NotFound if none of `services` (all of them if empty) has such a step; SpecError if several have.
        """
        chosen = _chosen(spec, services)
        having = [one for one in chosen if any(step.name == manner.until for step in one.build)]
        having = having or (list(chosen) if len(chosen) == 1 else [])
        if not having:
            known = ", ".join(sorted({step.name for one in chosen for step in one.build if step.name}))
            hint = (
                f"the named steps are: {known}"
                if known
                else "give it a `name`; or name the service, and write its number"
            )
            raise NotFound(f"there is no build step {manner.until!r}", where="anew.yaml services", hint=hint)
        if len(having) > 1:
            names = " and ".join(one.name for one in having)
            raise SpecError(
                f"{names} have a build step {manner.until!r} each",
                where="command line",
                hint=f"name the service: anew build {having[0].name} --step {manner.until}",
            )
        return self.parts.making(self.root).partly(spec, having[0], say, manner)

    def test(self, spec: Spec, parts: Sequence[Part], say: Say) -> tuple[Tested, ...]:
        """Run the image gate for every image, with all that it needs; verdicts that stand are reused, and say so.

        What is needed and not among `parts` is built.
        """
        from anew.core import trials

        self.tidy(say)
        known = {part.service.name: part for part in parts}
        needs = {service.name: service.needs for service in spec.services}
        missing = [name for name in trials.needed(tuple(known), needs) if name not in known]
        if missing:
            known |= {part.service.name: part for part, _ in self.build(spec, missing, say)}
        asked = [trials.trial_of(part, known) for part in parts]
        tested = self._judged(spec.project, [(trial, say) for trial in asked])
        notary = self.parts.notary(spec.project)
        for trial, verdict in zip(asked, tested, strict=True):
            notary.testify(trial, trials.vouched(trial), verdict)
        return tested

    def test_skew(self, project: str, old: Release, new: Release, say: Say) -> tuple[Tested, ...]:
        """Try old callers with the new versions of what they call, where both changed: they meet while traffic moves.

        Verdicts that stand are reused, and say so. Raises GateClosed if an old caller fails.
        """
        from anew.core import trials

        self.tidy(say)
        skews = trials.skews(old, new)
        tested = self._judged(
            project,
            [
                (skew.trial, _prefixed(say, skew.caller, f"the old {skew.caller} with the new {skew.callee}"))
                for skew in skews
            ],
        )
        require_skew(old, skews, tested)
        return tested

    def release(self, spec: Spec, say: Say) -> Release:
        """Build, test and record a release. Raises GateClosed if a test fails: then nothing is recorded."""
        from anew.core.identity import release_digest

        parts = []
        for part, built in self.build(spec, (), say):
            _say_findings(built, say)
            parts.append(part)
        require(self.test(spec, parts, say))
        identity = release_digest(spec.project, parts)
        return self.journal.releases.add(Release(spec.project, "", identity, tuple(parts)))

    def tidy(self, say: Say, projects: Collection[str] = (), *, is_dry: bool = False) -> tuple[str, ...]:
        """End what killed processes left in the gate, of `projects` and of those that have a trial nobody holds.

        Returns  the names of the instances that were removed, or would be. Idempotent.
        """
        found = self.throwaways.sweep(self.parts.compute, projects, is_dry=is_dry)
        if not is_dry:
            self.journal.ports.reclaim()
            if found:
                say(f"ended what a killed process left in the gate: {', '.join(found)}")
        return found

    def _judged(self, project: str, asked: Sequence[tuple[Trial, Say]]) -> tuple[Tested, ...]:
        scope = Scope(project, GATE, self.journal.owner)
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(TESTS_AT_ONCE, thread_name_prefix="gate") as pool:
            return tuple(pool.map(lambda one: self._test(scope, *one), asked))

    def _test(self, scope: Scope, trial: Trial, say: Say) -> Tested:
        from anew.core import trials

        service, image = trial.tested.service, trial.tested.image
        key = trials.key(trial)
        known = self.journal.releases.verdict(key)
        if known is not None and known.is_passed:
            callees = ", ".join(sorted({actor.part.service.name for actor in trial.actors[:-1]}))
            company = f", with {callees}," if callees else ""
            say(f"{service.name}: the verdict of {_ago(known.at)} on this very image{company} stands")
            return replace(known, is_reused=True)
        results = self._try(scope, trial, say)
        verdict = views.Tested(
            service.name, image.digest, all(not why for _, why in results), False, results, time.time()
        )
        self.journal.releases.save_verdict(key, verdict)
        return verdict

    def _try(self, scope: Scope, trial: Trial, say: Say) -> tuple[tuple[str, str], ...]:
        for actor in trial.actors:
            self.parts.images().admit(actor.part.image)
        lent: list[int] = []

        def port() -> int:
            lent.append(self.journal.ports.lend(self.parts.is_free))
            return lent[-1]

        try:
            with self.throwaways.trial(scope.project) as serial:
                return self.parts.try_image(self.parts.compute(scope), scope, trial, serial, port, say)
        finally:
            for one in lent:
                self.journal.ports.give_back(one)

    def plan(self, spec: Spec, scope: Scope, observer: Observer) -> Plan:
        """Say what `up` would do, and write nothing. Images that are not built yet are taken as ones that will pass."""
        from anew.shell.planning import planned

        return planned(spec, scope, observer, self.journal, self.parts.making(self.root))


def _say_findings(built: Built, say: Say) -> None:
    """Say that an image has what it should not have; where and what is for whoever builds it by name."""
    count = sum(not one.allowed for one in built.findings)
    if count:
        things = "one thing" if count == 1 else f"{count} things"
        say(f"the image of {built.service} has {things} that it should not have: anew build {built.service}")


def require(tested: Sequence[Tested]) -> None:
    """Raise GateClosed with every failed test, unless all passed."""
    failed = [(t.service, name, why) for t in tested for name, why in t.results if why]
    if failed:
        service, name, _ = failed[0]
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise GateClosed(
            f"the image of {service} failed its test: {name}{more}",
            where=f"anew.yaml services.{service}.tests",
            hint="nothing was sealed and nothing that runs was touched; mend it and run `anew up` again",
            facts={f"{s}: {n}": w for s, n, w in failed},
        )


def require_skew(old: Release, skews: Sequence[Skew], tested: Sequence[Tested]) -> None:
    """Raise GateClosed if an old caller failed with a new callee; `tested[n]` is the verdict on `skews[n]`."""
    failed = [(s, name, why) for s, t in zip(skews, tested, strict=True) for name, why in t.results if why]
    if failed:
        skew, name, why = failed[0]
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise GateClosed(
            f"the old {skew.caller} ({old.name}) fails with the new {skew.callee}: {name}: {why.splitlines()[0]}{more}",
            where=f"anew.yaml services.{skew.callee}",
            hint=f"they meet while traffic moves: let the new {skew.callee} serve the old {skew.caller} as well, "
            f"and take that out again once {skew.caller} has changed everywhere",
            facts={f"the old {s.caller} with the new {s.callee}: {n}": w for s, n, w in failed},
        )


def _prefixed(say: Say, service: str, who: str) -> Say:
    """Return a `say` for lines that begin with the name of a service, and shall begin with `who`."""
    return lambda line: say(f"{who}: {line.removeprefix(f'{service}: ')}")


def _chosen(spec: Spec, services: Sequence[str]) -> tuple[Service, ...]:
    known = {s.name: s for s in spec.services}
    unknown = [name for name in services if name not in known]
    if unknown:
        raise NotFound(f"there is no service {unknown[0]!r}", hint=f"the services are: {', '.join(sorted(known))}")
    return tuple(known[name] for name in services) if services else spec.services


def _ago(at: float) -> str:
    seconds = max(0, int(time.time() - at))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
