"""All that an image was made from, as one blob: what `anew rebuild` makes it from again.

It holds no contents. Those of packages and archives are blobs of their own, and those of copied files lie in the
image's own layer of them: each is known by its digest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from anew.build.context import Context, Item
from anew.build.listing import Node
from anew.build.packages import parsed
from anew.core.digest import canonical, digest
from anew.core.reference import is_digest
from anew.errors import Bug, Conflict
from anew.model import BuildStep, DebianHead, Digest, Head, HostHead, ImageHead, Service, TarHead

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*\Z")  # of suites, packages and heads


@dataclass(frozen=True, slots=True)
class HeadRecord:
    """A head and what it was locked to; "" and () where that says nothing."""

    kind: str  # debian, tar, image or host
    name: str
    suite: str = ""
    named: tuple[str, ...] = ()  # packages, as in the spec
    path: str = ""  # of a tar; of an image its reference
    recipe: Digest = ""
    layer: Digest = ""
    tree: Digest = ""
    packages: tuple[str, ...] = ()  # lines of the lock
    archive: Digest = ""  # of a tar
    blobs: tuple[Digest, ...] = ()  # of an image in a registry: its manifest, its config, its layers

    @property
    def head(self) -> Head:
        """The head itself."""
        match self.kind:
            case "debian":
                return DebianHead(self.name, self.suite, self.named)
            case "tar":
                return TarHead(self.name, self.path)
            case "image":
                return ImageHead(self.name, self.path)
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

    def text(self) -> bytes:
        """Return the definition as bytes; where files lay on the disk is no part of it."""
        plain = replace(self, items=tuple(replace(one, source="") for one in self.items))
        text = msgspec.to_builtins(plain)
        if not self.head.blobs:  # which others don't have, and never had
            del text["head"]["blobs"]
        return canonical(text)

    def package_digests(self) -> tuple[Digest, ...]:
        """Return the packages of its head, as blobs."""
        return tuple(parsed(line).digest for line in self.head.packages)

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
        case DebianHead(name=name, suite=suite, packages=packages):
            return HeadRecord("debian", name, suite, packages)
        case TarHead(name=name, path=path):
            return HeadRecord("tar", name, path=path)
        case ImageHead(name=name, reference=reference):
            return HeadRecord("image", name, path=reference)
        case HostHead(name=name):
            return HeadRecord("host", name)


def read(data: bytes) -> Definition:
    """Return the definition of a blob.

    Raises  Conflict if it can't be understood, or says what no spec can: it may have come from elsewhere, and what it
            says becomes paths and arguments of programs.
    """
    try:
        found = msgspec.json.decode(data, type=Definition)
        for line in found.head.packages:
            parsed(line)
    except (msgspec.MsgspecError, ValueError) as cause:
        raise Conflict(f"a definition in the image store can't be read: {cause}") from cause
    head = found.head
    named = (head.suite, head.name, *head.named)
    digests = (one for one in (head.archive, *head.blobs) if one)
    if (
        not all(_NAME.match(one) for one in named if one)
        or (head.kind == "tar" and ".." in head.path.split("/"))
        or head.path.startswith(("/", "-"))
        or not all(map(is_digest, digests))
    ):
        raise Conflict("a definition in the image store says what no spec can", hint="find out where it came from")
    return found


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
