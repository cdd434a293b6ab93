"""The identity of a release: the digest of its services and their images. Numbers are names for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from anew.core.digest import digest
from anew.model import Digest, Part, Service


def release_digest(project: str, parts: Sequence[Part]) -> Digest:
    """Return the digest of a release."""
    return digest(release_identity(project, parts))


def release_identity(project: str, parts: Sequence[Part]) -> dict[str, object]:
    """Return what the digest of a release is of.

    What a service may say since releases are made counts only where it is said, so those of before keep their digests.
    """
    return {"project": project, "parts": [_identity(part) for part in parts]}


def service_identity(service: Service) -> dict[str, object]:
    """Return all that is said of a service."""
    said = asdict(service) | {"build": [step.plain() for step in service.build]}
    if not service.fetch:
        del said["fetch"]
    return said


def _identity(part: Part) -> dict[str, object]:
    return {"service": service_identity(part.service), "image": part.image.digest}
