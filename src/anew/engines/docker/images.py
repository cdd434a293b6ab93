"""Images on their way into the container engine, with their identity.

Rules
    1  What goes in is one archive that is an OCI image layout and what ``docker save`` writes, at once: each kind of
       image store takes the half that it knows, and both are made of the same blobs, byte for byte.
    2  Then the engine's own name of the image is a digest that we know already: that of its config, or, where the
       engine keeps manifests, that of its manifest. It is compared, and instances are made by it, never by a tag.
    3  The tag says that anew admitted it, and for which state; only such tags are removed, and no
       image that a container needs.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from anew.core.digest import PREFIX, canonical, digest, short
from anew.engines.docker import labels
from anew.engines.docker.client import LONG, Client
from anew.errors import Conflict, EngineError, NotFound, Unsupported
from anew.model import CHUNK, Digest, Image

REPOSITORY = "anew.internal"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_BLOCK = tarfile.BLOCKSIZE


class Blobs(Protocol):
    """Where the bytes of images are; `anew.build.blobs.Blobs` is one."""

    def verify(self, digest: Digest) -> Path:
        """Return the path of a blob whose bytes were checked; NotFound if it is missing, Conflict if corrupt."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """An image as the engine knows it."""

    id: str  # a digest; for older engines that of its config, for newer ones that of its manifest
    layers: tuple[Digest, ...]  # their diff ids, lowest first


class DockerImages:
    """Implements `anew.ports.Images` for the container engine; `owner` is the id of the state that admits them."""

    def __init__(self, client: Client, blobs: Blobs, owner: str) -> None:
        self._client = client
        self._blobs = blobs
        self._owner = owner
        self._repository = f"{REPOSITORY}/{short(digest(owner))}"
        self._known: dict[Digest, Admitted] = {}

    def has(self, digest: Digest) -> bool:
        """Say whether the engine has the image, under the name that we gave it."""
        return self._look(self.tag(digest)) is not None

    def admit(self, image: Image) -> None:
        """Bring `image` into the engine, unless it is there already; see the port.

        Raises  Unsupported for what lies on the machine's own root; EngineError if the engine has another image then.
        """
        if image.is_host:
            raise Unsupported(
                "an image on the machine's own root can't run in a container engine",
                where=image.digest,
                hint="give the service another `os`, for example {debian: bookworm}",
            )
        blobs = [self._blobs.verify(one) for one in (image.digest, image.identity.config, *image.layers)]
        if self._found(image) is not None:
            return
        tag = self.tag(image.digest)
        with self._client.asking(f"loading the image {short(image.digest)}", "POST /images/load", LONG) as api:
            said = list(api.load_image(archive(image, tag, blobs)))
        found = self._found(image)
        if found is None:
            raise EngineError(
                f"the container engine does not have the image {image.digest} that it was given: {_told(said)}",
                where=tag,
                hint="see the log of the container engine",
                facts={"command": f"docker image inspect {tag}", "config": image.identity.config},
            )

    def admitted(self, image: Image) -> Admitted:
        """Return the image as the engine knows it; admits it if need be. Raises as `admit`."""
        known = self._known.get(image.digest)
        if known is None or known.layers != image.layers or self._look(known.id) is None:
            known = self._found(image)
        if known is None:
            self.admit(image)
            known = self._found(image)
        if known is None:
            raise NotFound(f"the image {image.digest} is gone from the container engine", hint="try again")
        self._known[image.digest] = known
        return known

    def remove(self, digest: Digest) -> None:
        """Forget an image; what others call by names of their own stays.

        Raises  Conflict if a container uses it.
        """
        tag = self.tag(digest)
        users = self.users(digest)
        if users:
            raise self.in_use(digest, users)
        self._known.pop(digest, None)
        try:
            with self._client.asking(f"removing the image {tag}", f"DELETE /images/{tag}") as api:
                api.remove_image(tag)
        except NotFound:
            return
        except Conflict as cause:  # somebody has just made one of it
            raise self.in_use(digest, self.users(digest)) from cause

    def users(self, digest: Digest) -> tuple[str, ...]:
        """Return the names of the containers that need our name of an image, ended ones too; sorted.

        They are ours; and everybody's, if the image has no other name under which it would stay.
        """
        tag = self.tag(digest)
        try:
            with self._client.asking(f"looking at the image {tag}", f"GET /images/{tag}/json") as api:
                tags = api.inspect_image(tag).get("RepoTags") or ()
        except NotFound:
            return ()
        with self._client.asking("looking for users of an image", "GET /containers/json?all=true") as api:
            found = api.containers(all=True, filters={"ancestor": [tag]})
        mine = [one for one in found if len(tags) == 1 or one["Labels"].get(labels.OWNER) == self._owner]
        return tuple(sorted(str(one["Names"][0]).lstrip("/") for one in mine))

    def in_use(self, digest: Digest, users: Sequence[str]) -> Conflict:
        """Return the error that says who needs an image."""
        who = ", ".join(users) or "a container"
        facts = {"command": f"docker ps --all --filter ancestor={self.tag(digest)}"}
        return Conflict(f"the image {short(digest)} is in use by {who}", hint="end it first", facts=facts)

    def admitted_here(self) -> Mapping[Digest, str]:
        """Return the images that this state admitted and that are there, and the name of each in the engine."""
        with self._client.asking("looking at the images of the container engine", "GET /images/json") as api:
            tags = [str(tag) for one in api.images() for tag in one.get("RepoTags") or ()]
        mine = f"{self._repository}:"
        return {PREFIX + tag.removeprefix(mine): tag for tag in sorted(tags) if tag.startswith(mine)}

    def tag(self, digest: Digest) -> str:
        """Return the name under which an image is admitted; it is for people, and for `has` and `remove`."""
        return f"{self._repository}:{digest.removeprefix(PREFIX)}"

    def _found(self, image: Image) -> Admitted | None:
        """Return the image that our tag names. Raises EngineError if it is another one."""
        tag = self.tag(image.digest)
        found = self._look(tag)
        if found is None:
            return None
        if found.id not in {image.digest, image.identity.config}:
            raise EngineError(
                f"the container engine calls the image {image.digest} {found.id}, which is another one",
                where=tag,
                hint=f"somebody moved the tag: remove it (docker image rm {tag}), and try again",
                facts={"command": f"docker image inspect {tag}", "expected": image.identity.config, "actual": found.id},
            )
        if found.layers != image.layers:
            missing = next((one for one in image.layers if one not in found.layers), image.digest)
            self._blobs.verify(missing)
            raise Conflict(f"the image {image.digest} has other layers than it is said to have", where=tag)
        return found

    def _look(self, name: str) -> Admitted | None:
        try:
            with self._client.asking(f"looking at the image {name}", f"GET /images/{name}/json") as api:
                said: Mapping[str, Any] = api.inspect_image(name)
        except NotFound:
            return None
        return Admitted(_whole(str(said["Id"])), tuple(said.get("RootFS", {}).get("Layers") or ()))


def archive(image: Image, tag: str, blobs: list[Path]) -> Iterator[bytes]:
    """Yield the bytes of the archive; `blobs` are manifest, config and layers, in this order.

    Engines that know only one of the two forms find the other's files to be in nobody's way.
    """
    paths = [f"blobs/sha256/{one.removeprefix(PREFIX)}" for one in (image.digest, image.identity.config, *image.layers)]
    entry = {
        "mediaType": MANIFEST,
        "digest": image.digest,
        "size": blobs[0].stat().st_size,
        "annotations": {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag.rpartition(":")[2]},
    }
    texts = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]},
        "manifest.json": [{"Config": paths[1], "RepoTags": [tag], "Layers": paths[2:]}],
    }
    for name, text in texts.items():
        data = canonical(text)
        yield _header(name, len(data)) + data + _padding(len(data))
    for path, blob in dict(zip(paths, blobs, strict=True)).items():
        size = blob.stat().st_size
        yield _header(path, size)
        with blob.open("rb") as file:
            while part := file.read(CHUNK):
                yield part
        yield _padding(size)
    yield bytes(2 * _BLOCK)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _whole(name: str) -> Digest:
    """Return an id as a digest: Podman leaves out how it was made."""
    return name if name.startswith(PREFIX) else PREFIX + name


def _told(said: list[Any]) -> str:
    return json.dumps(said)[:500]
