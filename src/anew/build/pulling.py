"""A release, fetched from a registry. Nothing of it is registered before all of it is here and is what it says.

A registry is believed nothing but the digest that is asked for, and by a tag not even that: a release that calls itself
by its digest has it, its images have the manifests that it names, these the blobs that they name, byte for byte.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anew.build import carried
from anew.build import definition as definitions
from anew.build.downloading import fetch
from anew.build.epoch import architecture
from anew.build.evidence import MEDIA, Evidence
from anew.build.oci import CONFIG, HOST, LAYER
from anew.build.store import ImageStore
from anew.core.digest import short
from anew.core.reference import Reference
from anew.errors import Conflict, EngineError, NotFound, Unsupported
from anew.model import Bytes, Digest, Image, Part, Release
from anew.ports import Say
from anew.registry import referrers
from anew.registry.client import MANIFEST, Described, Registry, Text, described
from anew.registry.notes import Notes
from anew.registry.referrers import Referrer
from anew.registry.together import together
from anew.registry.wire import Wire
from anew.views import Carried

_MOST_SAID: Bytes = 64 << 20  # of one statement, or of a description
_MOST_STATEMENTS = 1000  # of one image
_MOST_SAID_OF_ONE: Bytes = 512 << 20  # by all statements about an image


@dataclass(frozen=True, slots=True)
class _Found:
    """An image as the registry has it."""

    image: Image
    service: str
    manifest: Text
    blobs: tuple[Described, ...]


@dataclass(slots=True)
class _Course:
    """One pull: the repository, and what came of it so far."""

    registry: Registry
    store: ImageStore
    say: Say
    fetched: Bytes = 0
    size: Bytes = 0

    def blobs(self, wanted: Sequence[Described]) -> None:
        """Have all these blobs in the store. Raises EngineError at once if there is no room for them."""
        unlike = {one.digest: one for one in wanted}.values()
        self._require_room(unlike)
        self.size += sum(one.size for one in unlike)
        self.fetched += fetch(self.registry, self.store, wanted)

    def _require_room(self, wanted: Iterable[Described]) -> None:
        store, needed = self.store, 0
        for one in wanted:
            if not store.blobs.are_whole([one.digest]):
                needed += one.size
                with suppress(FileNotFoundError):
                    needed -= min(one.size, store.partial(one.digest).stat().st_size)
        if not needed:
            return
        store.root.mkdir(parents=True, exist_ok=True)
        room = os.statvfs(store.root)
        if room.f_bavail * room.f_frsize < needed:
            raise EngineError(
                f"there is no room for {needed} bytes from {self.registry}",
                where=str(store.root),
                hint="free some space there: anew gc",
                facts={"command": f"df -h {store.root}"},
            )

    def little(self, *wanted: Described) -> tuple[bytes, ...]:
        """Return small blobs, which are in the store then."""
        for one in wanted:
            if one.size > _MOST_SAID:
                raise Conflict(f"{short(one.digest)} says that it is {one.size} bytes long", where=str(self.registry))
        self.blobs(wanted)
        return tuple(self.store.blobs.verify(one.digest).read_bytes() for one in wanted)

    def manifest(self, digest: Digest) -> Text:
        """Return a manifest. Raises NotFound if the registry lacks it."""
        text = self.registry.text(digest)
        if text is None:
            raise NotFound(
                "the registry lacks a manifest that the release names",
                where=f"{self.registry}@{digest}",
                hint="push the release again from where it is whole",
            )
        return text


@dataclass(frozen=True, slots=True)
class Puller:
    """Fetches releases of a project into one store; `notes` is a folder for what is remembered of registries.

    `expected` is the digest that the release must have, if that is known.
    """

    store: ImageStore
    notes: Path
    project: str
    expected: Digest = ""

    def pull(self, reference: Reference, say: Say, *, with_inputs: bool = False) -> tuple[Release, Carried]:
        """Have a release here, whole; return it without a name. Idempotent.

        Raises  NotFound if there is none; Conflict if it is not what it says; EngineError as the registry's client.
        """
        began = time.monotonic()
        with Wire() as wire:
            course = _Course(Registry(reference.repository, wire, "pull"), self.store, say)
            index = self._index(course.registry, reference)
            release = self._release(course, index)
            images = together(wire, [lambda part=part: self._image(course, part) for part in _unlike(release)])  # type: ignore[misc]
            named = _entries(index.said)
            if missing := [one.service for one in images if one.image.digest not in named]:
                raise Conflict(
                    f"the index of the release does not name the image of {missing[0]}", where=str(reference)
                )
            wanted = [blob for one in images for blob in one.blobs]
            say(f"pulling {len(wanted)} blobs, {sum(one.size for one in wanted) / 1e6:.1f} MB: what is here stays")
            course.blobs(wanted)
            for one in images:
                self._require_honest(one)
            statements = [self._statements(course, one, with_inputs=with_inputs) for one in images]
        for one, filed in zip(images, statements, strict=True):
            for predicate, envelope in filed:
                Evidence(self.store).add(one.image.digest, predicate, self.store.blobs.read(envelope))
            name = f"{release.project}-{one.service}-{short(one.image.identity.input)}"
            self.store.blobs.add_image(one.manifest.data, name)
        Notes(self.notes, reference.repository).see(blob.digest for one in images for blob in one.blobs)
        return release, Carried(
            release="",
            digest=release.digest,
            repository=str(reference.repository),
            index=index.described.digest,
            tags=(),
            is_new=False,
            images={part.service.name: part.image.digest for part in release.parts},
            statements=sum(len(filed) for filed in statements),
            size=course.size,
            moved=course.fetched,
            seconds=time.monotonic() - began,
        )

    # ------------------------------------------------------------ what a release says

    def _index(self, registry: Registry, reference: Reference) -> Text:
        text = registry.text(reference.wanted)
        if text is None:
            tags = [one for one in registry.tags() if not one.startswith("sha256-") and "-" not in one]
            there = f"there are {', '.join(tags[-8:])}" if tags else "push one there with `anew push`"
            raise NotFound(f"there is no release {reference}", where=str(reference), hint=there)
        if text.said.get("artifactType") != carried.RELEASE:
            raise Conflict(
                f"{reference} is no release of anew",
                where=str(reference),
                hint="name what `anew push` said that it made",
            )
        return text

    def _release(self, course: _Course, index: Text) -> Release:
        where, expected = str(course.registry), self.expected
        entries = [one for one in _list(index.said, "manifests") if one.get("artifactType") == carried.RELEASE]
        if len(entries) != 1:
            raise Conflict("the index does not say what the release is", where=where)
        text = course.manifest(described(entries[0], where).digest)
        config, layers = _parts(text, where)
        images = [one for one in layers if one.media == carried.IMAGES]
        if config.media != carried.RELEASE or len(images) != 1:
            raise Conflict("the description of the release lacks a part", where=where)
        digest = config.digest
        if digest != (expected or digest) or digest != (carried.release_of(index.said) or digest):
            raise Conflict(
                "the registry has another release under this name",
                where=where,
                hint="find out who moved it; nothing of it was taken",
                facts={"wanted": expected or carried.release_of(index.said), "there": digest},
            )
        kept = [one for one in layers if one.media == carried.DEFINITION]
        identity, known, *_ = course.little(config, images[0], *kept)
        project, parts = carried.understood(identity, known, where)
        if project != self.project:
            raise Conflict(
                f"this is a release of {project}, and not of {self.project}",
                where=where,
                hint=f"go to the folder of {project}, or correct the repository",
            )
        return Release(project, "", digest, parts)

    def _image(self, course: _Course, part: Part) -> _Found:
        image = part.image
        text = course.manifest(image.digest)
        where = f"{course.registry}@{image.digest}"
        config, layers = _parts(text, where)
        is_host = _annotation(text.said, HOST) == "host"
        said = (config.digest, tuple(one.digest for one in layers), is_host)
        if said != (image.identity.config, image.layers, image.is_host) or image.layers != image.identity.diffs:
            raise _lying(
                f"the release says otherwise than the manifest what the image of {part.service.name} is", where
            )
        if is_host:
            raise Unsupported(
                f"the image of {part.service.name} lies on the root of another machine",
                where=where,
                hint="give the service a head of packages, of an archive or of an image",
            )
        if config.media != CONFIG or any(one.media != LAYER for one in layers) or text.media != MANIFEST:
            raise _lying(f"the image of {part.service.name} is not one that anew made", where)
        return _Found(image, part.service.name, text, (config, *layers))

    def _require_honest(self, one: _Found) -> None:
        """Raise Conflict unless an image's config says what its manifest does; Unsupported if it can't run here."""
        where, blobs = one.image.digest, self.store.blobs
        for blob in one.blobs:
            if blobs.verify(blob.digest).stat().st_size != blob.size:
                raise _lying(f"the manifest of {one.service} lies about the size of a blob", where)
        try:
            said = json.loads(blobs.verify(one.image.identity.config).read_bytes())
            diffs, machine = tuple(said["rootfs"]["diff_ids"]), (said["os"], said["architecture"])
        except (ValueError, KeyError, TypeError, RecursionError) as cause:
            raise _lying(f"the config of the image of {one.service} can't be read", where) from cause
        if diffs != one.image.layers:
            raise _lying(f"the config of the image of {one.service} names other layers than its manifest", where)
        if machine != ("linux", architecture()):
            raise Unsupported(
                f"the image of {one.service} is for {'/'.join(map(str, machine))}, and this is linux/{architecture()}",
                where=where,
                hint="build and push it on a machine of this kind",
            )

    # ------------------------------------------------------------ what is said of images

    def _statements(self, course: _Course, one: _Found, *, with_inputs: bool) -> tuple[tuple[str, Digest], ...]:
        """Have the statements about an image in the store; return their kinds and envelopes. So with its inputs."""
        found = referrers.referrers(course.registry, one.image.digest)
        kinds = {MEDIA, carried.INPUTS} if with_inputs else {MEDIA}
        ours = [each for each in found if each.kind in kinds][:_MOST_STATEMENTS]
        texts = together(course.registry.wire, [lambda each=each: self._attached(course, one, each) for each in ours])  # type: ignore[misc]
        blobs = {each.described.digest: layers for each, layers in zip(ours, texts, strict=True)}
        said = [(each, blob) for each in ours if each.kind == MEDIA for blob in blobs[each.described.digest]]
        if sum(blob.size for _, blob in said) > _MOST_SAID_OF_ONE:
            raise _lying(f"more is said of an image than {_MOST_SAID_OF_ONE >> 20} MiB", str(course.registry))
        course.blobs([blob for layers in texts for blob in layers])
        if with_inputs:
            self._keep_inputs(one.image, course.say)
        for _, blob in said:
            self.store.blobs.verify(blob.digest)
        return tuple((dict(each.annotations).get(carried.PREDICATE, ""), blob.digest) for each, blob in said)

    def _attached(self, course: _Course, one: _Found, referrer: Referrer) -> tuple[Described, ...]:
        text = course.manifest(referrer.described.digest)
        where = f"{course.registry}@{referrer.described.digest}"
        _, layers = _parts(text, where)
        subject = text.said.get("subject")
        if not isinstance(subject, dict) or subject.get("digest") != one.image.digest:
            raise _lying("what is listed as said of an image is about another one", where)
        if referrer.kind == MEDIA and (len(layers) != 1 or layers[0].size > _MOST_SAID):
            raise _lying("a statement about an image is not one envelope", where)
        told = _annotation(text.said, carried.PREDICATE)
        if referrer.kind == MEDIA and told != dict(referrer.annotations).get(carried.PREDICATE, ""):
            raise _lying("a statement about an image is listed as one of another kind", where)
        return layers

    def _keep_inputs(self, image: Image, say: Say) -> None:
        """Keep the packages of an image's head as long as the head; say what is not there."""
        if not image.inputs or not self.store.blobs.are_whole([image.inputs[0]]):
            say(f"the registry has no definition of {short(image.digest)}")
            return
        definition = definitions.read(self.store.blobs.verify(image.inputs[0]).read_bytes())
        packages = definition.package_digests()
        missing = [one for one in (*packages, *image.inputs[1:]) if not self.store.blobs.are_whole([one])]
        if missing:
            say(f"{len(missing)} inputs of {short(image.digest)} are not in the registry: push it with --inputs")
        elif image.layers and not image.is_host:
            self.store.pin(image.layers[0], definition.head.name, definition.head.package_digests())
            for tool in definition.heads[1:]:
                self.store.pin(tool.layer, tool.name, tool.package_digests())


def _unlike(release: Release) -> Iterator[Part]:
    yield from {part.image.digest: part for part in release.parts}.values()


def _entries(said: Mapping[str, Any]) -> set[object]:
    return {one.get("digest") for one in _list(said, "manifests")}


def _list(said: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = said.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _annotation(said: Mapping[str, Any], name: str) -> str:
    found = said.get("annotations")
    return str(found.get(name, "")) if isinstance(found, dict) else ""


def _parts(text: Text, where: str) -> tuple[Described, tuple[Described, ...]]:
    """Return config and layers of a manifest."""
    config = described(text.said.get("config"), where)
    return config, tuple(described(one, where) for one in _list(text.said, "layers"))


def _lying(what: str, where: str) -> Conflict:
    return Conflict(what, where=where, hint="nothing was registered; push it again from where it was made")
