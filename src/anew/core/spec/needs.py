"""Who calls whom: every need names another service that listens, and no chain of needs comes back to where it began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anew.core.names import address_of
from anew.core.spec.complaints import nearest
from anew.core.spec.kinds import kind
from anew.core.spec.tree import Path, Tree, items, mapping, shortened
from anew.errors import Complaint
from anew.model import Door

Services = Mapping[str, object]


def check(tree: Tree, services: Services, environments: Services) -> Iterator[Complaint]:
    """Yield every complaint about needs, and about flags that a need sets already."""
    for name in services:
        yield from _named(tree, name, services)
        yield from _flags(tree, name, services, environments)
    yield from _circles(tree, services)


def _needs(services: Services, name: str) -> list[object]:
    return items(mapping(services[name]).get("needs"))


def _named(tree: Tree, name: str, services: Services) -> Iterator[Complaint]:
    seen: set[str] = set()
    for i, need in enumerate(_needs(services, name)):
        path: Path = ("services", name, "needs", i)
        if not isinstance(need, str):
            continue
        quoted = f"`{shortened(need)}`"
        if need in seen:
            yield tree.complaint(path, f"{quoted} is needed twice", "remove one of them")
        elif need == name:
            yield tree.complaint(path, f"{quoted} needs itself", "remove it")
        elif need not in services:
            yield tree.complaint(path, f"no service is named {quoted}", nearest(need, set(services) - {name}))
        elif kind(mapping(services[need])) in {"worker", "job"}:
            what = f"{quoted} listens on nothing, so it can't be called"
            yield tree.complaint(path, what, f"remove it, or write `http: {{}}` or `tcp: {{}}` in {quoted}")
        seen.add(need)


def _flags(tree: Tree, name: str, services: Services, environments: Services) -> Iterator[Complaint]:
    set_by = {
        variable: need
        for need in _needs(services, name)
        if isinstance(need, str) and need in services and kind(mapping(services[need])) in {"http", "tcp"}
        for variable, _ in address_of(Door(need, 0, is_tcp=kind(mapping(services[need])) == "tcp"), "")
    }
    owners: list[Path] = [("services", name)]
    owners += [("environments", one, "services", name) for one in environments]
    for owner in owners if set_by else ():
        for flag in mapping(mapping(_at(tree.value, owner)).get("flags")):
            if flag in set_by:
                what = f"`{flag}` is set by the need of `{shortened(set_by[flag])}`"
                yield tree.complaint((*owner, "flags", flag), what, "remove the flag, or give it another name")


def _at(value: object, path: Path) -> object:
    for piece in path:
        value = mapping(value).get(str(piece))
    return value


def _circles(tree: Tree, services: Services) -> Iterator[Complaint]:
    """Walk along the needs, depth first; a need of a service that is on the way already closes a circle."""
    done: set[str] = set()
    for start in services:
        way: list[str] = []
        places: dict[str, int] = {}  # where on the way each service stands
        branches: list[Iterator[tuple[int, object]]] = []
        ahead: str | None = start if start not in done else None
        while ahead is not None or way:
            if ahead is not None:
                places[ahead] = len(way)
                way.append(ahead)
                branches.append(enumerate(_needs(services, ahead)))
                ahead = None
            for i, need in branches[-1]:
                if not isinstance(need, str) or need not in services or need == way[-1] or need in done:
                    continue
                if need in places:
                    circle = [*way[places[need] :], need]
                    what = f"needs go in a circle: {' needs '.join(f'`{shortened(one)}`' for one in circle)}"
                    hint = "remove one of these needs"
                    yield tree.complaint(("services", way[-1], "needs", i), what, hint)
                    continue
                ahead = need
                break
            else:
                done.add(way[-1])
                del places[way.pop()]
                branches.pop()
