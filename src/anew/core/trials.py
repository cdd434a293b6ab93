"""What the image gate has to try, and under which key a verdict of it is remembered.

Rules

1. A part is tried together with everything that it needs, directly or through others, from the same release.
2. Where a caller and its callee both changed, the old caller is tried with the new callee too, because it may meet it
   while traffic moves. That callee's own needs are from the new release then; all else is from the old one.
3. A verdict stands as long as nothing changed of what ran in its trial, and of the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anew.core.digest import digest
from anew.core.identity import service_identity
from anew.model import Actor, Digest, Part, Release, Test, Trial

Parts = Mapping[str, Part]  # by service


@dataclass(frozen=True, slots=True)
class Skew:
    """An old caller that is to be tried with the new version of a service that it calls."""

    callee: str
    trial: Trial

    @property
    def caller(self) -> str:
        """The service of the old caller."""
        return self.trial.tested.service.name


def by_service(release: Release) -> dict[str, Part]:
    """Return the parts of a release by the names of their services."""
    return {part.service.name: part for part in release.parts}


def needed(names: tuple[str, ...], needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return all that `names` need, directly or through others, callees first.

    Raises  KeyError for a need that `needs` does not know.

    >>> needed(("web",), {"web": ("api", "cache"), "api": ("db",), "cache": (), "db": (), "other": ()})
    ('db', 'api', 'cache')
    """
    found: dict[str, None] = {}
    begun: set[str] = set()
    # No recursion: a chain of needs may be longer than Python's stack is deep.
    ahead = [(need, False) for name in reversed(names) for need in reversed(needs[name])]
    while ahead:
        name, is_after_its_own = ahead.pop()
        if is_after_its_own:
            found[name] = None
        elif name not in begun:
            begun.add(name)
            ahead += [(name, True), *((need, False) for need in reversed(needs[name]))]
    return tuple(found)


def trial_of(part: Part, parts: Parts) -> Trial:
    """Return the trial of `part` with all that it needs out of `parts`. Raises KeyError for one that is not there."""
    actors: list[Actor] = []
    places = _cast(part.service.needs, parts, actors)
    return Trial((*actors, Actor(part, tuple(places[need] for need in part.service.needs))))


def skews(old: Release, new: Release) -> tuple[Skew, ...]:
    """Return which old callers are to be tried with which new callees, sorted: one trial for each such pair."""
    before, after = by_service(old), by_service(new)
    changed = {name for name in before.keys() & after.keys() if runs_as(before[name]) != runs_as(after[name])}
    return tuple(
        Skew(callee, _skewed(before[caller], callee, before, after))
        for caller in sorted(changed)
        if is_tried(before[caller])
        for callee in sorted(set(before[caller].service.needs) & changed)
    )


def is_tried(part: Part) -> bool:
    """Say whether there is anything to try: a job runs by the clock, so without tests there is not."""
    return part.service.kind != "job" or bool(tests_of(part))


def tests_of(part: Part) -> tuple[Test, ...]:
    """Return the tests that the image gate runs."""
    return tuple(test for test in part.service.tests if test.at == "image")


def runs_as(part: Part) -> dict[str, object]:
    """Return what an instance of `part` consists of, and nothing that leaves it as it is: size, rollout, tests."""
    service = part.service
    return {
        "service": service.name,
        "image": part.image.digest,
        "kind": service.kind,
        "command": service.command,
        "flags": service.flags,
        "health": service.http.health if service.http else "",
        "writable": service.writable,
        "volumes": service.volumes,
        "secrets": service.secrets,
        "needs": service.needs,
        **({"outcomes": service.outcomes.path} if service.outcomes and service.outcomes.file else {}),
    }


def key(trial: Trial) -> Digest:
    """Return the digest of everything that the verdict of a trial depends on."""
    return digest(
        {
            "actors": [
                {
                    **runs_as(actor.part),
                    "calls": actor.needs,
                    "ready": actor.part.service.policy.ready,
                    "ready_after": actor.part.service.ready_after,
                }
                for actor in trial.actors
            ],
            "tests": tests_of(trial.tested),
        }
    )


def vouched(trial: Trial) -> Digest:
    """Return what a signed verdict is of: the trial, and all that is said of the service that was tested.

    What no test depends on (commands before a rollout, schedules, limits, hosts) would else be anybody's to change.
    """
    return digest({"trial": key(trial), "service": service_identity(trial.tested.service)})


def _cast(names: tuple[str, ...], parts: Parts, actors: list[Actor]) -> dict[str, int]:
    """Add to `actors` the parts of `names` and all that they need; return the place of each by its service."""
    needs = {name: part.service.needs for name, part in parts.items()}
    places: dict[str, int] = {}
    for name in needed(("",), {**needs, "": names}):
        places[name] = len(actors)
        actors.append(Actor(parts[name], tuple(places[need] for need in needs[name])))
    return places


def _skewed(caller: Part, callee: str, before: Parts, after: Parts) -> Trial:
    needs = caller.service.needs
    actors: list[Actor] = []
    places = _cast(tuple(need for need in needs if need != callee), before, actors)
    # Both may stand on one service: then it runs twice, once in each version.
    places[callee] = _cast((callee,), after, actors)[callee]
    return Trial((*actors, Actor(caller, tuple(places[need] for need in needs))))
