"""Whether an image can be made again: in an empty place, from what was recorded of it, and compared with what there is.

What differs is told file by file, with its cause where that can be named (`anew.build.causes`). Heads that are made of
the very same are made once for all images that are proved together.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from anew.build import definition as definitions
from anew.build import lock, packages
from anew.build.builder import Builder
from anew.build.causes import differences
from anew.build.context import Context
from anew.build.definition import Definition, HeadRecord
from anew.build.drafts import scratch
from anew.build.footing import Lend
from anew.build.heads import Heads
from anew.build.stack import Stack
from anew.build.store import ImageStore
from anew.build.unpack import unpack
from anew.core.digest import PREFIX, digest
from anew.errors import AnewError, NotFound
from anew.model import Digest, HostHead, Image
from anew.ports import Say
from anew.views import Rebuilt, Verdict

_UNKNOWN = PREFIX + 64 * "0"  # a layer that nothing has


@dataclass(frozen=True, slots=True)
class Prover:
    """Makes images of one store again; `work` is where: an empty folder, which whoever made it removes."""

    store: ImageStore
    work: Path
    bin_dir: Path
    lend: Lend  # secrets, for steps that need some
    is_offline: bool = False  # nothing is asked of the network

    def prove(self, service: str, image: Image, say: Say) -> Rebuilt:
        """Make an image again and compare.

        Raises  nothing for an image that can't be made again: that is an answer.
        """
        began = time.monotonic()
        try:
            definition = self._definition(image)
            why = self._obstacle(definition) or self._lost(definition)
            if why:
                return _unproved(service, image, why, began)
            with scratch(self.work) as folder:
                made, there = self._made(definition, image, folder, say)
                found = tuple(
                    differences(Stack(self.store, image.layers), Stack(there, made.layers))
                    if made.identity.tree != image.identity.tree
                    else ()
                )
                self._keep_heads(definition, there, folder / "project")
        except AnewError as error:
            return _unproved(service, image, f"{error.what} ({error.hint})" if error.hint else error.what, began)
        verdict = _verdict(is_same=made.digest == image.digest, has_differences=bool(found))
        why = next(_networked(definition), "") or _of_engine(definition)
        return Rebuilt(service, image.digest, verdict, why, found, time.monotonic() - began)

    def _definition(self, image: Image) -> Definition:
        if not image.inputs:
            raise NotFound(
                "it was made by an older anew, which kept no definition", hint="change something and build it again"
            )
        return definitions.read(self.store.blobs.verify(image.inputs[0]).read_bytes())

    def _obstacle(self, definition: Definition) -> str:
        """Return why there can't be a proof; "" if there can be one."""
        head = definition.head.head
        if isinstance(head, HostHead):
            here = Heads(Path(), self.store, self.work).recipe(head)
            if here != definition.head.recipe:
                return "it lies on the root of another machine, or of this one before"
        for one in definition.heads:
            if one.kind in {"debian", "ubuntu"} and not one.packages:
                which = "its head" if one == definition.head else f"the head {one.name} of its steps"
                return f"an older anew made {which}, and kept no packages: anew lock --update"
        return next(_networked(definition), "") if self.is_offline else ""

    def _lost(self, definition: Definition) -> str:
        """Return what is needed and not in the store; "" if all is there, or may be asked for."""
        for one in definition.heads:
            if one.kind == "image" and not one.blobs and self.is_offline:
                return f"its head {one.name} can't be made again: which image {one.path} was, nobody recorded"
            named = {parsed.digest: f"{parsed.name} {parsed.version}" for parsed in map(packages.parsed, one.packages)}
            named |= dict.fromkeys(one.blobs, f"a part of the image {one.path}")
            if one.archive:
                named[one.archive] = one.path
            if one.kind in {"debian", "ubuntu"} and not self.is_offline:
                continue  # the archive may have what the store lacks; it is the same, or it is refused
            lost = [name for blob, name in named.items() if not self.store.blobs.path(blob).is_file()]
            if lost:
                more = f" and {len(lost) - 1} more are" if len(lost) > 1 else " is"
                return f"its head {one.name} can't be made again: {lost[0]}{more} not in the image store"
        for number, supply in enumerate(definition.supplies):
            if supply.layer and not self.store.blobs.path(supply.layer).is_file():
                return f"build[{number}] can't be run again: the files that it was given are not in the image store"
        return ""

    def _made(self, definition: Definition, image: Image, folder: Path, say: Say) -> tuple[Image, ImageStore]:
        definition = _without_engine(definition)
        home, project = folder / "home", folder / "project"
        project.mkdir()
        store = ImageStore(home / "images")
        head = definition.head
        supplies = definition.supplies
        tools = dict.fromkeys(one.tool for one in supplies if one.tool is not None)
        archives = (head.archive, *head.blobs, *(one.layer for one in supplies))
        for one in dict.fromkeys(each for each in archives if each):
            store.blobs.add_file(self.store.blobs.verify(one))
        for each in (head, *tools):
            self._locked(each, store, project)
        if head.archive:
            archive = project / head.path
            archive.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store.blobs.path(head.archive), archive)
        if self.bin_dir.is_dir():
            home.mkdir(exist_ok=True)
            (home / "bin").symlink_to(self.bin_dir)
        context = self._context(definition, image, folder)
        builder = Builder(home, store, project, self.lend, is_offline=self.is_offline)
        return builder.make(definition, context, say), store

    def _locked(self, head: HeadRecord, there: ImageStore, project: Path) -> None:
        """Have a head in another store as it was made before, or else its packages, and lock it there to them."""
        known = self._heads.noted("heads-made", _key(head), str)
        if known:
            _lend(self._heads, known, there)
            lock.with_head(project, head.name, lock.LockedHead(head.recipe, known, ""))
            return
        kept = tuple(packages.parsed(line) for line in head.packages)
        for one in kept:
            if self.is_offline or self.store.blobs.are_whole([one.digest]):
                there.blobs.add_file(self.store.blobs.verify(one.digest))
        if head.kind != "host":
            image = next(iter(head.blobs), "")
            lock.with_head(project, head.name, lock.LockedHead(head.recipe, _UNKNOWN, "", kept, image=image))

    @property
    def _heads(self) -> ImageStore:
        return ImageStore(self.work / "heads")

    def _keep_heads(self, definition: Definition, made: ImageStore, project: Path) -> None:
        """Keep the heads that an image was made again with for those that follow; `made` is not used any more."""
        locked = lock.read(project).heads
        for one in _without_engine(definition).heads:
            if one.kind != "host" and self._heads.noted("heads-made", _key(one), str) is None:
                layer = locked[one.name].layer
                _take(made, layer, self._heads)
                self._heads.note("heads-made", _key(one), layer)

    def _context(self, definition: Definition, image: Image, folder: Path) -> Context:
        """Return what was copied; its contents are taken from the layer that it became, which is checked anew."""
        if not any(one.kind == "file" for one in definition.items):
            return definition.context(lambda _: folder)
        layer = image.layers[0 if image.is_host else 1]
        tree = folder / "copied"
        tree.mkdir()
        unpack(self.store.blobs.verify(layer), tree)
        return definition.context(definitions.contents(self.store.listing(layer), tree))


