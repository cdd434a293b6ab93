"""What a release is in a registry: texts with fixed media types, the same from every machine.

::

    REPO:HEX12  REPO:rN     the release: an index of its images and of its description
    REPO:SERVICE-HEX12 …    each image by itself, for whoever only wants to run it
    description             a manifest; its config is the release's identity (so its digest is that of the release), its
                            layers are what is known of the images, and their definitions
    statements              a manifest each, whose subject is the image, and whose one layer is the envelope
    inputs                  a manifest whose subject is the image: packages and archives that it can be made from again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from anew.build import evidence
from anew.build.epoch import architecture
from anew.core.digest import canonical, digest_bytes
from anew.core.identity import is_called, release_identity
from anew.core.names import is_label
from anew.core.reference import is_digest
from anew.errors import Conflict
from anew.model import Digest, Image, Part, Release, Service
from anew.registry.client import INDEX, MANIFEST, Described
from anew.registry.referrers import Referrer

RELEASE = "application/vnd.anew.release.v1+json"
IMAGES = "application/vnd.anew.images.v1+json"
DEFINITION = "application/vnd.anew.definition.v1+json"
INPUTS = "application/vnd.anew.inputs.v1"
EMPTY = "application/vnd.oci.empty.v1+json"
NOTHING = b"{}"  # the blob of that type
OCTETS = "application/octet-stream"
PREDICATE = "in-toto.io/predicate-type"  # of a statement: what kind it is
SERVICE, PROJECT, OF = "anew.service", "anew.project", "anew.release"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Written:
    """A manifest that was made here: its bytes, and how others name it."""

    data: bytes
    media: str

    @property
    def described(self) -> Described:
        """How others name it."""
        return Described(self.media, digest_bytes(self.data), len(self.data))


def descriptor(one: Described) -> dict[str, object]:
    """Return how a text names a blob or a manifest."""
    return {"mediaType": one.media, "digest": one.digest, "size": one.size}


def images_text(images: Sequence[Image]) -> bytes:
    """Return what is known of images, beside their manifests."""
    return canonical({"version": _FORMAT, "images": [msgspec.to_builtins(one) for one in images]})


def description(identity: bytes, images: bytes, definitions: Sequence[Described]) -> Written:
    """Return the manifest that says what a release is."""
    layers = [Described(IMAGES, digest_bytes(images), len(images)), *definitions]
    return _manifest(RELEASE, Described(RELEASE, digest_bytes(identity), len(identity)), layers)


def statement(subject: Described, one: evidence.Filed, size: int) -> tuple[Written, Referrer]:
    """Return the manifest of a statement about an image, and how it is listed."""
    layer = Described(evidence.MEDIA, one.digest, size)
    written = _manifest(evidence.MEDIA, _nothing(), [layer], subject, {PREDICATE: one.predicate})
    return written, Referrer(written.described, evidence.MEDIA, ((PREDICATE, one.predicate),))


def inputs(subject: Described, blobs: Sequence[Described]) -> tuple[Written, Referrer]:
    """Return the manifest of what an image can be made from again, and how it is listed."""
    written = _manifest(INPUTS, _nothing(), sorted(blobs, key=lambda one: one.digest), subject)
    return written, Referrer(written.described, INPUTS)


def release(of: Release, described: Described, manifest_of: Mapping[Digest, Described]) -> Written:
    """Return the index that is the release: its images by service, then its description."""
    entries: list[dict[str, Any]] = [
        {
            **descriptor(manifest_of[part.image.digest]),
            "platform": {"architecture": architecture(), "os": "linux"},
            "annotations": {SERVICE: part.service.name},
        }
        for part in of.parts
    ]
    # Whoever looks for an image of a platform must not take this one for it.
    unknown = {"architecture": "unknown", "os": "unknown"}
    entries.append({**descriptor(described), "artifactType": RELEASE, "platform": unknown})
    text = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": RELEASE,
        "manifests": entries,
        "annotations": {PROJECT: of.project, OF: of.digest},
    }
    return Written(canonical(text), INDEX)


def release_of(said: Mapping[str, Any]) -> Digest:
    """Return the digest of the release that an index says it is; "" if it says none."""
    annotations = said.get("annotations")
    return str(annotations.get(OF, "")) if isinstance(annotations, dict) else ""


def identity_of(project: str, parts: Sequence[Part]) -> bytes:
    """Return the bytes whose digest is that of a release."""
    return canonical(release_identity(project, parts))


@dataclass(frozen=True, slots=True)
class _Part:
    service: Service
    image: Digest


@dataclass(frozen=True, slots=True)
class _Identity:
    project: str
    parts: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Images:
    version: int
    images: tuple[Image, ...]


def understood(identity: bytes, images: bytes, where: str) -> tuple[str, tuple[Part, ...]]:
    """Return the project and the parts of a release.

    Raises  Conflict for what can't be understood, or says more than this anew knows of.
    """
    try:
        raw = is_called(msgspec.json.decode(identity))
        said = msgspec.convert(raw, type=_Identity)
        known = msgspec.json.decode(images, type=_Images)
    except (msgspec.MsgspecError, RecursionError) as cause:
        raise Conflict(f"the description of the release can't be read: {cause}", where=where) from cause
    if known.version != _FORMAT or not _is_within(raw, msgspec.to_builtins(said)):
        raise Conflict("a newer anew made this release", where=where, hint="use that one here as well")
    by_digest = {image.digest: image for image in known.images}
    for image in known.images:
        rungs = image.identity
        named = (rungs.input, rungs.tree, *rungs.diffs, rungs.config, rungs.manifest, *image.layers)
        if not all(map(is_digest, (*named, *image.inputs))):  # they become names of files here
            raise Conflict("the description of the release names something without a digest", where=where)
    missing = [one.service.name for one in said.parts if one.image not in by_digest]
    if missing or not said.parts:
        raise Conflict(f"the release does not say what the image of {missing or 'any service'} is", where=where)
    _require_fitting(said, where)
    return said.project, tuple(Part(one.service, by_digest[one.image]) for one in said.parts)


def _require_fitting(said: _Identity, where: str) -> None:
    """Raise Conflict unless names can be names, and each service needs others that are there, in no circle."""
    needs = {one.service.name: one.service.needs for one in said.parts}
    if len(needs) < len(said.parts) or not all(map(is_label, (said.project, *needs))):
        raise Conflict("the release has a service twice, or a name that none can have", where=where)
    if any(need not in needs for named in needs.values() for need in named):
        raise Conflict("the release needs a service that it does not have", where=where)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as cause:
        raise Conflict("services of the release need each other in a circle", where=where) from cause


def _is_within(said: Any, known: Any) -> bool:
    """Say whether all that was said was understood: what this anew has besides are its defaults."""
    match said, known:
        case dict(), dict():
            return all(name in known and _is_within(one, known[name]) for name, one in said.items())
        case list(), list() | tuple():
            return len(said) == len(known) and all(map(_is_within, said, known))
    return bool(said == known)


def _nothing() -> Described:
    return Described(EMPTY, digest_bytes(NOTHING), len(NOTHING))


def _manifest(
    kind: str,
    config: Described,
    layers: Sequence[Described],
    subject: Described | None = None,
    annotations: dict[str, str] | None = None,
) -> Written:
    text: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": descriptor(config),
        "layers": [descriptor(one) for one in layers],
    }
    if subject is not None:
        text["subject"] = descriptor(subject)
    if annotations:
        text["annotations"] = annotations
    return Written(canonical(text), MANIFEST)
