"""What is reached from outside: every host name and every port leads to one service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic_core import PydanticCustomError

from anew.core.spec.fields import address
from anew.core.spec.kinds import kind
from anew.core.spec.shapes import EnvironmentShape
from anew.core.spec.tree import Path, Tree, items, mapping, shortened
from anew.errors import Complaint


def hosts(tree: Tree, services: Mapping[str, object]) -> Iterator[Complaint]:
    """Yield a complaint for every host name that is written twice."""
    first: dict[str, Path] = {}
    for name, service in services.items():
        for i, host in enumerate(items(mapping(mapping(service).get("expose")).get("hosts"))):
            path: Path = ("services", name, "expose", "hosts", i)
            if not isinstance(host, str):
                continue
            if host in first:
                lines = f"at line {tree.lines[first[host]]} and at line {tree.lines[path]}"
                what = f"the host `{shortened(host)}` leads to two places, {lines}"
                yield tree.complaint(path, what, "let each host lead to one service")
            first.setdefault(host, path)


def ports(tree: Tree, services: Mapping[str, object], environments: Mapping[str, object]) -> Iterator[Complaint]:
    """Yield a complaint for every public port that two services have in one environment, or a service and `listen`."""
    exposed: dict[str, object] = {
        name: mapping(mapping(service).get("expose")).get("port")
        for name, service in services.items()
        if kind(mapping(service)) == "tcp" and "port" in mapping(mapping(service).get("expose"))
    }
    for environment, said in (environments or {"local": {}}).items():
        listen = _port_of(mapping(said).get("listen", EnvironmentShape().listen))
        here = mapping(mapping(said).get("services"))
        first: dict[int, tuple[str, bool]] = {}
        for name, port in exposed.items():
            override = mapping(here.get(name)).get("port")
            is_own = override is not None
            path: Path = ("services", name, "expose", "port")
            if is_own:
                path, port = ("environments", environment, "services", name, "port"), override  # noqa: PLW2901 - here
            if not isinstance(port, int) or isinstance(port, bool):
                continue
            place = f" in `{shortened(environment)}`"
            if port == listen:
                what = f"the port {port} is that of `listen`{place}, where HTTP is served"
                yield tree.complaint(path, what, "choose another port here, or in `listen`")
            elif port in first:
                other, is_others_own = first[port]
                what = f"the port {port} is that of `{shortened(other)}` too{place if is_own or is_others_own else ''}"
                yield tree.complaint(path, what, "let each port lead to one service")
            else:
                first[port] = (name, is_own)


def _port_of(listen: object) -> int | None:
    """Return the port of an address; None if it is none: the shapes complain about that."""
    try:
        return address(listen)[1] if isinstance(listen, str) else None
    except PydanticCustomError:
        return None
