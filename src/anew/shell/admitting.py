"""From a release to a generation of an environment: its images are there, and what is sealed did not fail before."""

from __future__ import annotations

from anew.errors import GateClosed
from anew.model import Environment, Generation, Release, Scope
from anew.shell.collecting import admit
from anew.shell.journal import Journal
from anew.shell.parts import Parts
from anew.shell.sealing import seal, secrets_of


def sealed(
    journal: Journal, parts: Parts, scope: Scope, release: Release, settings: Environment, *, again: bool
) -> Generation:
    """Seal a release for an environment with the present versions of its secrets; return its generation.

    Raises  GateClosed if the same seal failed here before, and not `again`; NotFound for an image that was collected,
            or a secret that has no value here.
    """
    admit(parts.images(), release)
    made = seal(scope, release, settings, journal.vault.pins(scope, secrets_of(release)))
    failure = "" if again else journal.generations.failure_of(scope, made.seals)
    if failure:
        raise GateClosed(
            f"{release.name} failed here before: {failure}",
            hint=f"change it, or try the very same again with `anew up {release.name} --again`",
        )
    return journal.generations.seal(scope, release, made.members, made.seals, parts.is_free, again=again)
