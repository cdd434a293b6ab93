"""Checks that span places: names that must exist elsewhere, or only once. They work on plain data of any shape.

So they speak even while shapes are wrong, and all complaints come at once. What has the wrong type is skipped here: the
shapes complain about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anew.core.names import LONGER, MOST, SUFFIX, fits, is_label
from anew.core.spec import fetches, folders, kinds, needs, public, steps
from anew.core.spec.complaints import nearest
from anew.core.spec.room import advice
from anew.core.spec.tree import Path, Tree, items, mapping, shortened
from anew.errors import Complaint

Found = Iterator[Complaint]


def check(tree: Tree) -> Found:
    """Yield every complaint about how the parts of a spec go together."""
    root = mapping(tree.value)
    services, environments = mapping(root.get("services")), mapping(root.get("environments"))
    for key, wanted in (("services", "service"), ("environments", "environment")):
        if root.get(key) == {}:
            yield tree.complaint((key,), f"`{key}` names no {wanted}", f"write one {wanted} under it")
    for name, service in services.items():
        yield from _service(tree, ("services", name), mapping(service), mapping(root.get("os")))
    yield from public.hosts(tree, services)
    yield from public.ports(tree, services, environments)
    yield from needs.check(tree, services, environments)
    yield from _names(tree, root, services, environments)
    for name, environment in environments.items():
        yield from _environment(tree, ("environments", name), mapping(environment), services)
    yield from _host_heads(tree, root)


def _service(tree: Tree, path: Path, service: dict[str, object], heads: Iterable[str]) -> Found:
    head = service.get("os")
    if isinstance(head, str) and head not in heads:
        yield tree.complaint((*path, "os"), f"no head is named `{shortened(head)}`", nearest(head, heads))
    for source, target in mapping(service.get("copy")).items():
        if source.endswith("/") and isinstance(target, str) and not target.endswith("/"):
            what = f"`{shortened(source)}` is a folder, and `{shortened(target)}` is not"
            yield tree.complaint((*path, "copy", source), what, f"write `{shortened(target)}/`")
    yield from fetches.check(tree, (*path, "fetch"), service)
    yield from _secrets(tree, (*path, "secrets"), service)
    yield from steps.check(tree, (*path, "build"), items(service.get("build")))
    yield from _flags(tree, (*path, "flags"), service)
    yield from _told(tree, (*path, "flags"), service, service)
    yield from kinds.check(tree, path, service)
    yield from folders.check(tree, path, service)
    yield from folders.beside_secrets(tree, path, service)


def _secrets(tree: Tree, path: Path, service: dict[str, object]) -> Found:
    seen: set[str] = set()
    for i, name in enumerate(items(service.get("secrets"))):
        if isinstance(name, str) and name in seen:
            yield tree.complaint((*path, i), f"the secret `{shortened(name)}` is written twice", "remove one of them")
        elif isinstance(name, str):
            seen.add(name)


def _flags(tree: Tree, path: Path, owner: dict[str, object]) -> Found:
    """Numbers become texts, so a number that would change on the way must say what it is."""
    for name, value in mapping(owner.get("flags")).items():
        yield from steps.changed_number(tree, (*path, name), value)


def _told(tree: Tree, path: Path, owner: dict[str, object], service: dict[str, object]) -> Found:
    if "file" in mapping(service.get("outcomes")) and "OUTCOMES" in mapping(owner.get("flags")):
        what = "anew itself sets this flag, to the file of `outcomes`"
        yield tree.complaint((*path, "OUTCOMES"), what, "remove it, and write the counts to $OUTCOMES")


def _names(tree: Tree, root: dict[str, object], services: Iterable[str], environments: Iterable[str]) -> Found:
    project = root.get("project")
    if not isinstance(project, str) or not is_label(project):
        return
    for environment in environments or ("local",):
        for service in services:
            rollout = mapping(mapping(mapping(root.get("services")).get(service)).get("rollout"))
            has_baseline = rollout.get("baseline") == "fresh"
            suffix = LONGER if has_baseline else SUFFIX
            if is_label(service) and is_label(environment) and not fits(project, environment, service, suffix):
                name = f"{project}-{environment}-{service}"
                most = MOST - len(suffix)
                what = f"`{name}` has {len(name)} characters, and {most} leave room for generation and ordinal"
                path: Path = ("services", service)
                more = f"write a shorter one, or no `baseline`: that takes {len(LONGER) - len(SUFFIX)} of them"
                yield tree.complaint(path, what, more if has_baseline else advice(service, root, path))


def _environment(tree: Tree, path: Path, environment: dict[str, object], services: dict[str, object]) -> Found:
    for name, override in mapping(environment.get("services")).items():
        there = (*path, "services", name)
        if name not in services:
            yield tree.complaint(there, f"no service is named `{shortened(name)}`", nearest(name, services))
        elif isinstance(services[name], dict):
            yield from kinds.overrides(tree, there, mapping(override), mapping(services[name]))
            yield from _told(tree, (*there, "flags"), mapping(override), mapping(services[name]))
        yield from _flags(tree, (*there, "flags"), mapping(override))


def _host_heads(tree: Tree, root: dict[str, object]) -> Found:
    heads = [name for name, head in mapping(root.get("os")).items() if mapping(head).get("host") is True]
    users = [
        f"`{shortened(name)}`"
        for name, service in mapping(root.get("services")).items()
        if mapping(service).get("os") in heads
    ]
    for name in mapping(root.get("environments")):
        if users and name != "local":
            what = f"`{shortened(name)}` is not `local`, and the head of {', '.join(users)} is the machine's own root"
            hint = "write `debian: bookworm` for that head, or remove this environment"
            yield tree.complaint(("environments", name), what, hint)
