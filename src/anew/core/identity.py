"""The identity of a release: the digest of its services and their images. Numbers are names for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from anew.core.digest import canonical, digest
from anew.model import Digest, Limits, Part, Release, Service


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


def release_identity(project: str, parts: Sequence[Part]) -> dict[str, object]:
    """Return what the digest of a release is of.

    What a service may say since releases are made counts only where it is said, so those of before keep their digests.
    """
    return {"project": project, "parts": [_identity(part) for part in parts]}


def service_identity(service: Service) -> dict[str, object]:
    """Return all that is said of a service."""
    said = asdict(service) | {"build": [step.plain() for step in service.build]}
    policy: dict[str, object] = said["policy"]
    for told, names in ((said, ("fetch", "outcomes")), (policy, ("probes", "criteria"))):
        for name in names:
            if not told[name]:
                del told[name]
    return said


def _identity(part: Part) -> dict[str, object]:
    return {"service": service_identity(part.service), "image": part.image.digest}
