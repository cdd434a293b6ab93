"""What goes together within `build`: names that may be given once, and variables that mean what they look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anew.core.spec.tree import Path, Tree, mapping, shortened
from anew.errors import Complaint


def check(tree: Tree, path: Path, build: Sequence[object]) -> Iterator[Complaint]:
    """Yield every complaint about the steps of one service, beyond what the shape of each says."""
    seen: set[str] = set()
    for number, one in enumerate(build):
        step, there = mapping(one), (*path, number)
        name = step.get("name")
        if isinstance(name, str) and name in seen:
            what = f"two steps are named `{shortened(name)}`"
            yield tree.complaint((*there, "name"), what, "give one of them another name")
        elif isinstance(name, str):
            seen.add(name)
        for source, target in mapping(step.get("files")).items():
            if source.endswith("/") or (isinstance(target, str) and target.endswith("/")):
                what = f"`{shortened(source)}` becomes a file, and a path that ends with `/` is a folder"
                yield tree.complaint((*there, "files", source), what, "name the file on both sides")
        targets = list(mapping(step.get("files")).items())
        for i, (source, target) in enumerate(targets):
            if target in [one for _, one in targets[:i]]:
                what = f"two templates become `{shortened(str(target))}`"
                yield tree.complaint((*there, "files", source), what, "give one of them another target")
        for variable, value in mapping(step.get("vars")).items():
            yield from _numbers(tree, (*there, "vars", variable), value)


def changed_number(tree: Tree, path: Path, value: object) -> Iterator[Complaint]:
    """Yield a complaint about a number that would be written otherwise than it stands in the file, such as 1.10."""
    written = tree.written.get(path, "")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and repr(value) != written:
        what = f"`{written}` would be read as the number {value!r}"
        yield tree.complaint(path, what, f"write `'{written}'` if it is meant as it stands, else `{value!r}`")


def _numbers(tree: Tree, path: Path, value: object) -> Iterator[Complaint]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(tree, (*path, name), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _numbers(tree, (*path, number), inner)
    else:
        yield from changed_number(tree, path, value)
