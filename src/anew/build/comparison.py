"""Two images of one service: which input changed, which packages moved, and which files differ because of it.

All is read from what the images recorded (`anew.build.definition`) and from the listings of their layers; nothing is
made again. What an older anew did not record, or the store does not have any more, is said; the rest is told.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import msgspec

from anew.build import definition as definitions
from anew.build import packages
from anew.build.causes import attributes
from anew.build.context import Item
from anew.build.definition import Definition, HeadRecord, Supply
from anew.build.listing import Node, stacked
from anew.build.owners import Owners, owners
from anew.build.store import ImageStore
from anew.core.digest import canonical, short
from anew.errors import AnewError
from anew.model import BuildStep, Digest, Image
from anew.model.comparison import Change, FileChange, ImageComparison

_TOLD = frozenset(
    {"project", "service", "head", "items", "steps", "fetched", "supplies"}
)  # fields that are told in their own words
_NO_TOOL = HeadRecord("", "")  # of a step that has none
_T = TypeVar("_T")


def compared(store: ImageStore, before: Image, after: Image) -> ImageComparison:
    """Return what differs between two images; what can't be told is said, and never raised."""
    unknown: dict[str, None] = {}
    sides = [_Side(store, image, which, unknown) for image, which in ((before, "before"), (after, "after"))]
    old, new = made = [side.definition() for side in sides]
    is_same_tree = before.identity.tree == after.identity.tree
    moves = _packages(old, new)
    files: tuple[FileChange, ...] = ()
    if not is_same_tree:
        was, now = (side.tree(one) for side, one in zip(sides, made, strict=True))
        if was is not None and now is not None:
            if was.owners.versions and now.owners.versions:  # steps may have installed some, too
                moves = tuple(_moved(was.owners.versions, now.owners.versions))
            files = tuple(_files(was, now, {move.name: move for move in moves}))
    if before.is_host or after.is_host:
        unknown["the machine's own root is no part of an image: only what was added to it is compared"] = None
    return ImageComparison(
        before=before.digest,
        after=after.digest,
        is_same_tree=is_same_tree,
        inputs=tuple(_inputs(store, old, new)) if old is not None and new is not None else (),
        packages=moves,
        copied=tuple(_copied(old.items, new.items)) if old is not None and new is not None else (),
        files=files,
        unknown=tuple(unknown),
    )


# ------------------------------------------------------------ what is known of one image


