"""Secrets and generations: who holds which version, and what revoking one ends."""

from __future__ import annotations

from collections.abc import Collection

from anew.errors import Conflict, NotFound
from anew.model import Group, Scope
from anew.shell.journal import EnvironmentRow, Journal

Version = tuple[str, int]  # name and number


def holders(journal: Journal, scope: Scope, versions: Collection[Version]) -> dict[int, str]:
    """Return the generations, kept ones only, that hold one of `versions`, and which one, as ``db_password v2``."""
    held = {
        name: [f"{pin.name} v{pin.version}" for pin in state.group.seal.secrets if (pin.name, pin.version) in versions]
        for name, state in journal.instances.groups(scope).items()
    }
    out = {}
    for number, one in journal.generations.all(scope).items():
        found = [said for member in one.members for said in held.get(member.group, ())]
        if found and not one.is_retired:
            out[number] = found[0]
    return out


def revoke(journal: Journal, row: EnvironmentRow, scope: Scope, name: str, version: int) -> tuple[int, tuple[str, ...]]:
    """Make a version (0: the newest) unusable; return its number and the generations that are no way back any more.

    Raises  Conflict if what serves, or is wanted, holds it: its instances could not be replaced any more.
    """
    if not version:
        version = max((one.version for one in journal.vault.all(scope) if one.name == name), default=0)
    held = holders(journal, scope, {(name, version)})
    in_use = sorted({row.serving, row.wish} & held.keys())
    if in_use:
        raise Conflict(
            f"g{in_use[0]} holds {name} v{version}, and its instances could not be replaced without it",
            hint=f"`anew secret set {name} -e {scope.environment}` and `anew up` first; then revoke v{version}",
        )
    done = journal.vault.revoke(scope, name, version)
    return done, tuple(f"g{number}" for number in sorted(held))


def serving_group(journal: Journal, row: EnvironmentRow, service: str) -> Group:
    """Return the group of a service in the generation that serves.

    Raises  NotFound if nothing serves, or it has no such service.
    """
    generation = journal.generations.all(row.scope).get(row.serving)
    if generation is None:
        raise NotFound(f"nothing serves in {row.scope}", hint=f"`anew up -e {row.scope.environment}` brings it up")
    found = {member.service: member.group for member in generation.members}
    if service not in found:
        raise NotFound(f"{generation.name} has no service {service!r}", hint=f"it has: {', '.join(sorted(found))}")
    return journal.instances.groups(row.scope)[found[service]].group
