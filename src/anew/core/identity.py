"""The identity of a release: the digest of its services and their images. Numbers are names for people.

An identity has the words that were in use when releases were first made, or each of them would become another one. Two
keys of a rollout are called otherwise today: `was_called` and `is_called` go from one spelling to the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Literal

from anew.core.digest import canonical, digest
from anew.model import Digest, Limits, OnUndecided, Part, Policy, Release, Seal, Service

_AT_FIRST = frozenset({"stages", "each", "at_most", "on_undecided", "ready", "warm", "drain", "grace", "control"})
_UNSAID = "advance"  # what stood there where nothing was said
_ONCE: Mapping[OnUndecided | Literal[""], str] = MappingProxyType({"": _UNSAID, "rollback": "roll back"})
_TODAY: Mapping[str, str] = MappingProxyType({once: today for today, once in _ONCE.items()})


def release_digest(project: str, parts: Sequence[Part]) -> Digest:
    """Return the digest of a release."""
    return digest(release_identity(project, parts))


def is_as_made(release: Release) -> bool:
    """Say whether a release has the services and images that its digest is of; an older anew told less of a service."""
    told = release_identity(release.project, release.parts)
    return release.digest in {digest(told), digest(_as_before(told))}


def _as_before(told: dict[str, object]) -> dict[str, object]:
    """Return the identity of a release as it was told before services had limits and ages, where they have none."""
    later = {"limits": asdict(Limits()), "max_age": 0.0}
    parts: list[dict[str, Any]] = json.loads(canonical(told))["parts"]
    for part in parts:
        part["service"] = {name: value for name, value in part["service"].items() if later.get(name, ...) != value}
    return {**told, "parts": parts}


def seal_digest(seal: Seal) -> Digest:
    """Return the digest of a seal; what came later counts where it is said, so groups of before keep theirs."""
    said = asdict(seal)
    if not seal.is_asked:
        del said["is_asked"]
    return digest(said)


def release_identity(project: str, parts: Sequence[Part]) -> dict[str, object]:
    """Return what the digest of a release is of.

    What a service may say since releases are made counts only where it is said, so those of before keep their digests.
    """
    return {"project": project, "parts": [_identity(part) for part in parts]}


def service_identity(service: Service) -> dict[str, object]:
    """Return all that is said of a service."""
    build = [step.plain() for step in service.build]
    said = asdict(service) | {"build": build, "policy": was_called(service.policy)}
    for name in ("fetch", "outcomes"):
        if not said[name]:
            del said[name]
    return said


def _identity(part: Part) -> dict[str, object]:
    return {"service": service_identity(part.service), "image": part.image.digest}


def was_called(policy: Policy) -> dict[str, object]:
    """Return a policy as plain data, in the words of when releases were first made.

    Of what came later there is only what is said.
    """
    said, unsaid = asdict(policy), asdict(Policy())
    said["judge"] = {name: value for name, value in said["judge"].items() if value != unsaid["judge"][name]}
    unsaid["judge"] = {}
    said = {name: value for name, value in said.items() if name in _AT_FIRST or value != unsaid[name]}
    on_undecided = said.pop("on_undecided")
    return said | {"within": said.pop("at_most"), "undecided": _ONCE.get(on_undecided, on_undecided)}


def is_called(value: Any, *, unsaid: OnUndecided | Literal[""] = "") -> Any:
    """Return plain data with each policy in it in the words of today; what has them already stays as it is.

    `unsaid` is what takes the place of `advance`, which stood there too where nothing was said: of a release that is
    still so, but a generation was sealed with it, and goes on as it was sealed.

    >>> is_called({"policy": {"within": 60.0, "undecided": "roll back"}})
    {'policy': {'at_most': 60.0, 'on_undecided': 'rollback'}}
    """
    match value:
        case {"within": at_most, "undecided": str(once), **rest}:
            today = _TODAY.get(once, once) if once != _UNSAID else unsaid
            return rest | {"at_most": at_most, "on_undecided": today}
        case dict():
            return {name: is_called(one, unsaid=unsaid) for name, one in value.items()}
        case list():
            return [is_called(one, unsaid=unsaid) for one in value]
    return value
