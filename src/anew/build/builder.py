"""From a service of the spec to an image. The whole of a build is the list of verbs in `Builder.build`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anew.build import inspection, reuse
from anew.build.context import Context, gather, layer_entries
from anew.build.definition import Definition, Job
from anew.build.drafts import scratch, sweep
from anew.build.filecache import FileDigests
from anew.build.files import Files
from anew.build.footing import Base, Lend, next_base
from anew.build.heads import Heads, named
from anew.build.store import ImageStore
from anew.build.supplies import Supplier, Supplies, recorded, with_tools
from anew.core.digest import digest, short
from anew.errors import NotFound
from anew.model import (
    AS_USUAL,
    DebianHead,
    Digest,
    Finding,
    Head,
    HeadTime,
    HostHead,
    Image,
    Manner,
    Service,
    Spec,
)
from anew.ports import Say
from anew.views import Built

if TYPE_CHECKING:
    from anew.views import HeadView, Rebuilt

_FORMAT = 1  # of images; raised when the same inputs make another image


def nothing_lent(name: str) -> bytes:
    """Lend no secret to any step. Raises NotFound."""
    raise NotFound(f"there is no secret {name} of builds", hint=f"anew secret set {name} --build")


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the services of one project. Several may build at once: equal work is done once."""

    home: Path
    store: ImageStore
    project_root: Path
    lend: Lend = nothing_lent
    is_offline: bool = False  # see `Heads`

    def build(
        self, spec: Spec, service: Service, say: Say, *, update: bool = False, manner: Manner = AS_USUAL
    ) -> tuple[Image, Built]:
        """Return the image of `service`: recognised from its inputs, or made.

        Raises  SpecError for what is wrong in the spec or its files; Conflict if a locked head can't be made again;
                Unsupported for what this machine can't build; EngineError if a step fails or the disk is full;
                NotFound for a secret that a step needs and nobody set; GateClosed if the image has what no image should
                have, and the spec does not allow it.
        """
        began = time.monotonic()
        wish = self._wish(spec, service, say, update=update)
        with self.store.lock(f"build {wish.inputs}"):
            before, made_at = self.store.record(wish.inputs), self.store.recorded_at(wish.inputs)
            is_reused = before is not None and not manner.is_fresh
            base = None
            if before is None or manner.is_fresh:
                self._files.supply(service, say)
                jobs = self._supplier.packed(wish.supplies)
                definition = self._definition(spec, wish, jobs)
                image, base = self._made(definition, wish.context, wish.layer, say, manner)
                image = reuse.compared(self.store, before, image, say)
            else:
                image = before
        findings = self._findings(spec, service, image)
        built = Built(
            service=service.name,
            manifest=image.digest,
            input=wish.inputs,
            is_reused=is_reused,
            seconds=time.monotonic() - began,
            size=self.store.size(image.layers),
            heads=reuse.heads(self._heads, wish.head, wish.supplies.jobs),
            files=wish.files,
            steps=len(service.build),
            steps_reused=len(service.build) if is_reused else base.reused if base else 0,
            age=reuse.age(made_at if is_reused else base.since if base else 0.0),
            again=reuse.verdict(before, image) if manner.is_fresh else "",
            findings=findings,
        )
        return image, built

    def partly(self, spec: Spec, service: Service, say: Say, manner: Manner) -> Built:
        """Build as far as the step `manner.until`, and make no image; with `is_debugging` look there before it is run.

        Raises  NotFound if there is no such step; else as `build`.
        """
        began = time.monotonic()
        wish = self._wish(spec, service, say, update=False)
        number = reuse.place_of(service, manner.until)
        self._files.supply(service, say)
        jobs = self._supplier.packed(wish.supplies)
        wanted = jobs[number]
        base = self._copied(self._base(wish.head, wish.layer), wish.context, service.name)
        done = jobs[:number] if manner.is_debugging else jobs[: number + 1]
        before = base
        base = self._run(base, done, say, manner, self.lend, wanted if manner.is_debugging else None)
        new = base.layers[len(before.layers) :]
        if not manner.is_debugging:
            reuse.tell_of(self.store, wanted, new[-1:], say)
        return Built(
            service=service.name,
            manifest="",
            input=wish.inputs,
            is_reused=False,
            seconds=time.monotonic() - began,
            size=self.store.size(base.layers),
            heads=reuse.heads(self._heads, wish.head, wish.supplies.jobs),
            files=wish.files,
            steps=len(done),
            steps_reused=base.reused,
            age=reuse.age(base.since),
            until=wanted.title,
        )

    def input_digest(self, spec: Spec, service: Service) -> Digest:
        """Return the digest of all inputs, without building anything.

        For a head that isn't resolved yet its recipe stands in: the digest changes once it is.
        """
        head = named(spec.heads, service.os)
        digests = self._digests
        supplies = self._supplier.planned(head, service, digests)
        return _inputs(head, self._pin(head), self._context(service, digests), supplies.jobs)

    def recognised(self, spec: Spec, service: Service) -> Image | None:
        """Return the image that `build` would return without making anything; None if it would make one."""
        return self.store.record(self.input_digest(spec, service))

    def head_time(self, image: Image, head: str) -> HeadTime:
        """Return when the head of an image was resolved; see `anew.build.heads.Heads.time`."""
        return self._heads.time(image, head)

    def lock(self, spec: Spec, heads: Sequence[str], say: Say, *, update: bool) -> tuple[HeadView, ...]:
        """Resolve `heads`, or all; see `anew.cases.Builder`."""
        self._sweep()
        from anew.build import locking

        return locking.locked(self._heads, self._files, with_tools(spec), heads, say, update=update)

    @contextmanager
    def proving(self, *, is_offline: bool) -> Iterator[Callable[[str, Image, Say], Rebuilt]]:
        """Yield what makes an image again in an empty place, and compares; see `anew.build.proof`."""
        from anew.build.proof import Prover  # which builds with this class

        self._sweep()
        with scratch(self.home / "work") as folder:
            yield Prover(self.store, folder, self.home / "bin", self.lend, is_offline).prove

    def outdated(self, spec: Spec, say: Say) -> tuple[HeadView, ...]:
        """Compare the lock with what there is now; see `anew.cases.Builder`."""
        self._sweep()
        from anew.build import locking

        return locking.outdated(self._heads, self._files, with_tools(spec), say)

    def make(self, definition: Definition, context: Context, say: Say) -> Image:
        """Return the image of a definition, whose heads are locked here as they were then; raises as `build`."""
        self._sweep()
        for job in definition.jobs:
            if job.supply.tool is not None:
                self._heads.layer(job.supply.tool.head, say)
        layer = self._heads.layer(definition.head.head, say)
        return self._made(definition, context, layer, say, AS_USUAL)[0]

    # ------------------------------------------------------------ the verbs

    @property
    def _heads(self) -> Heads:
        return Heads(self.project_root, self.store, self.home / "work", self.is_offline)

    @property
    def _supplier(self) -> Supplier:
        return Supplier(self.project_root, self._heads, self.store)

    @property
    def _digests(self) -> FileDigests:
        return FileDigests(self.store.root / "context.cache", self.project_root)

    def _pin(self, head: Head) -> Digest:
        """Return what stands for a head in the input digest: its locked layer, or else its recipe."""
        return self._heads.locked(head) or self._heads.recipe(head)

    def _wish(self, spec: Spec, service: Service, say: Say, *, update: bool) -> _Wish:
        """Return all that the image of a service depends on, its heads made and locked."""
        self._sweep()
        head, digests = named(spec.heads, service.os), self._digests
        layer = self._heads.layer(head, say, update=update)
        self._files.resolve(service, say, is_update=update)
        supplies = self._supplier.planned(head, service, digests)
        context = self._context(service, digests)
        supplies = self._supplier.with_tools(supplies, head, say, update=update)
        return _Wish(service, head, layer, context, supplies, _inputs(head, self._pin(head), context, supplies.jobs))

    @property
    def _files(self) -> Files:
        return Files(self.project_root, self.store)

    def _context(self, service: Service, digests: FileDigests) -> Context:
        return self._files.context(service, gather(self.project_root, service, digests))

    def _findings(self, spec: Spec, service: Service, image: Image) -> tuple[Finding, ...]:
        allowed = [one for one in spec.allowances if one.service == service.name]
        found = inspection.judged(inspection.inspected(self.store, image), allowed)
        inspection.require(service.name, found)
        return found

    def _sweep(self) -> None:
        sweep(self.home / "work")
        self.store.sweep()

    def _definition(self, spec: Spec, wish: _Wish, jobs: Sequence[Job]) -> Definition:
        service = wish.service
        return Definition(
            _FORMAT,
            spec.project,
            service.name,
            self._heads.recorded(wish.head),
            wish.context.items,
            service.build,
            fetched=self._files.recorded(service),
            supplies=recorded(jobs),
        )

    def _made(
        self, definition: Definition, context: Context, layer: Digest | None, say: Say, manner: Manner
    ) -> tuple[Image, Base]:
        head = definition.head.head
        base = self._copied(self._base(head, layer), context, definition.service)
        lent = _Lent(self.lend)
        base = self._run(base, definition.jobs, say, manner, lent)
        self._require_absence(definition, lent)
        return self._packed(base, definition, _inputs(head, self._pin(head), context, definition.jobs)), base

    def _base(self, head: Head, layer: Digest | None) -> Base:
        return Base((layer,) if layer else (), self._pin(head), isinstance(head, HostHead), self._apt(head))

    def _apt(self, head: Head) -> tuple[str, ...]:
        from anew.build import suites

        return suites.known_sources(head, self.project_root) if isinstance(head, DebianHead) else ()

    def _copied(self, base: Base, context: Context, service: str) -> Base:
        key = digest([_FORMAT, base.key, context.digest])
        if not context.items:
            return replace(base, key=key)
        known = self.store.checkpoint(key)
        if known is None:
            from anew.build.sandboxed import seen

            where = f"anew.yaml services.{service}.copy"
            entries = layer_entries(context.items, seen(self.store, base), where)
            known = (self.store.add_layer(entries).digest,) if entries else ()
            self.store.remember_checkpoint(key, known)
        return replace(base, layers=(*base.layers, *known), key=key)

    def _run(
        self, base: Base, jobs: Sequence[Job], say: Say, manner: Manner, lend: Lend, look: Job | None = None
    ) -> Base:
        from anew.build import rootless
        from anew.build.executor import Executor
        from anew.build.unpack import is_initial_namespace

        executor = Executor(
            self.home,
            self.store,
            self.home / "work",
            self.store.tree,
            lend,
            is_fresh=manner.is_fresh,
            is_debugging=manner.is_debugging,
            is_owner=os.geteuid() == 0 and is_initial_namespace(),
            meanwhile=_prepare,
        )
        if os.geteuid() != 0:
            threading.Thread(target=_prepare, name="meanwhile").start()
            return rootless.run_where_needed(executor, base, jobs, say, look)
        base = executor.run_all(base, jobs, say)
        if look is not None:
            executor.look(base, look, say)
        return base

    def _packed(self, base: Base, definition: Definition, inputs: Digest) -> Image:
        text = definition.text()
        supplied = dict.fromkeys(blob for job in definition.jobs for blob in job.supply.blobs)
        fetched = (content for _, content in definition.fetched)
        of_head = (definition.head.archive, *definition.head.blobs)
        kept = (self.store.blobs.add_bytes(text), *of_head, *fetched, *supplied)
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

    def _require_absence(self, definition: Definition, lent: _Lent) -> None:
        """Raise EngineError if a secret that a step was lent stands in what is recorded of the image.

        Its config and manifest are made of digests and of nothing else.
        """
        from anew.build.absence import found_in, in_bytes, needles

        where = f"services.{definition.service}.build"
        for name in {name for step in definition.steps for name in step.secrets} - lent.values.keys():
            # Its step was not run again. A value that nobody has any more can't be looked for, and was looked for then.
            with suppress(NotFound):
                lent(name)
        found = in_bytes(definition.text(), needles(lent.values, where))
        if found is not None:
            raise found_in("the definition of the image, so in anew.yaml", found, where)


def _prepare() -> None:
    """Import what a bill of materials is written with: it takes long, and here nothing waits but for a step."""
    from anew.build import inventory
    from anew.trust import sbom

    del inventory, sbom


@dataclass(frozen=True, slots=True)
class _Lent:
    """Lends secrets, and remembers which."""

    lend: Lend
    values: dict[str, bytes] = field(default_factory=dict, repr=False)

    def __call__(self, name: str) -> bytes:
        self.values[name] = self.lend(name)
        return self.values[name]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What an image is made of, known before it is made."""

    service: Service
    head: Head
    layer: Digest | None
    context: Context
    supplies: Supplies
    inputs: Digest

    @property
    def files(self) -> int:
        return sum(item.kind == "file" for item in self.context.items) + self.supplies.files


def _inputs(head: Head, pin: Digest, context: Context, jobs: Sequence[Job]) -> Digest:
    base = Base((), digest([_FORMAT, pin, context.digest]))
    for job in jobs:
        base = next_base(base, job)
    return digest({"format": _FORMAT, "is_host": isinstance(head, HostHead), "steps": base.key})
