"""From a service of the spec to an image. The whole of a build is the list of verbs in `Builder.build`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anew.build import inspection, locking, rootless, suites
from anew.build.context import Context, gather, layer_entries
from anew.build.definition import Definition
from anew.build.drafts import sweep
from anew.build.executor import Base, Executor, is_known, next_base, seen
from anew.build.filecache import FileDigests
from anew.build.files import Files
from anew.build.heads import Heads, named
from anew.build.store import ImageStore
from anew.core.digest import digest, short
from anew.model import DebianHead, Digest, Finding, Head, HeadTime, HostHead, Image, Service, Spec
from anew.ports import Say
from anew.views import Built, HeadView, Rebuilt

_FORMAT = 1  # of images; raised when the same inputs make another image


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the services of one project. Several may build at once: equal work is done once."""

    home: Path
    store: ImageStore
    project_root: Path

    def build(self, spec: Spec, service: Service, say: Say, *, update: bool = False) -> tuple[Image, Built]:
        """Return the image of `service`: recognised from its inputs, or made.

        Raises  SpecError for what is wrong in the spec or its files; Conflict if a locked head can't be made again;
                Unsupported for what this machine can't build; EngineError if a step fails or the disk is full;
                GateClosed if the image has what no image should have, and the spec does not allow it.
        """
        began = time.monotonic()
        self._sweep()
        head = named(spec.heads, service.os)
        layer = self._heads.layer(head, say, update=update)
        self._files.resolve(service, say, is_update=update)
        context = self._context(service)
        inputs = _inputs(head, self._pin(head), context, service)
        with self.store.lock(f"build {inputs}"):
            image = self.store.record(inputs)
            is_reused = image is not None
            if image is None:
                self._files.supply(service, say)
                image = self._made(self._definition(spec, head, context, service), context, layer, say)
        findings = self._findings(spec, service, image)
        built = Built(
            service=service.name,
            manifest=image.digest,
            input=inputs,
            is_reused=is_reused,
            seconds=time.monotonic() - began,
            size=self.store.size(image.layers),
            findings=findings,
        )
        return image, built

    def input_digest(self, spec: Spec, service: Service) -> Digest:
        """Return the digest of all inputs, without building anything.

        For a head that isn't resolved yet its recipe stands in: the digest changes once it is.
        """
        head = named(spec.heads, service.os)
        return _inputs(head, self._pin(head), self._context(service), service)

    def recognised(self, spec: Spec, service: Service) -> Image | None:
        """Return the image that `build` would return without making anything; None if it would make one."""
        return self.store.record(self.input_digest(spec, service))

    def head_time(self, image: Image, head: str) -> HeadTime:
        """Return when the head of an image was resolved; see `anew.build.heads.Heads.time`."""
        return self._heads.time(image, head)

    def lock(self, spec: Spec, heads: Sequence[str], say: Say, *, update: bool) -> tuple[HeadView, ...]:
        """Resolve `heads`, or all; see `anew.cases.Builder`."""
        self._sweep()
        return locking.locked(self._heads, self._files, spec, heads, say, update=update)

    def prove(self, service: str, image: Image, say: Say, *, is_offline: bool) -> Rebuilt:
        """Make an image again in an empty place, and compare; see `anew.build.proof`."""
        from anew.build.proof import Prover  # noqa: PLC0415 - which builds with this class

        self._sweep()
        prover = Prover(self.store, self.home / "work", self.home / "bin")
        return prover.prove(service, image, say, is_offline=is_offline)

    def outdated(self, spec: Spec, say: Say) -> tuple[HeadView, ...]:
        """Compare the lock with what there is now; see `anew.cases.Builder`."""
        self._sweep()
        return locking.outdated(self._heads, self._files, spec, say)

    def make(self, definition: Definition, context: Context, say: Say) -> Image:
        """Return the image of a definition, whose head is locked here as it was then; raises as `build`."""
        self._sweep()
        return self._made(definition, context, self._heads.layer(definition.head.head, say), say)

    # ------------------------------------------------------------ the verbs

    @property
    def _heads(self) -> Heads:
        return Heads(self.project_root, self.store, self.home / "work")

    def _pin(self, head: Head) -> Digest:
        """Return what stands for a head in the input digest: its locked layer, or else its recipe."""
        return self._heads.locked(head) or self._heads.recipe(head)

    @property
    def _files(self) -> Files:
        return Files(self.project_root, self.store)

    def _context(self, service: Service) -> Context:
        digests = FileDigests(self.store.root / "context.cache", self.project_root)
        return self._files.context(service, gather(self.project_root, service, digests))

    def _findings(self, spec: Spec, service: Service, image: Image) -> tuple[Finding, ...]:
        allowed = [one for one in spec.allowances if one.service == service.name]
        found = inspection.judged(inspection.inspected(self.store, image), allowed)
        inspection.require(service.name, found)
        return found

    def _sweep(self) -> None:
        sweep(self.home / "work")
        self.store.sweep()

    def _definition(self, spec: Spec, head: Head, context: Context, service: Service) -> Definition:
        record, fetched = self._heads.recorded(head), self._files.recorded(service)
        return Definition(_FORMAT, spec.project, service.name, record, context.items, service.build, fetched)

    def _made(self, definition: Definition, context: Context, layer: Digest | None, say: Say) -> Image:
        head, service = definition.head.head, definition.wanted()
        pin = self._pin(head)
        base = Base((layer,) if layer else (), pin, isinstance(head, HostHead), self._apt(head))
        base = self._copied(base, context, service)
        base = self._run(base, service, say)
        return self._packed(base, definition, _inputs(head, pin, context, service))

    def _apt(self, head: Head) -> tuple[str, ...]:
        return suites.known_sources(head, self.project_root) if isinstance(head, DebianHead) else ()

    def _copied(self, base: Base, context: Context, service: Service) -> Base:
        key = digest([_FORMAT, base.key, context.digest])
        if not context.items:
            return replace(base, key=key)
        known = self.store.checkpoint(key)
        if known is None:
            where = f"anew.yaml services.{service.name}.copy"
            entries = layer_entries(context.items, seen(self.store, base), where)
            known = (self.store.add_layer(entries).digest,) if entries else ()
            self.store.remember_checkpoint(key, known)
        return replace(base, layers=(*base.layers, *known), key=key)

    def _run(self, base: Base, service: Service, say: Say) -> Base:
        where = f"services.{service.name}.build"
        if os.geteuid() != 0 and not is_known(self.store, base, service.build):
            task = rootless.Task(str(self.home), str(self.store.root), base, service.build, where)
            return rootless.run(task, say)
        executor = Executor(self.home, self.store, self.home / "work", self.store.tree)
        for number, step in enumerate(service.build):
            base = executor.run(base, step, f"{where}[{number}]", say)
        return base

    def _packed(self, base: Base, definition: Definition, inputs: Digest) -> Image:
        fetched = (content for _, content in definition.fetched)
        kept = (self.store.blobs.add_bytes(definition.text()), definition.head.archive, *fetched)
        name = f"{definition.project}-{definition.service}-{short(inputs)}"
        image = Image(
            identity=self.store.add_image(inputs, base.layers, name, is_host=base.is_host),
            layers=base.layers,
            is_host=base.is_host,
            is_reproducible=definition.is_reproducible,
            inputs=tuple(one for one in kept if one),
        )
        self.store.admit(image)
        self.store.remember(image)
        return image


def _inputs(head: Head, pin: Digest, context: Context, service: Service) -> Digest:
    base = Base((), digest([_FORMAT, pin, context.digest]))
    for step in service.build:
        base = next_base(base, step)
    return digest({"format": _FORMAT, "is_host": isinstance(head, HostHead), "steps": base.key})
