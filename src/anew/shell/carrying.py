"""The use cases that bring releases from machine to machine, by way of a registry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anew.core.digest import PREFIX, canonical, short
from anew.errors import SpecError
from anew.shell.building import Building

if TYPE_CHECKING:
    from anew.core.reference import Reference, Repository
    from anew.model import Spec
    from anew.ports import Say
    from anew.views import Carried


class Carrying(Building):
    """Implements `anew.cases.Carrier` for one project on this machine."""

    def push(self, release: str, to: str, say: Say, *, with_inputs: bool = False) -> Carried:
        """Have a release in a repository."""
        from anew.core.identity import release_identity

        spec = self._workshop.spec()
        where = _repository(spec, to, "--to")
        chosen = self._releases(spec.project, release)[0]
        identity = canonical(release_identity(chosen.project, chosen.parts))
        say(f"pushing {chosen.name} of {spec.project} to {where}")
        return self._parts.carriage().push(chosen, identity, where, say, with_inputs=with_inputs)

    def pull(self, release: str, source: str, say: Say, *, with_inputs: bool = False) -> Carried:
        """Have a release of a repository here."""
        spec = self._workshop.spec()
        asked, expected = _asked(spec, release, source)
        say(f"pulling {asked}")
        carriage = self._parts.carriage()
        found, pulled = carriage.pull(asked, say, project=spec.project, expected=expected, with_inputs=with_inputs)
        is_new = self._journal.releases.known(found.project, found.digest) is None
        return replace(pulled, release=self._journal.releases.add(found).name, is_new=is_new)


def _repository(spec: Spec, said: str, option: str) -> Repository:
    from anew.core.reference import repository

    if said:
        return repository(said, f"command line {option}")
    if spec.registry:
        return repository(spec.registry, "anew.yaml registry")
    example = f"localhost:5000/{spec.project}"
    raise SpecError(
        "it is not said which repository of a registry",
        where="anew.yaml registry",
        hint=f"write `registry: {example}` into anew.yaml, or `{option} {example}`",
    )


def _asked(spec: Spec, release: str, source: str) -> tuple[Reference, str]:
    """Return what to ask a registry for, and the digest that the release must have, if that was said."""
    from anew.core.reference import Reference, is_digest, is_tag, reference

    if "/" in release:
        if source:
            what = f"{release} says a repository, and so does `--from {source}`"
            raise SpecError(what, where="command line", hint="say it once")
        return reference(release), ""
    where = _repository(spec, source, "--from")
    if is_digest(release):
        return Reference(where, short(release)), release
    if not is_tag(release) or release.startswith(PREFIX):
        what = f"`{release}` names no release"
        raise SpecError(what, where="command line", hint="write `r1` as it is called there, or its digest")
    return Reference(where, release), ""
