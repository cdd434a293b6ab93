"""Checks that span places: names that must exist elsewhere, or only once. They work on plain data of any shape.

So they speak even while shapes are wrong, and all complaints come at once. What has the wrong type is skipped here: the
shapes complain about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anew.core.names import MOST, SUFFIX, fits, is_label
from anew.core.spec.complaints import nearest
from anew.core.spec.tree import Path, Tree, shortened
from anew.errors import Complaint

Found = Iterator[tuple[Complaint, bool]]  # the complaint, and whether it is about what is only not there yet


def check(tree: Tree) -> Found:
    """Yield every complaint about how the parts of a spec go together."""
    root = _mapping(tree.value)
    services, environments = _mapping(root.get("services")), _mapping(root.get("environments"))
    for key, wanted in (("services", "service"), ("environments", "environment")):
        if root.get(key) == {}:
            yield tree.complaint((key,), f"`{key}` names no {wanted}", f"write one {wanted} under it"), False
    for name, service in services.items():
        yield from _service(tree, ("services", name), _mapping(service), _mapping(root.get("os")))
    yield from _hosts(tree, services)
    yield from _names(tree, root.get("project"), services, environments)
    for name, environment in environments.items():
        yield from _environment(tree, ("environments", name), _mapping(environment), services)
    yield from _host_heads(tree, root)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _service(tree: Tree, path: Path, service: dict[str, object], heads: Iterable[str]) -> Found:
    head = service.get("os")
    if isinstance(head, str) and head not in heads:
        yield tree.complaint((*path, "os"), f"no head is named `{shortened(head)}`", nearest(head, heads)), False
    if service and "http" not in service and "tcp" not in service:
        what = "a service without `http` is a worker, and workers are not there yet"
        yield tree.complaint(path, what, "listen on $PORT, and write `http: {health: /healthz}`"), True
    for source, target in _mapping(service.get("copy")).items():
        if source.endswith("/") and isinstance(target, str) and not target.endswith("/"):
            what = f"`{shortened(source)}` is a folder, and `{shortened(target)}` is not"
            yield tree.complaint((*path, "copy", source), what, f"write `{shortened(target)}/`"), False
    yield from _flags(tree, (*path, "flags"), service)


def _flags(tree: Tree, path: Path, owner: dict[str, object]) -> Found:
    """Numbers become texts, so a number that would change on the way must say what it is."""
    for name, value in _mapping(owner.get("flags")).items():
        written = tree.written.get((*path, name), "")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and repr(value) != written:
            what = f"`{written}` would be read as the number {value!r}"
            hint = f"write `'{written}'` if it is meant as it stands, else `{value!r}`"
            yield tree.complaint((*path, name), what, hint), False


def _hosts(tree: Tree, services: dict[str, object]) -> Found:
    first: dict[str, Path] = {}
    for name, service in services.items():
        for i, host in enumerate(_items(_mapping(_mapping(service).get("expose")).get("hosts"))):
            path: Path = ("services", name, "expose", "hosts", i)
            if not isinstance(host, str):
                continue
            if host in first:
                lines = f"at line {tree.lines[first[host]]} and at line {tree.lines[path]}"
                what = f"the host `{shortened(host)}` leads to two places, {lines}"
                yield tree.complaint(path, what, "let each host lead to one service"), False
            first.setdefault(host, path)


def _names(tree: Tree, project: object, services: Iterable[str], environments: Iterable[str]) -> Found:
    if not isinstance(project, str) or not is_label(project):
        return
    for environment in environments or ("local",):
        for service in services:
            if is_label(service) and is_label(environment) and not fits(project, environment, service):
                name = f"{project}-{environment}-{service}"
                most = MOST - len(SUFFIX)
                what = f"`{name}` has {len(name)} characters, and {most} leave room for generation and ordinal"
                yield tree.complaint(("services", service), what, "shorten one of the three names"), False


def _environment(tree: Tree, path: Path, environment: dict[str, object], services: Iterable[str]) -> Found:
    for name, override in _mapping(environment.get("services")).items():
        there = (*path, "services", name)
        if name not in services:
            yield tree.complaint(there, f"no service is named `{shortened(name)}`", nearest(name, services)), False
        yield from _flags(tree, (*there, "flags"), _mapping(override))


def _host_heads(tree: Tree, root: dict[str, object]) -> Found:
    heads = [name for name, head in _mapping(root.get("os")).items() if _mapping(head).get("host") is True]
    users = [
        f"`{shortened(name)}`"
        for name, service in _mapping(root.get("services")).items()
        if _mapping(service).get("os") in heads
    ]
    for name in _mapping(root.get("environments")):
        if users and name != "local":
            what = f"`{shortened(name)}` is not `local`, and the head of {', '.join(users)} is the machine's own root"
            hint = "write `debian: bookworm` for that head, or remove this environment"
            yield tree.complaint(("environments", name), what, hint), False
