"""Images as others make them: layers of any kind, marks of removal, one image for several machines."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anew.build.epoch import architecture
from anew.registry.client import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, Registry
from anew.registry.wire import body_of, require

TAR, GZIP = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG, DOCKER_CONFIG = "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True, slots=True)
class Member:
    """One path of a layer; `link` is that of a hard link if `is_hard`, else of a symbolic one; None is a folder."""

    name: str
    data: bytes | None = b""
    link: str = ""
    is_hard: bool = False
    mode: int = 0o644


def layer(*members: Member | str) -> bytes:
    """Return a layer; a text is an empty file of that name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for one in members:
            member = Member(one) if isinstance(one, str) else one
            info = tarfile.TarInfo(member.name)
            info.mode, info.mtime = member.mode, 1_700_000_000
            if member.link:
                info.type = tarfile.LNKTYPE if member.is_hard else tarfile.SYMTYPE
                info.linkname = member.link
            elif member.data is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.size = len(member.data)
            tar.addfile(info, io.BytesIO(member.data or b""))
    return out.getvalue()


def folder(name: str) -> Member:
    return Member(name, None)


def blob(registry: Registry, media: str, data: bytes) -> dict[str, Any]:
    """Put a blob into a registry; return how a text names it."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with registry.answer("POST", "/blobs/uploads/") as begun:
        place = begun.location()
    with registry.answer("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", {}, body_of(data)) as found:
        require(found, 201)
    return {"mediaType": media, "digest": digest, "size": len(data)}


def image(
    registry: Registry, tag: str, layers: Sequence[bytes], *, kind: str = "oci", machine: str = "", **more: Any
) -> dict[str, Any]:
    """Put an image into a registry, as OCI with plain (`oci`) or compressed (`gzip`) layers, or as Docker does."""
    is_docker = kind == "docker"
    media = {"oci": TAR, "gzip": GZIP, "docker": DOCKER_LAYER}[kind]
    config = {
        "os": "linux",
        "architecture": machine or architecture(),
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(one).hexdigest() for one in layers]},
        "config": {"Env": ["PATH=/opt/bin"], "User": "nobody", "Entrypoint": ["/bin/never"]},
    }
    text = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if is_docker else MANIFEST,
        "config": blob(registry, DOCKER_CONFIG if is_docker else CONFIG, json.dumps(config | more).encode()),
        "layers": [blob(registry, media, one if kind == "oci" else gzip.compress(one, 1)) for one in layers],
    }
    return put(registry, tag, text)


def put(registry: Registry, tag: str, text: dict[str, Any]) -> dict[str, Any]:
    """Put a text into a registry; return how others name it."""
    data, media = json.dumps(text).encode(), str(text["mediaType"])
    registry.put(tag, data, media)
    return {"mediaType": media, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def index(
    registry: Registry, tag: str, offers: dict[str, dict[str, Any]], *, is_docker: bool = False
) -> dict[str, Any]:
    """Put an index into a registry: images by architecture."""
    entries = [{**one, "platform": {"os": "linux", "architecture": machine}} for machine, one in offers.items()]
    media = DOCKER_LIST if is_docker else INDEX
    return put(registry, tag, {"schemaVersion": 2, "mediaType": media, "manifests": entries})
