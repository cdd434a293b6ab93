"""Heads from images that others made: found in a registry, kept in the store as they are, flattened into one layer.

A tag is resolved once, to the digest of the image for this machine; from then on only that digest is asked for, and
nothing at all while its blobs are in the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from anew.build.archive import plain
from anew.build.downloading import fetch
from anew.build.drafts import scratch
from anew.build.entries import Entry
from anew.build.epoch import architecture
from anew.build.flatten import flattened
from anew.build.store import ImageStore
from anew.core.digest import PREFIX, digest_bytes, short
from anew.core.reference import Reference, reference
from anew.errors import AnewError, Conflict, NotFound, Unsupported
from anew.model import Digest, ImageHead
from anew.ports import Say
from anew.registry.client import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, Described, Registry, Text, described
from anew.registry.wire import Wire

_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
)
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"


@dataclass(frozen=True, slots=True)
class Foreign:
    """The image of one head; `blobs` are all that it consists of, its manifest first."""

    manifest: Digest
    config: Described
    layers: tuple[Described, ...]

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """Its manifest, its config and its layers."""
        return tuple(dict.fromkeys((self.manifest, self.config.digest, *(one.digest for one in self.layers))))


def now(head: ImageHead, pinned: Digest) -> Digest:
    """Return the digest of the image that a head's reference leads to today, for this machine; nothing is fetched."""
    named = reference(head.reference, _where(head))
    if named.digest:  # which leads nowhere else, ever
        return pinned
    with Wire() as wire:
        return digest_bytes(_found(Registry(named.repository, wire, "pull"), named, _where(head)).data)


def had(head: ImageHead, pinned: Digest, store: ImageStore, say: Say, *, is_offline: bool = False) -> Foreign:
    """Return the image of a head, with all its blobs in the store; `pinned` is its digest, "" if it is to be resolved.

    Raises  NotFound if the registry has no such image, or if `is_offline` and the store has not all of it; Unsupported
            if it has none for this machine, or one of a kind that can't be read; Conflict if it is not what its digest
            says.
    """
    if pinned and (known := _kept(store, pinned, _where(head))):
        return known
    if is_offline:
        raise NotFound(f"not all of the image {head.reference} is in the image store", where=_where(head))
    named = reference(head.reference, _where(head))
    wanted = Reference(named.repository, digest=pinned) if pinned else named
    say(f"resolving head {head.name}: {wanted}")
    with Wire() as wire:
        registry = Registry(named.repository, wire, "pull")
        text = _found(registry, wanted, _where(head))
        image = _image(text.said, digest_bytes(text.data), _where(head))
        size = sum(one.size for one in image.layers)
        say(f"fetching {short(image.manifest)}: {len(image.layers)} layers, {size / 1e6:.1f} MB: what is here stays")
        fetch(registry, store, (image.config, *image.layers))
        store.blobs.add_bytes(text.data)
    _require_machine(store, image, _where(head))
    return image


def blobs_of(manifest: Digest, store: ImageStore) -> tuple[Digest, ...]:
    """Return all that the image of a locked head consists of; () if the store has it no more."""
    known = _kept(store, manifest, "anew.lock")
    return known.blobs if known else ()


@contextmanager
def entries(image: Foreign, head: ImageHead, store: ImageStore, work: Path) -> Iterator[Sequence[Entry]]:
    """Yield what is in an image whose blobs are in the store, flattened; the contents are valid inside the block.

    Raises  SpecError for layers that can't be read; Conflict if they are not those that the config names.
    """
    where = _where(head)
    diffs = json.loads(store.blobs.verify(image.config.digest).read_bytes())["rootfs"]["diff_ids"]
    if len(diffs) != len(image.layers):
        raise Conflict("the config of the image names other layers than its manifest", where=where)
    with scratch(work) as folder:
        archives = []
        for number, (layer, diff) in enumerate(zip(image.layers, diffs, strict=True)):
            place = folder / str(number)
            place.mkdir()
            archive = plain(store.blobs.verify(layer.digest), place, where)
            with archive.open("rb") as file:
                if PREFIX + file_digest(file, "sha256").hexdigest() != diff:
                    raise Conflict("a layer of the image is not the one that its config names", where=where)
            archives.append(archive)
        yield flattened(archives, where)


