"""All that an image was made from, as one blob: what `anew rebuild` makes it from again.

It holds no contents. Those of packages and archives are blobs of their own, and those of copied files lie in the
image's own layer of them: each is known by its digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from anew.build.context import Context, Item
from anew.build.listing import Node
from anew.core.digest import canonical, digest
from anew.errors import Bug, Conflict
from anew.model import BuildStep, BuiltHead, DebianHead, Digest, Head, HostHead, Service, TarHead


@dataclass(frozen=True, slots=True)
class HeadRecord:
    """A head and what it was locked to; "" and () where that says nothing."""

    kind: str  # debian, ubuntu, tar, dockerfile or host
    name: str
    suite: str = ""
    named: tuple[str, ...] = ()  # packages, as in the spec
    path: str = ""
    recipe: Digest = ""
    layer: Digest = ""
    tree: Digest = ""
    packages: tuple[str, ...] = ()  # lines of the lock
    archive: Digest = ""  # of a tar
    context: str = ""  # of a Dockerfile
    resolved: str = ""  # when, in UTC; "" if an older anew wrote this

    @property
    def has_age(self) -> bool:
        """Whether somebody resolved it, so that there may be a newer one."""
        return self.kind not in {"tar", "host"}

    @property
    def head(self) -> Head:
        """The head itself."""
        match self.kind:
            case "debian":
                return DebianHead(self.name, self.suite, self.named)
            case "ubuntu":
                return DebianHead(self.name, self.suite, self.named, "ubuntu")
            case "tar":
                return TarHead(self.name, self.path)
            case "dockerfile":
                return BuiltHead(self.name, self.path, self.context)
            case "host":
                return HostHead(self.name)
        raise Bug(f"there is no kind of head {self.kind!r}")


@dataclass(frozen=True, slots=True)
class Definition:
    """What one image was made from; `format` is that of what anew makes of it."""

    format: int
    project: str
    service: str
    head: HeadRecord
    items: tuple[Item, ...]
    steps: tuple[BuildStep, ...]
    fetched: tuple[tuple[str, Digest], ...] = ()  # address and content of those of the items that were fetched

    @property
    def is_reproducible(self) -> bool:
        """Whether everything in it is known by its content: no step had the network, no other program made the head."""
        return self.head.kind != "dockerfile" and not any(step.network for step in self.steps)

    def text(self) -> bytes:
        """Return the definition as bytes; where files lay on the disk is no part of it."""
        plain = replace(self, items=tuple(replace(one, source="") for one in self.items))
        return canonical(msgspec.to_builtins(plain))

    def wanted(self) -> Service:
        """Return as much of the service as its image depends on."""
        return Service(self.service, self.head.name, ("-",), build=self.steps)

    def context(self, source: Callable[[Item], Path]) -> Context:
        """Return what is copied; `source` tells where a file's content lies now."""
        items = tuple(replace(one, source=os.fspath(source(one))) if one.kind == "file" else one for one in self.items)
        return Context(items, digest([[i.target, i.kind, i.mode, i.content] for i in items]))


def of_head(head: Head) -> HeadRecord:
    """Return the record of a head, with nothing of what it was locked to."""
    match head:
        case DebianHead(name=name, suite=suite, packages=packages, distribution=distribution):
            return HeadRecord(distribution, name, suite, packages)
        case TarHead(name=name, path=path):
            return HeadRecord("tar", name, path=path)
        case BuiltHead(name=name, recipe=recipe, context=context):
            return HeadRecord("dockerfile", name, path=recipe, context=context)
        case HostHead(name=name):
            return HeadRecord("host", name)


def read(data: bytes) -> Definition:
    """Return the definition of a blob. Raises Conflict if it can't be understood."""
    try:
        return msgspec.json.decode(data, type=Definition)
    except msgspec.MsgspecError as cause:
        raise Conflict(f"a definition in the image store can't be read: {cause}") from cause


def contents(layer: tuple[Node, ...], tree: Path) -> Callable[[Item], Path]:
    """Return where files of a layer lie in its folder, by their content.

    Raises  Conflict, when asked, for a content that the layer does not have.
    """
    by_content = {one.content: tree / one.path for one in layer if one.kind == "file"}

    def source(item: Item) -> Path:
        found = by_content.get(item.content)
        if found is None:
            raise Conflict(f"the content of /{item.target} is not in the layer that was copied from it")
        return found

    return source
