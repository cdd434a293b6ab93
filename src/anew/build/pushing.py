"""A release, brought to a registry: blobs first, then what names them, the names for people last.

So whoever finds a name finds all that it leads to, wherever a push was killed; the next one goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anew.build import carried
from anew.build import definition as definitions
from anew.build.carried import Written
from anew.build.evidence import MEDIA, Evidence
from anew.build.oci import CONFIG, LAYER
from anew.build.store import ImageStore
from anew.core.digest import digest_bytes, short
from anew.core.reference import Repository, is_tag
from anew.errors import Conflict, NotFound, Unsupported
from anew.model import Bytes, Digest, Image, Release
from anew.ports import Say
from anew.registry import referrers
from anew.registry.client import MANIFEST, Described, Registry, Text
from anew.registry.notes import Notes
from anew.registry.referrers import Referrer
from anew.registry.together import together
from anew.registry.uploads import Source, Uploads
from anew.registry.wire import Wire
from anew.views import Carried


@dataclass(frozen=True, slots=True)
class _Image:
    """An image with all that goes with it."""

    image: Image
    manifest: Written
    blobs: tuple[Described, ...]
    attached: tuple[tuple[Written, Referrer], ...]  # statements and inputs


@dataclass(frozen=True, slots=True)
class Pusher:
    """Brings releases of one store to registries; `notes` is a folder for what is remembered of them."""

    store: ImageStore
    notes: Path

    def push(
        self, release: Release, identity: bytes, repository: Repository, say: Say, *, with_inputs: bool = False
    ) -> Carried:
        """Have a release in a repository, with its images and what is said of them. Idempotent.

        `identity` are the bytes that its digest is of.
        Raises  NotFound or Conflict if something of it is not whole here, EngineError as the registry's client.
        """
        began = time.monotonic()
        for part in release.parts:
            if part.image.is_host:
                raise Unsupported(
                    f"the image of {part.service.name} lies on this machine's own root, which no registry can hold",
                    where=f"anew.yaml os.{part.service.os}.host",
                    hint="give the service a head of packages, of an archive or of an image",
                )
        images = [self._image(one, with_inputs=with_inputs) for one in _unlike(release)]
        for one in images:
            if not Evidence(self.store).listed(one.image.digest):
                say(f"nothing is said of the image {short(one.image.digest)}: it goes without a signature")
        described, extra = self._description(release, identity, images)
        by_digest = {one.image.digest: one.manifest.described for one in images}
        index = carried.release(release, described.described, by_digest)
        wanted = {blob.digest: blob for one in images for blob in one.blobs} | {blob.digest: blob for blob in extra}
        with Wire() as wire:
            registry = Registry(repository, wire, "push")
            sent = self._blobs(registry, list(wanted.values()), say)
            self._texts(registry, images, described)
            is_new, tags = _named(registry, release, index, images, say)
        statements = sum(len(Evidence(self.store).filed(one.image.digest)) for one in images)
        return Carried(
            release=release.name,
            digest=release.digest,
            repository=str(repository),
            index=index.described.digest,
            tags=tags,
            images={part.service.name: part.image.digest for part in release.parts},
            is_new=is_new,
            statements=statements,
            size=sum(one.size for one in wanted.values()),
            moved=sent,
            seconds=time.monotonic() - began,
        )

    # ------------------------------------------------------------ what goes

    def _image(self, image: Image, *, with_inputs: bool) -> _Image:
        data = self._whole(image.digest)
        subject = Described(MANIFEST, image.digest, len(data))
        blobs = [
            self._described(CONFIG, image.identity.config),
            *(self._described(LAYER, layer) for layer in image.layers),
        ]
        attached, evidence = [], Evidence(self.store)
        for one in evidence.listed(image.digest):
            envelope = self._described(MEDIA, one.digest)
            attached.append(carried.statement(subject, one, envelope.size))
            blobs.append(envelope)
        if with_inputs and (inputs := [self._described(carried.OCTETS, one) for one in self._inputs(image)]):
            attached.append(carried.inputs(subject, inputs))
            blobs += inputs
        if attached:
            blobs.append(self._little(carried.EMPTY, carried.NOTHING))
        return _Image(image, Written(data, MANIFEST), tuple(blobs), tuple(attached))

    def _inputs(self, image: Image) -> Sequence[Digest]:
        """Return what an image was made from, but its definition."""
        if not image.inputs:
            return ()
        definition = definitions.read(self._whole(image.inputs[0]))
        return tuple(dict.fromkeys((*image.inputs[1:], *definition.package_digests())))

    def _description(
        self, release: Release, identity: bytes, images: Sequence[_Image]
    ) -> tuple[Written, tuple[Described, ...]]:
        if digest_bytes(identity) != release.digest:
            raise Conflict(
                f"{release.name} was made by an older anew, and what it says of its services can't be told exactly",
                where=f"{release.project} {release.name}",
                hint="`anew up` makes it again as a new release; push that one",
            )
        about = carried.images_text([one.image for one in images])
        made = dict.fromkeys(one.image.inputs[0] for one in images if one.image.inputs)
        kept = [self._described(carried.DEFINITION, one) for one in made if self.store.blobs.are_whole([one])]
        texts = (self._little(carried.RELEASE, identity), self._little(carried.IMAGES, about))
        return carried.description(identity, about, kept), (*texts, *kept)

    def _described(self, media: str, digest: Digest) -> Described:
        return Described(media, digest, self._verified(digest).stat().st_size)

    def _little(self, media: str, data: bytes) -> Described:
        return Described(media, self.store.blobs.add_bytes(data), len(data))

    def _whole(self, digest: Digest) -> bytes:
        return self._verified(digest).read_bytes()

    def _verified(self, digest: Digest) -> Path:
        try:
            return self.store.blobs.verify(digest)
        except NotFound as error:
            raise NotFound(
                f"a part of the release is not in the image store any more: {short(digest)}",
                where=error.where,
                hint="`anew gc` removed it, or it was lost; `anew pull` may have it from where it was pushed to",
                facts=error.facts,
            ) from error

    # ------------------------------------------------------------ how it goes

    def _blobs(self, registry: Registry, blobs: Sequence[Described], say: Say) -> Bytes:
        total = sum(one.size for one in blobs)
        say(f"pushing {len(blobs)} blobs, {total / 1e6:.1f} MB, to {registry}: what is there stays")
        notes = Notes(self.notes, registry.repository)
        mountable = notes.seen()
        for other in sorted({mountable[one.digest] for one in blobs if one.digest in mountable}):
            registry.also(other)
        uploads = Uploads(registry, notes, mountable)
        # The largest first: the small ones fill the gaps at the end.
        ordered = sorted(blobs, key=lambda one: (-one.size, one.digest))
        sources = [Source(one.digest, one.size, self.store.blobs.path(one.digest)) for one in ordered]
        sent = sum(together(registry.wire, [lambda one=one: uploads.send(one) for one in sources]))  # type: ignore[misc]
        notes.see(one.digest for one in blobs)
        return sent

    def _texts(self, registry: Registry, images: Sequence[_Image], described: Written) -> None:
        """Have the manifests of images, and then what refers to them."""
        wire = registry.wire
        firsts = [*(one.manifest for one in images), described]
        together(wire, [lambda one=one: _put(registry, one) for one in firsts])  # type: ignore[misc]
        for one in images:
            if one.attached:
                known = {each.described.digest for each in referrers.referrers(registry, one.image.digest)}
                missing = [(text, each) for text, each in one.attached if text.described.digest not in known]
                done = together(wire, [lambda text=text: _filed(registry, text) for text, _ in missing])  # type: ignore[misc]
                if not all(done):
                    referrers.add(registry, one.image.digest, [each for _, each in missing])


def _unlike(release: Release) -> Iterable[Image]:
    return {part.image.digest: part.image for part in release.parts}.values()


def _put(registry: Registry, text: Written) -> None:
    digest = text.described.digest
    if not registry.has(digest):
        registry.put(digest, text.data, text.media)


def _filed(registry: Registry, text: Written) -> bool:
    """Put a manifest that has a subject; say whether the registry lists it there by itself."""
    return registry.put(text.described.digest, text.data, text.media)


def _named(
    registry: Registry, release: Release, index: Written, images: Sequence[_Image], say: Say
) -> tuple[bool, tuple[str, ...]]:
    """Tag the release and its images; return whether it had none, and its tags: its local name if that is free."""
    suffixes = [short(release.digest), release.name]
    wanted = {
        f"{part.service.name}-{suffix}": one.manifest
        for suffix in suffixes
        for part in release.parts
        for one in images
        if one.image.digest == part.image.digest and is_tag(f"{part.service.name}-{suffix}")
    }
    wanted |= dict.fromkeys(suffixes, index)
    texts = together(registry.wire, [lambda tag=tag: registry.text(tag) for tag in wanted])  # type: ignore[misc]
    there = dict(zip(wanted, texts, strict=True))
    named = there[release.name]
    if named is not None and carried.release_of(named.said) != release.digest:
        say(f"{registry}:{release.name} is another release and stays; this one is {registry}:{suffixes[0]}")
        ours = (release.name, *(f"{part.service.name}-{release.name}" for part in release.parts))
        wanted = {tag: text for tag, text in wanted.items() if tag not in ours}
    for is_release in (False, True):  # after what it leads to
        missing = [
            (tag, text)
            for tag, text in wanted.items()
            if (tag in suffixes) is is_release and _digest(there[tag]) != text.described.digest
        ]
        puts = [lambda tag=tag, text=text: registry.put(tag, text.data, text.media) for tag, text in missing]
        together(registry.wire, puts)
    return there[suffixes[0]] is None, tuple(sorted(wanted))


def _digest(text: Text | None) -> Digest:
    return text.described.digest if text is not None else ""