def _where(head: ImageHead) -> str:
    return f"anew.yaml os.{head.name}.image"


def _found(registry: Registry, wanted: Reference, where: str) -> Text:
    """Return the manifest for this machine."""
    text = registry.text(wanted.wanted)
    if text is None:
        hint = "correct the name or the tag; a private one may need a login, as with `docker login`"
        raise NotFound(f"there is no image {wanted}", where=where, hint=hint)
    if text.media in {INDEX, DOCKER_LIST}:
        digest = _chosen(text.said, wanted, where)
        text = registry.text(digest)
        if text is None:
            raise NotFound(f"the registry lacks a manifest that {wanted} names", where=where, hint="choose another tag")
    if text.media.startswith(_SCHEMA_1) or text.said.get("schemaVersion") == 1:
        raise Unsupported(
            f"{wanted} has the format of before 2016 (schema 1), which says too little to be checked",
            where=where,
            hint="push it again with a newer program, or choose another image",
        )
    if text.media not in {MANIFEST, DOCKER_MANIFEST}:
        raise Unsupported(f"{wanted} is no image, but a {text.media[:80]}", where=where, hint="choose another one")
    return text


def _chosen(said: Mapping[str, Any], wanted: Reference, where: str) -> Digest:
    listed = said.get("manifests")
    offers = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    kinds: set[str] = set()
    for one in offers:
        platform = one.get("platform")
        machine = (platform.get("os"), platform.get("architecture")) if isinstance(platform, dict) else ("", "")
        if machine == ("linux", architecture()):
            return described(one, where).digest
        kinds.add("/".join(map(str, machine)))
    there = ", ".join(sorted(kinds - {"/", "unknown/unknown"})) or "none that is said"
    raise _wrong_machine(str(wanted), there, where)


def _wrong_machine(what: str, there: str, where: str) -> AnewError:
    return Unsupported(
        f"{what} is not for linux/{architecture()}, but for {there}",
        where=where,
        hint="choose an image for this kind of machine, or build on another one",
    )


def _image(said: Mapping[str, Any], digest: Digest, where: str) -> Foreign:
    config = described(said.get("config"), where)
    listed = said.get("layers")
    layers = tuple(described(one, where) for one in listed) if isinstance(listed, list) else ()
    if config.media not in _CONFIGS or not layers:
        raise Unsupported(
            f"{short(digest)} is no image with a root file system", where=where, hint="choose another one"
        )
    for one in layers:
        if not one.media.startswith(_LAYERS):
            hint = "choose an image with all layers in its registry"
            raise Unsupported(f"a layer of the image is of the kind {one.media[:80]}", where=where, hint=hint)
        if one.media.endswith("+zstd"):
            hint = "copy it, and name the copy: skopeo copy --dest-compress-format gzip docker://… docker://…"
            what = "a layer of the image is compressed with zstd, which can't be read here"
            raise Unsupported(what, where=where, hint=hint)
    return Foreign(digest, config, layers)


def _kept(store: ImageStore, digest: Digest, where: str) -> Foreign | None:
    """Return an image whose blobs are all in the store."""
    if not store.blobs.are_whole([digest]):
        return None
    image = _image(json.loads(store.blobs.path(digest).read_bytes()), digest, where)
    return image if store.blobs.are_whole(image.blobs) else None


def _require_machine(store: ImageStore, image: Foreign, where: str) -> None:
    try:
        said = json.loads(store.blobs.verify(image.config.digest).read_bytes())
        machine, diffs = (said.get("os"), said.get("architecture")), said["rootfs"]["diff_ids"]
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Conflict("the config of the image can't be read", where=where, hint="choose another image") from cause
    if machine != ("linux", architecture()):
        raise _wrong_machine(short(image.manifest), "/".join(map(str, machine)), where)
    if not isinstance(diffs, list):
        raise Conflict("the config of the image can't be read", where=where, hint="choose another image")