@dataclass(frozen=True, slots=True)
class _Tree:
    """All that an image shows, the layer that each path comes from, and what each layer is."""

    nodes: Mapping[str, Node]
    layer: Mapping[str, int]
    origins: Sequence[str]  # by layer: "head", "copy", "build[0]"
    owners: Owners

    def origin(self, path: str, moves: Mapping[str, Change]) -> str:
        """Return what a path comes from."""
        origin = self.origins[self.layer[path]]
        package = self.owners.of(path) if origin != "copy" else ""
        if not package:
            return origin
        move = moves.get(package)
        told = f"package {package}" + (f" {move.before or '(none)'} → {move.after or '(none)'}" if move else "")
        return told if origin == "head" else f"{origin}, {told}"


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two images, while it is read; what can't be read is noted in `unknown`."""

    store: ImageStore
    image: Image
    which: str
    unknown: dict[str, None]

    def definition(self) -> Definition | None:
        """Return what the image was made from."""
        if not self.image.inputs:
            self._note("was made by an older anew, which did not record what it made it from")
            return None
        return self._tried(lambda: definitions.read(self.store.blobs.verify(self.image.inputs[0]).read_bytes()))

    def tree(self, made: Definition | None) -> _Tree | None:
        """Return what the image shows, which is `made` from that."""
        return self._tried(lambda: self._tree(made))

    def _tree(self, made: Definition | None) -> _Tree:
        layers = self.image.layers
        listings = [self.store.listing(one) for one in layers]
        layer = {node.path: number for number, nodes in enumerate(listings) for node in nodes}
        nodes = stacked(listings)
        found = self._tried(lambda: owners(layers, nodes, layer, self.store.tree)) or Owners()
        return _Tree(nodes, layer, tuple(self._origins(len(layers), made)), found)

    def _origins(self, count: int, made: Definition | None) -> Iterator[str]:
        """Yield what each layer is: a head, what was copied, and one for each step that changed something."""
        head = 0 if self.image.is_host else 1
        if made is None:
            yield from ["head"] * min(head, count)
            yield from ["what the service adds"] * (count - head)
            return
        copied = 1 if any(item.target for item in made.items) and count > head else 0
        steps = count - head - copied
        yield from ["head"] * head
        yield from ["copy"] * copied
        if steps == len(made.steps):
            yield from (f"build[{number}]" for number in range(steps))
        else:  # a step that changes nothing has no layer
            yield from ["build"] * steps

    def _tried(self, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except AnewError as error:
            self._note(f"can't be read in full: {error.what}")
            return None

    def _note(self, what: str) -> None:
        self.unknown[f"the image {self.which} ({short(self.image.digest)}) {what}"] = None


# ------------------------------------------------------------ inputs


def _inputs(store: ImageStore, old: Definition, new: Definition) -> Iterator[Change]:
    yield from _heads(old.head, new.head, "os")
    pairs = tuple(_paired(old.steps, new.steps))
    for place, i, j in pairs:
        before = "" if i is None else _step(old.steps[i])
        after = "" if j is None else _step(new.steps[j])
        if before != after:
            yield Change(place, before, after)
    yield from _given(store, [(place, old.given(i), new.given(j)) for place, i, j in pairs])
    yield from _fetched(dict(old.fetched), dict(new.fetched))
    for field in fields(Definition):
        if field.name not in _TOLD:
            was, now = (_shown(getattr(one, field.name)) for one in (old, new))
            if was != now:
                yield Change("anew's format of images" if field.name == "format" else field.name, was, now)


def _heads(old: HeadRecord, new: HeadRecord, name: str) -> Iterator[Change]:
    for what, tell in _OF_HEADS.items():
        was, now = tell(old), tell(new)
        if was != now:
            yield Change(f"{name} {what}".strip(), was, now)
    known = {"kind", "name", "suite", "named", "path", "recipe", "layer", "tree", "packages", "archive", "blobs"}
    for field in fields(HeadRecord):
        was, now = (_shown(getattr(one, field.name)) for one in (old, new))
        if field.name not in known and was != now:
            yield Change(f"{name} {field.name}", was, now)


_OF_HEADS: Mapping[str, Callable[[HeadRecord], str]] = {
    "": lambda head: " ".join(part for part in (head.name, head.kind, head.suite or head.path) if part),
    "packages": lambda head: ", ".join(sorted(set(head.named))),
    "archive": lambda head: short(head.archive),
    "image": lambda head: short(head.blobs[0]) if head.blobs else "",
    "locked layer": lambda head: short(head.layer),
    "machine": lambda head: short(head.recipe) if head.kind == "host" else "",
}


def _paired(old: Sequence[BuildStep], new: Sequence[BuildStep]) -> Iterator[tuple[str, int | None, int | None]]:
    """Yield which step became which, None for none, named by their place: the new one, if there is one."""
    was, now = ([_step(one) for one in steps] for steps in (old, new))
    for _, i, i_end, j, j_end in difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        for n in range(max(i_end - i, j_end - j)):
            before = i + n if i + n < i_end else None
            after = j + n if j + n < j_end else None
            yield f"build[{before if after is None else after}]", before, after


def _step(step: BuildStep) -> str:
    """Return a step in words: its command, and besides what it says that others don't."""
    said = {key: value for key, value in step.plain().items() if value}
    run = str(said.pop("run", ""))
    return " ".join(part for part in (run, canonical(said).decode() if said else "") if part)


def _given(store: ImageStore, pairs: Sequence[tuple[str, Supply, Supply]]) -> Iterator[Change]:
    """Yield which files of a step changed, and which program that applies it; one that several share is told once."""
    tools: dict[tuple[HeadRecord, HeadRecord], list[str]] = {}
    for place, old, new in pairs:
        if old.files != new.files:
            yield from _files_given(store, place, old, new)
        if old.tool != new.tool:
            tools.setdefault((old.tool or _NO_TOOL, new.tool or _NO_TOOL), []).append(place)
    for (was, now), places in tools.items():
        name = f"{', '.join(places)} tool"
        yield from _heads(was, now, name)
        for move in _moved(_versions(was.packages), _versions(now.packages)) if was.packages and now.packages else ():
            yield replace(move, name=f"{name} package {move.name}")


def _files_given(store: ImageStore, place: str, old: Supply, new: Supply) -> Iterator[Change]:
    """Yield each file that changed, or that some did where the store does not have them any more."""
    try:
        was, now = ({node.path: node for node in store.listing(one.layer)} if one.layer else {} for one in (old, new))
    except AnewError:
        yield Change(f"{place} files", short(old.files), short(new.files))
        return
    for path in sorted(was.keys() | now.keys()):
        before, after = was.get(path), now.get(path)
        if before != after:
            is_of_mode = before is not None and after is not None and before.content == after.content
            yield Change(f"{place} /{path}", *(_node(one, is_of_mode=is_of_mode) for one in (before, after)))


def _node(node: Node | None, *, is_of_mode: bool) -> str:
    if node is None:
        return ""
    if is_of_mode or node.kind == "dir":
        return f"{node.kind}, mode {node.mode:o}"
    return short(node.content) if node.kind == "file" else f"{node.kind} {node.content}"


def _fetched(old: Mapping[str, Digest], new: Mapping[str, Digest]) -> Iterator[Change]:
    for url in sorted(old.keys() | new.keys()):
        if old.get(url) != new.get(url):
            yield Change(f"fetched {url}", *(short(one[url]) if url in one else "" for one in (old, new)))


def _shown(value: object) -> str:
    """Return a value as text."""
    return value if isinstance(value, str) else canonical(msgspec.to_builtins(value)).decode()


def _copied(old: Sequence[Item], new: Sequence[Item]) -> Iterator[FileChange]:
    was, now = ({item.target: item for item in items} for items in (old, new))
    for target in sorted(was.keys() | now.keys()):
        before, after = was.get(target), now.get(target)
        if before is None or after is None:
            yield FileChange(target, "added" if before is None else "removed", "copy")
        elif before.kind != after.kind:
            yield FileChange(target, f"{before.kind} before, {after.kind} now", "copy")
        elif before.content != after.content:
            yield FileChange(target, "content", "copy")
        elif before.mode != after.mode:
            yield FileChange(target, f"mode {before.mode:o} before, {after.mode:o} now", "copy")


def _packages(old: Definition | None, new: Definition | None) -> tuple[Change, ...]:
    if old is None or new is None:
        return ()
    was, now = (_versions(one.head.packages) for one in (old, new))
    return tuple(_moved(was, now)) if was and now else ()


def _versions(lines: Sequence[str]) -> dict[str, str]:
    """Return versions by package, from lines of the lock."""
    return {one.name: one.version for one in map(packages.parsed, lines)}


def _moved(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield Change(name, was.get(name, ""), now.get(name, ""))


# ------------------------------------------------------------ files


def _files(old: _Tree, new: _Tree, moves: Mapping[str, Change]) -> Iterator[FileChange]:
    """Yield every path that differs, sorted; what is removed is told of the old image, all else of the new one."""
    for path in sorted(old.nodes.keys() | new.nodes.keys()):
        was, now = old.nodes.get(path), new.nodes.get(path)
        if was == now:
            continue
        if now is None:
            yield FileChange(path, "removed", old.origin(path, moves))
        else:
            yield FileChange(path, _what(was, now), new.origin(path, moves))


def _what(was: Node | None, now: Node) -> str:
    if was is None:
        return "added"
    if was.kind != now.kind:
        return f"{was.kind} before, {now.kind} now"
    told = [] if was.content == now.content else ["content"]
    attributes_ = attributes(was, now)
    return ", ".join([*told, *([attributes_] if attributes_ else [])])
