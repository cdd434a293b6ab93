"""From a release to a generation of an environment: its images are there, and what is sealed did not fail before."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anew.errors import GateClosed
from anew.model import Environment, Generation, Release, Scope
from anew.ports import Say
from anew.shell.collecting import admit, told_of_collected
from anew.shell.journal import Journal
from anew.shell.parts import Parts
from anew.shell.sealing import seal, secrets_of
from anew.shell.vouching import require


def sealed(
    journal: Journal, parts: Parts, scope: Scope, release: Release, settings: Environment, *, again: bool
) -> Generation:
    """Seal a release for an environment with the present versions of its secrets; return its generation.

    Raises  GateClosed if no trusted key vouches for an image, or the same seal failed here before, and not `again`;
            NotFound for an image that was collected, or a secret that has no value here.
    """
    require_trusted(parts, scope, release, settings)
    admit(parts.images(), release)
    made = seal(scope, release, settings, journal.vault.pins(scope, secrets_of(release)))
    failure = "" if again else journal.generations.failure_of(scope, made.seals)
    if failure:
        raise GateClosed(
            f"{release.name} failed here before: {failure}",
            hint=f"change it, or try the very same again with `anew up {release.name} --again`",
        )
    return journal.generations.seal(scope, release, made.members, made.seals, parts.is_free, again=again)


def require_trusted(parts: Parts, scope: Scope, release: Release, settings: Environment) -> None:
    """See that trusted keys vouch for a release, before anything of it is unpacked or run.

    Raises  GateClosed or Conflict as `anew.shell.vouching.require`; NotFound for an image that was collected.
    """
    with told_of_collected(release):
        require(parts.notary(scope.project), release, settings.trust)


def note_unheld(
    journal: Journal, unheld: Callable[[Scope], Mapping[str, str]], scope: Scope, generation: Generation, say: Say
) -> None:
    """Say, and write into the ledger, which limits of a generation its engine can't hold here: there they are none.

    `unheld` tells what the engine lacks, and why; it is asked only if there are limits.
    """
    groups = journal.instances.groups(scope)
    asked = [(m.service, groups[m.group].group.seal.limits) for m in generation.members if m.group in groups]
    limits = [(service, {"memory": one.memory, "cpu": one.cpu, "pids": one.pids}) for service, one in asked]
    lacks = unheld(scope) if any(any(one.values()) for _, one in limits) else {}
    for service, one in limits:
        for resource, why in lacks.items():
            if one[resource]:
                text = f"{generation.name}: the limit of {resource} of {service} does not hold here: {why}"
                journal.ledger.note(scope, "note", text)
                say(text)
