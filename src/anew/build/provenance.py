"""What is said of how an image was made, as SLSA provenance, and of what came of its tests, as an in-toto test result.

Source  SLSA 1.0, Provenance (predicate, and what its parts mean); in-toto Attestation Framework, Test Result v0.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from anew.build.definition import Definition, HeadRecord
from anew.build.epoch import architecture
from anew.core.digest import PREFIX
from anew.model import Digest, Image, Trial

if TYPE_CHECKING:
    from anew.views import Tested

PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
_BUILD = "urn:anew:build:1"  # what the parameters mean
_BUILDER = "urn:anew:builder:local"


def provenance(image: Image, definition: Definition | None) -> dict[str, object]:
    """Return how an image was made; `definition` is None for one whose anew kept none."""
    from importlib.metadata import version  # noqa: PLC0415 - what only reads it needs none of it

    external: dict[str, object] = {}
    inputs: list[dict[str, object]] = []
    if definition is not None:
        head = definition.head
        external = {
            "project": definition.project,
            "service": definition.service,
            "head": {
                "kind": head.kind,
                "name": head.name,
                "suite": head.suite,
                "packages": list(head.named),
                "path": head.path,
            },
            "steps": [step.plain() for step in definition.steps],
        }
        inputs = [_input("definition", image.inputs[0]), *_of_head(definition.head)]
        inputs += [_input(f"/{item.target}", item.content) for item in definition.items if item.kind == "file"]
        inputs += [{**_input(url, content), "uri": url} for url, content in definition.fetched]
        for number, supply in enumerate(definition.supplies):
            inputs += [_input(f"files of step {number}", supply.files)] if supply.files else []
            inputs += _of_head(supply.tool) if supply.tool else []
    return {
        "buildDefinition": {
            "buildType": _BUILD,
            "externalParameters": external,
            "internalParameters": {
                "architecture": architecture(),
                "inputDigest": image.identity.input,
                "isReproducible": image.is_reproducible,
            },
            "resolvedDependencies": inputs,
        },
        "runDetails": {
            "builder": {"id": _BUILDER, "version": {"anew": version("anew")}},
            "byproducts": [_input("tree", image.identity.tree)],
        },
    }


def named(predicate: Mapping[str, object]) -> tuple[str, ...]:
    """Return the SHA-256 of every definition that a provenance names; () if it is none that can be read."""
    try:
        inputs = predicate["buildDefinition"]["resolvedDependencies"]  # type: ignore[index]
        return tuple(one["digest"]["sha256"] for one in inputs if one["name"] == "definition")
    except (KeyError, TypeError):
        return ()


def test_result(trial: Trial, key: Digest, tested: Tested) -> dict[str, object]:
    """Return what came of the tests of the last actor of `trial`, whose verdict is remembered under `key`."""
    passed = [name for name, why in tested.results if not why]
    failed = [name for name, why in tested.results if why]
    return {
        "result": "PASSED" if tested.is_passed else "FAILED",
        "configuration": [_input(actor.part.service.name, actor.part.image.digest) for actor in trial.actors],
        "passedTests": passed,
        "failedTests": failed,
        "trial": key,
    }


def has_passed(predicate: Mapping[str, object], keys: Sequence[Digest]) -> bool:
    """Say whether a test result is that all passed, in one of these trials."""
    return predicate.get("result") == "PASSED" and not predicate.get("failedTests") and predicate.get("trial") in keys


def _of_head(head: HeadRecord) -> list[dict[str, object]]:
    from packageurl import PackageURL  # noqa: PLC0415 - takes long to import

    named = [("layer", head.layer), ("archive", head.archive), *(("image", one) for one in head.blobs)]
    found = [_input(name, digest) for name, digest in named if digest]
    for line in head.packages:
        name, version_, architecture_, digest, _ = line.split(" ")
        one = _input(f"{name}_{version_}_{architecture_}.deb", digest)
        url = PackageURL("deb", head.kind, name, version_, {"arch": architecture_})
        found.append({**one, "uri": str(url)} if digest else one)
    return found


def _input(name: str, digest: Digest) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": digest.removeprefix(PREFIX)}}
