"""The two JSON texts of an OCI image: fixed media types, fixed history, sorted keys, no spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from anew.build.epoch import CREATED, PATH, architecture
from anew.core.digest import canonical, digest_bytes
from anew.model import Bytes, Digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX = "application/vnd.oci.image.index.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"
LAYOUT = MappingProxyType({"imageLayoutVersion": "1.0.0"})
HOST = "anew.head"  # annotation: the layers lie on top of a machine's own root


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob by digest and size."""

    digest: Digest
    size: Bytes


def config(layers: Sequence[Blob]) -> bytes:
    """Return the config of an image with these uncompressed layers, lowest first."""
    return canonical(
        {
            "architecture": architecture(),
            "config": {"Env": [f"PATH={PATH}"]},
            "created": CREATED,
            "history": [{"created": CREATED, "created_by": "anew"} for _ in layers],
            "os": "linux",
            "rootfs": {"diff_ids": [one.digest for one in layers], "type": "layers"},
        }
    )


def manifest(config_text: bytes, layers: Sequence[Blob], *, is_host: bool) -> bytes:
    """Return the manifest that names the config and the layers."""
    text: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_bytes(config_text), "size": len(config_text)},
        "layers": [{"mediaType": LAYER, "digest": one.digest, "size": one.size} for one in layers],
    }
    if is_host:
        text["annotations"] = {HOST: "host"}
    return canonical(text)
