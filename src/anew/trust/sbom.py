"""The bill of materials of an image, in CycloneDX 1.6: the same image has the same one, byte for byte."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from itertools import chain, count

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from anew.core.digest import PREFIX
from anew.model import Digest
from anew.trust.installed import Distribution, Installed

PREDICATE = "https://cyclonedx.org/bom"
_SPACE = uuid.UUID("6f5f1f6e-6a4f-5c6b-9a55-5d8f0c0f3d1a")  # of serial numbers: made up once


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that a bill is of."""

    name: str
    manifest: Digest
    tree: Digest
    made: float  # the source epoch of what is built, UTC seconds


def bill(subject: Subject, distribution: Distribution, installed: Iterable[Installed]) -> dict[str, object]:
    """Return the bill of materials, ready to be a predicate."""
    serial = uuid.uuid5(_SPACE, subject.tree)
    image = Component(
        name=subject.name,
        type=ComponentType.CONTAINER,
        version=subject.manifest,
        bom_ref="image",
        hashes=[_hash(subject.manifest)],
        properties=[Property(name="anew:tree", value=subject.tree)],
    )
    tool = Component(name="anew", type=ComponentType.APPLICATION, version=version_of("anew"), bom_ref="anew")
    components = _components(installed, distribution)
    if distribution.id:
        components.append(
            Component(
                name=distribution.id,
                type=ComponentType.OPERATING_SYSTEM,
                version=distribution.version or None,
                bom_ref="distribution",
            )
        )
    made = datetime.fromtimestamp(subject.made, UTC)
    metadata = BomMetaData(component=image, timestamp=made, tools=ToolRepository(components=[tool]))
    bom = Bom(serial_number=serial, metadata=metadata, components=components)
    bom.register_dependency(image, components)
    read: dict[str, object] = json.loads(JsonV1Dot6(bom).output_as_string())
    return read


def _components(installed: Iterable[Installed], distribution: Distribution) -> list[Component]:
    """Return what is installed; what has one name in common is counted, for each needs a reference of its own."""
    found: dict[str, Component] = {}
    for one in sorted(set(installed)):
        url = _url(one, distribution)
        plain = f"{url}#{one.path}" if one.path else str(url)
        ref = next(name for name in chain((plain,), (f"{plain}#{n}" for n in count(2))) if name not in found)
        found[ref] = _component(one, url, ref)
    return list(found.values())


def _url(one: Installed, distribution: Distribution) -> PackageURL:
    namespace, _, name = one.name.rpartition("/")
    qualifiers = {}
    if one.kind == "deb":
        namespace = distribution.id or "debian"
        qualifiers["arch"] = one.architecture
        if distribution.id and distribution.version:
            qualifiers["distro"] = f"{distribution.id}-{distribution.version}"
    return PackageURL(one.kind, namespace or None, name, one.version, {k: v for k, v in qualifiers.items() if v})


def _component(one: Installed, url: PackageURL, ref: str) -> Component:
    return Component(
        name=one.name,
        type=ComponentType.LIBRARY,
        version=one.version,
        bom_ref=ref,
        purl=url,
        supplier=OrganizationalEntity(name=one.supplier) if one.supplier else None,
        hashes=[_hash(one.digest)] if one.digest else (),
        licenses=_licenses(one.license),
        properties=[Property(name="anew:path", value=f"/{one.path}")] if one.path else (),
    )


def _licenses(text: str) -> Iterable[LicenseExpression | DisjunctiveLicense]:
    return (LicenseFactory().make_from_string(text),) if text else ()


def _hash(digest: Digest) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix(PREFIX))
