"""Two releases or generations in one view: what each of their services is made of, and with what it runs.

Two generations are compared by what was sealed: flags of the environment, versions of secrets, limits, sizes. A
generation beside a release stands for its release alone, for a release knows no environment.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields

from anew.core.names import GENERATION, RELEASE
from anew.errors import NotFound, SpecError
from anew.model import (
    Criterion,
    Generation,
    Group,
    Image,
    Judge,
    Limits,
    Member,
    Outcomes,
    Part,
    Policy,
    Release,
    Scope,
    Service,
    Test,
)
from anew.model.comparison import Change, Comparison, ImageComparison, ServiceComparison, Side
from anew.shell.journal import Journal

CompareImages = Callable[[Image, Image], ImageComparison]
Settings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Compared:
    """One side: who it is, the parts of its release, and the settings of each of its services."""

    side: Side
    parts: Mapping[str, Part]
    settings: Mapping[str, Settings]
    notes: tuple[str, ...] = ()


def compared(journal: Journal, scope: Scope, before: str, after: str, images: CompareImages) -> Comparison:
    """Compare two releases ("r3") or generations of `scope` ("g5").

    Raises  NotFound if there is none of that name; SpecError for a name of neither.
    """
    generations = [bool(GENERATION.match(name)) for name in (before, after)]
    is_sealed = all(generations)
    old, new = (_of(journal, scope, name, is_sealed=is_sealed) for name in (before, after))
    notes = [*old.notes, *new.notes]
    if any(generations) and not is_sealed:
        one = before if generations[0] else after
        notes.append(f"{one} stands for its release here: flags, sizes and secrets of {scope.environment} are left out")
    services = tuple(_service(name, old, new, images) for name in sorted(old.parts.keys() | new.parts.keys()))
    return Comparison(
        before=old.side,
        after=new.side,
        is_equal=all(one.became == "equal" for one in services),
        services=services,
        notes=tuple(dict.fromkeys(notes)),
    )


def _service(name: str, old: _Compared, new: _Compared, images: CompareImages) -> ServiceComparison:
    was, now = old.parts.get(name), new.parts.get(name)
    if was is None or now is None:
        return ServiceComparison(name, "added" if was is None else "removed", None, ())
    settings = tuple(_changes(old.settings[name], new.settings[name]))
    image = images(was.image, now.image) if was.image.digest != now.image.digest else None
    return ServiceComparison(name, "changed" if settings or image else "equal", image, settings)


def _changes(old: Settings, new: Settings) -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name, "") != new.get(name, ""):
            yield Change(name, old.get(name, ""), new.get(name, ""))


# ------------------------------------------------------------ one side


def _of(journal: Journal, scope: Scope, name: str, *, is_sealed: bool) -> _Compared:
    if RELEASE.match(name):
        return _of_release(name, journal.releases.named(scope.project, name))
    match = GENERATION.match(name)
    if match is None:
        hint = "write `r1 r2` or `g1 g2`; see `anew releases`"
        raise SpecError(f"`{name}` names neither a release nor a generation", where="command line", hint=hint)
    generations = journal.generations.all(scope)
    one = generations.get(int(match[1])) if len(name) < 18 else None  # more digits than anything is numbered by
    if one is None:
        known = ", ".join(g.name for g in generations.values())
        raise NotFound(f"{scope} has no generation {name}", hint=f"it has: {known or 'none'}")
    release = journal.releases.named(scope.project, one.release)
    return _of_generation(journal, scope, one, release) if is_sealed else _of_release(name, release)


def _of_release(name: str, release: Release) -> _Compared:
    return _Compared(
        Side(name, release.name, release.digest, release.at),
        {part.service.name: part for part in release.parts},
        {part.service.name: _settings(part.service) for part in release.parts},
    )


def _of_generation(journal: Journal, scope: Scope, one: Generation, release: Release) -> _Compared:
    groups, _ = journal.instances.all_groups(scope)
    plain = _of_release(one.name, release)
    settings = dict(plain.settings)
    notes = []
    for member in one.members:
        group = groups.get(member.group)
        if member.service not in settings:
            continue
        if group is None:
            notes.append(f"what was sealed for {member.service} in {one.name} is not known any more")
            continue
        settings[member.service] = {**settings[member.service], **_sealed(group, member, settings[member.service])}
    side = Side(one.name, release.name, release.digest, one.at)
    return _Compared(side, plain.parts, settings, tuple(notes))


def _sealed(group: Group, member: Member, said: Settings) -> Settings:
    """Return the settings that an environment decides; those of the service that it took away are ""."""
    seal = group.seal
    own = {
        "command": shlex.join(seal.command),
        "size": str(member.size),
        "public port": str(member.port or ""),
        "hosts": ", ".join(member.hosts),
        "max_age": _span(member.max_age),
        "rollout.on_undecided": member.policy.on_undecided,
        **_limits(seal.limits),
        **{f"flags.{name}": value for name, value in seal.flags},
        **{f"secrets.{pin.name}": f"v{pin.version}" for pin in seal.secrets},
    }
    decided = ("flags.", "limits.", "secrets.")
    return {**{name: "" for name in said if name.startswith(decided)}, **own}


def _settings(service: Service) -> Settings:
    """Return all that is said of a service besides what its image is made of, by name, as text."""
    return {
        "kind": service.kind,
        "command": shlex.join(service.command),
        "health": service.http.health if service.http else "",
        **{f"flags.{name}": value for name, value in service.flags},
        **{f"secrets.{name}": "given" for name in service.secrets},
        **_limits(service.limits),
        "needs": ", ".join(service.needs),
        "writable": ", ".join(service.writable),
        **_outcomes(service.outcomes),
        **{f"volumes.{one.name}": one.path + (" (shared)" if one.is_shared else "") for one in service.volumes},
        "schedule": service.schedule,
        "within": _span(service.within) if service.kind == "job" else "",
        "ready_after": _span(service.ready_after) if service.kind == "worker" else "",
        "singleton": "yes" if service.is_singleton else "",
        "size": str(service.size),
        "exposed": "yes" if service.is_exposed else "",
        "hosts": ", ".join(service.hosts),
        "public port": str(service.port or ""),
        "max_age": _span(service.max_age),
        **{f"before[{n}]": f"{shlex.join(t.run)} within {_span(t.within)}" for n, t in enumerate(service.before)},
        **{f"tests[{n}]": _test(one) for n, one in enumerate(service.tests)},
        **{f"rollout.{name}": text for name, text in _policy(service.policy)},
    }


def _outcomes(outcomes: Outcomes | None) -> Settings:
    return {f"outcomes.{name}": text for name, text in asdict(outcomes).items()} if outcomes else {}


def _limits(limits: Limits) -> Settings:
    every = {"memory": limits.memory, "cpu": limits.cpu, "pids": limits.pids}
    return {f"limits.{name}": f"{value:.12g}" for name, value in every.items() if value}


def _test(test: Test) -> str:
    asked = f", status {test.status}" if test.get and test.status != 200 else ""
    contains = f", contains {test.contains!r}" if test.contains else ""
    return f"{test}{asked}{contains}, at {test.at}, within {_span(test.eventually)}"


def _policy(policy: Policy) -> Iterator[tuple[str, str]]:
    for field in fields(policy):
        value = getattr(policy, field.name)
        match value:
            case tuple() if field.name == "probes":
                yield field.name, ", ".join(f"GET {one.get} every {_span(one.every)}" for one in value)
            case tuple() if field.name == "criteria":
                yield from ((f"criteria.{one.name}", _criterion(one)) for one in value)
            case tuple():
                yield field.name, ", ".join(f"{one / 10:g} %" for one in value)
            case float():
                yield field.name, _span(value)
            case Judge():
                yield from ((f"judge.{one.name}", f"{getattr(value, one.name):g}") for one in fields(value))
            case _:
                yield field.name, str(value)


def _criterion(one: Criterion) -> str:
    asked = f"GET {one.http}" if one.http else f"{one.prometheus}: good {one.good}, bad {one.bad}"
    own = (("tolerated", one.tolerated), ("unacceptable", one.unacceptable), ("acceptable", one.acceptable))
    return ", ".join((asked, *(f"{name} {value:g}" for name, value in own if value is not None)))


def _span(seconds: float) -> str:
    return f"{seconds:g} s" if seconds else ""
