"""All that an image was made from, as one blob: what `anew rebuild` makes it from again.

It holds no contents. Those of packages and archives are blobs of their own, and those of copied files lie in the
image's own layer of them: each is known by its digest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from anew.build.context import Context, Item
from anew.build.listing import Node
from anew.build.packages import parsed
from anew.core.digest import canonical, digest
from anew.core.reference import is_digest
from anew.errors import Bug, Conflict
from anew.model import BuildStep, BuiltHead, DebianHead, Digest, Head, HostHead, ImageHead, Service, TarHead

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*\Z")  # of suites, packages and heads


@dataclass(frozen=True, slots=True)
class HeadRecord:
    """A head and what it was locked to; "" and () where that says nothing."""

    kind: str  # debian, ubuntu, tar, image, dockerfile or host
    name: str
    suite: str = ""
    named: tuple[str, ...] = ()  # packages, as in the spec
    path: str = ""  # of a tar; of an image its reference
    recipe: Digest = ""
    layer: Digest = ""
    tree: Digest = ""
    packages: tuple[str, ...] = ()  # lines of the lock
    archive: Digest = ""  # of a tar
    context: str = ""  # of a Dockerfile
    resolved: str = ""  # when, in UTC; "" if an older anew wrote this
    blobs: tuple[Digest, ...] = ()  # of an image in a registry: its manifest, its config, its layers

    def package_digests(self) -> tuple[Digest, ...]:
        """Return its packages, as blobs."""
        return tuple(parsed(line).digest for line in self.packages)

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
            case "image":
                return ImageHead(self.name, self.path)
            case "dockerfile":
                return BuiltHead(self.name, self.path, self.context)
            case "host":
                return HostHead(self.name)
        raise Bug(f"there is no kind of head {self.kind!r}")


@dataclass(frozen=True, slots=True)
class Supply:
    """What a step of `build` is given besides the image so far; "" and None for nothing."""

    files: Digest = ""  # of the paths, modes and contents of what it reads of the project
    layer: Digest = ""  # which holds these files; "" as long as nobody needs them
    tool: HeadRecord | None = None  # whose layer has the program that applies a playbook or a manifest
    pin: Digest = ""  # what stands for the tool in the step's key: its locked layer, or else its recipe

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """What must be kept to run the step again; a tool's packages are kept with its layer."""
        return tuple(one for one in (self.layer, self.tool.layer if self.tool else "") if one)


NOTHING = Supply()


@dataclass(frozen=True, slots=True)
class Job:
    """A step of `build` with what it is given; `where` is its place in the spec."""

    step: BuildStep
    where: str
    supply: Supply = NOTHING

    @property
    def title(self) -> str:
        """Its place, and its name if it has one."""
        return f"{self.where} ({self.step.name})" if self.step.name else self.where


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
    supplies: tuple[Supply, ...] = ()  # one for each step; (): none is given anything

    @property
    def is_reproducible(self) -> bool:
        """Whether everything in it is known by its content: no step had the network, no other program made the head."""
        return self.head.kind != "dockerfile" and not any(step.network for step in self.steps)

    def text(self) -> bytes:
        """Return the definition as bytes; where files lay on the disk is no part of it."""
        plain = replace(self, items=tuple(replace(one, source="") for one in self.items))
        said = msgspec.to_builtins(plain) | {"steps": [one.plain() for one in self.steps]}
        if not self.supplies:  # as it was written before there were any
            del said["supplies"]
        if not self.head.blobs:  # which others don't have, and never had
            del said["head"]["blobs"]
        return canonical(said)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The steps with what they are given."""
        given = self.supplies or (NOTHING,) * len(self.steps)
        return jobs_of(self.service, self.steps, given)

    def given(self, number: int | None) -> Supply:
        """Return what a step is given; nothing for None."""
        return NOTHING if number is None or not self.supplies else self.supplies[number]

    def package_digests(self) -> tuple[Digest, ...]:
        """Return the packages of its heads, as blobs."""
        return tuple(dict.fromkeys(one for head in self.heads for one in head.package_digests()))

    @property
    def heads(self) -> tuple[HeadRecord, ...]:
        """Its head, and those of the tools of its steps."""
        return tuple(dict.fromkeys((self.head, *(one.tool for one in self.supplies if one.tool is not None))))

    def wanted(self) -> Service:
        """Return as much of the service as its image depends on."""
        return Service(self.service, self.head.name, ("-",), build=self.steps)

    def context(self, source: Callable[[Item], Path]) -> Context:
        """Return what is copied; `source` tells where a file's content lies now."""
        items = tuple(replace(one, source=os.fspath(source(one))) if one.kind == "file" else one for one in self.items)
        return Context(items, digest([[i.target, i.kind, i.mode, i.content] for i in items]))


def jobs_of(service: str, steps: Sequence[BuildStep], supplies: Sequence[Supply]) -> tuple[Job, ...]:
    """Return the steps of a service with what each is given."""
    pairs = zip(steps, supplies, strict=True)
    return tuple(Job(step, f"services.{service}.build[{n}]", given) for n, (step, given) in enumerate(pairs))


def of_head(head: Head) -> HeadRecord:
    """Return the record of a head, with nothing of what it was locked to."""
    match head:
        case DebianHead(name=name, suite=suite, packages=packages, distribution=distribution):
            return HeadRecord(distribution, name, suite, packages)
        case TarHead(name=name, path=path):
            return HeadRecord("tar", name, path=path)
        case ImageHead(name=name, reference=reference):
            return HeadRecord("image", name, path=reference)
        case BuiltHead(name=name, recipe=recipe, context=context):
            return HeadRecord("dockerfile", name, path=recipe, context=context)
        case HostHead(name=name):
            return HeadRecord("host", name)


def read(data: bytes) -> Definition:
    """Return the definition of a blob.

    Raises  Conflict if it can't be understood, or says what no spec can: it may have come from elsewhere, and what it
            says becomes paths and arguments of programs.
    """
    try:
        found = msgspec.json.decode(data, type=Definition)
        tools = [one.tool for one in found.supplies if one.tool is not None]
        for line in (line for one in (found.head, *tools) for line in one.packages):
            parsed(line)
    except (msgspec.MsgspecError, ValueError) as cause:
        raise Conflict(f"a definition in the image store can't be read: {cause}") from cause
    head = found.head
    named = (head.suite, head.name, *head.named, *(name for one in tools for name in _names_of(one)))
    given = [digest for one in found.supplies for digest in (one.files, one.layer, one.pin)]
    given += [digest for one in (head, *tools) for digest in (one.archive, one.layer, *one.blobs)]
    digests = (one for one in (*given, *(content for _, content in found.fetched)) if one)
    if (
        not all(_NAME.match(one) for one in named if one)
        or not all(one.kind in {"debian", "ubuntu"} for one in tools)
        or len(found.supplies) not in {0, len(found.steps)}
        or ".." in (*head.path.split("/"), *head.context.split("/"))
        or head.path.startswith(("/", "-"))
        or head.context.startswith(("/", "-"))
        or not all(map(is_digest, digests))
    ):
        raise Conflict("a definition in the image store says what no spec can", hint="find out where it came from")
    return found


def _names_of(tool: HeadRecord) -> tuple[str, ...]:
    return (tool.suite, *tool.name.split("/"), *tool.named)


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
