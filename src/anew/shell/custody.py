"""What generations hold: versions of secrets, and volumes; and what it means to them if one is taken away."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from anew import views
from anew.errors import Conflict, NotFound, Unsupported

if TYPE_CHECKING:
    from anew.model import Group, Scope
    from anew.ports import Volumes
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


def volumes(engine: Volumes | None, scope: Scope) -> tuple[views.VolumeView, ...]:
    """Return the volumes of an environment, sorted. Raises Unsupported if its engine has none."""
    return tuple(views.VolumeView(*one) for one in _of(engine, scope).volumes(scope))


def remove_volume(
    journal: Journal, engine: Volumes | None, scope: Scope, volume: tuple[str, str], *, is_forced: bool
) -> views.VolumeRemoved:
    """Remove a volume, named by its service and its name, and finish what an earlier removal left.

    Raises  Conflict if an instance has it, or, unless `is_forced`, a generation that is kept needs it; NotFound if
            there is none.
    """
    service, name = volume
    groups = {
        group
        for group, state in journal.instances.groups(scope).items()
        if state.group.service == service and any(one.name == name for one in state.group.seal.volumes)
    }
    have = [one.name for one in journal.instances.allotments(scope) if one.group in groups]
    if have:
        hint = f"bring up a release that does without it, or end all: `anew dispose -e {scope.environment}`"
        raise Conflict(f"{have[0]} has the volume {name} of {service}", where=str(scope), hint=hint)
    kept = (one for one in journal.generations.all(scope).values() if not one.is_retired)
    lost = tuple(one.name for one in kept if any(member.group in groups for member in one.members))
    if lost and not is_forced:
        what = f"{', '.join(lost)} would need the volume {name} of {service} to be gone back to"
        hint = f"`anew volumes remove {service} {name} -e {scope.environment} --force`: they would find it empty"
        raise Conflict(what, where=str(scope), hint=hint)
    sizes = {(one.service, one.name): one.size for one in volumes(engine, scope)}
    if volume in sizes:
        facts = {"service": service, "volume": name, "bytes": str(sizes[volume])}
        journal.ledger.note(scope, "wish", f"the volume {name} of {service} is to be removed", facts)
    _of(engine, scope).remove_volume(scope, service, name)
    if volume not in sizes:
        known = ", ".join(f"{name} of {service}" for service, name in sizes)
        hint = f"there is {known}" if known else "there is none"
        raise NotFound(f"{scope} has no volume {name} of {service}", where=str(scope), hint=hint)
    return views.VolumeRemoved(service, name, sizes[volume], lost)


def _of(engine: Volumes | None, scope: Scope) -> Volumes:
    if engine is None:
        raise Unsupported("its engine has no volumes", where=str(scope))
    return engine