def _without_engine(definition: Definition) -> Definition:
    """Return a definition whose head is taken as it is, if a container engine made it."""
    if definition.head.kind != "dockerfile":
        return definition
    head = replace(definition.head, kind="tar", path="head.tar", archive=definition.head.layer)
    return replace(definition, head=head)


def _key(head: HeadRecord) -> Digest:
    """Return what a head is recognised by: all that it is made of."""
    return digest([head.recipe, head.kind, head.path, sorted(head.packages), head.archive, list(head.blobs)])


def _take(made: ImageStore, layer: Digest, heads: ImageStore) -> None:
    """Bring a layer and its tree into a store, from one that needs neither any more."""
    _link(made, layer, heads)
    if made.folder(layer).is_dir() and not heads.folder(layer).is_dir():
        heads.folder(layer).parent.mkdir(parents=True, exist_ok=True)
        made.folder(layer).rename(heads.folder(layer))


def _lend(heads: ImageStore, layer: Digest, there: ImageStore) -> None:
    """Let another store have a layer and its tree, and do without copying them."""
    _link(heads, layer, there)
    if heads.folder(layer).is_dir():
        there.folder(layer).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # two of its heads are the same
            there.folder(layer).symlink_to(heads.folder(layer))


def _link(here: ImageStore, layer: Digest, there: ImageStore) -> None:
    target = there.blobs.path(layer)
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        target.hardlink_to(here.blobs.path(layer))


def _networked(definition: Definition) -> Iterator[str]:
    for number, step in enumerate(definition.steps):
        if step.network:
            yield f"services.{definition.service}.build[{number}] uses the network, and what it got was not recorded"


def _of_engine(definition: Definition) -> str:
    if definition.head.kind != "dockerfile":
        return ""
    return (
        f"its head was taken as it is: a container engine made it from {definition.head.path}, and may not do so again"
    )


def _verdict(*, is_same: bool, has_differences: bool) -> Verdict:
    if is_same:
        return "identical"
    return "differs" if has_differences else "same tree"


def _unproved(service: str, image: Image, why: str, began: float) -> Rebuilt:
    return Rebuilt(service, image.digest, "not proved", why, (), time.monotonic() - began)
