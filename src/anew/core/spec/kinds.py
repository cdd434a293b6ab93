"""What goes together within one service, which depends on its kind: HTTP, TCP, a job, or a worker.

A service whose kind can't be told, because it has two or misspells one, is spared: one complaint is enough then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from pydantic_core import PydanticCustomError

from anew.core.spec.amounts import seconds
from anew.core.spec.shapes import ServiceShape
from anew.core.spec.tree import Path, Tree, items, mapping, shortened
from anew.errors import Complaint
from anew.model import Kind, Policy

_TELLING: Mapping[str, Kind] = MappingProxyType({"http": "http", "tcp": "tcp", "schedule": "job"})
_NOUNS: Mapping[Kind, str] = MappingProxyType(
    {"http": "speaks HTTP", "tcp": "speaks raw TCP", "worker": "is a worker", "job": "has a schedule"}
)
_LISTEN = "or listen on $PORT, and write `http: {health: /healthz}` or `tcp: {}`"

_BELONGS: Mapping[str, tuple[Kind, Mapping[Kind, str]]] = MappingProxyType(
    {
        "singleton": (
            "worker",
            {
                "http": "remove it, and write `size: 1`; while it is replaced, two of them run",
                "tcp": "remove it; what only one group may have at a time is a volume that is not `shared`",
                "job": "remove it: a run is one instance",
            },
        ),
        "ready_after": (
            "worker",
            {
                "http": "remove it: an instance is ready when `health` answers 200",
                "tcp": "remove it: an instance is ready when it accepts connections",
                "job": "remove it, and write how long a run may take: `within: 1h`",
            },
        ),
        "within": ("job", dict.fromkeys(_NOUNS, "write it inside `before`, or `at_most` in `rollout`, or remove it")),
    }
)


def kind(service: Mapping[str, object]) -> Kind | None:
    """Return what a service is by its keys; None if that can't be told."""
    said = [_TELLING[key] for key in _TELLING if key in service]
    if said:
        return said[0] if len(said) == 1 else None
    known = {field.alias or name for name, field in ServiceShape.model_fields.items()}
    meant = any(get_close_matches(key.lower(), _TELLING, n=1) for key in service if key not in known)
    return None if meant else "worker"


def check(tree: Tree, path: Path, service: Mapping[str, object]) -> Iterator[Complaint]:
    """Yield every complaint about keys of a service that do not go together."""
    said = [key for key in _TELLING if key in service]
    if len(said) > 1:
        what = f"a service has one of `http`, `tcp` and `schedule`, and this has {' and '.join(f'`{k}`' for k in said)}"
        yield tree.complaint((*path, said[-1]), what, "keep one of them, and make another service for the other")
    found = kind(service)
    if found is None:
        return
    for key, (owner, hints) in _BELONGS.items():
        if key in service and found != owner:
            what = (
                f"`{key}` is for {'workers' if owner == 'worker' else 'a schedule'}, and this service {_NOUNS[found]}"
            )
            yield tree.complaint((*path, key), what, hints[found])
    yield from _age(tree, path, service, found)
    yield from _size(tree, path, service, found)
    yield from _expose(tree, (*path, "expose"), service, found)
    yield from _tests(tree, (*path, "tests"), service, found)
    yield from _readiness(tree, path, service, found)
    yield from _sticky(tree, (*path, "rollout", "sticky"), service, found)
    yield from _outcomes(tree, (*path, "outcomes"), service, found)
    if "probes" in mapping(service.get("rollout")) and found != "http":
        what = f"a probe has nothing to ask: this service {_NOUNS[found]}"
        yield tree.complaint((*path, "rollout", "probes"), what, "remove it")
    yield from _control(tree, (*path, "rollout"), service, found)


def overrides(
    tree: Tree, path: Path, override: Mapping[str, object], service: Mapping[str, object]
) -> Iterator[Complaint]:
    """Yield every complaint about what an environment says of a service, and does not go together with its kind."""
    found = kind(service)
    if found is None:
        return
    if found == "job" and "size" in override:
        yield _no_size(tree, path)
    yield from _age(tree, path, override, found)
    size = override.get("size")
    if found == "worker" and service.get("singleton") is True and isinstance(size, int) and size > 1:
        yield tree.complaint((*path, "size"), f"it is a singleton, and has the size {size} here", "remove `size`")
    if "port" in override and found != "tcp":
        what = f"only a TCP service has a public port, and this {_NOUNS[found]}"
        yield tree.complaint((*path, "port"), what, "remove it")
    elif "port" in override and "port" not in mapping(service.get("expose")):
        what = "the service has no public port that could differ here"
        hint = f"write `expose: {{port: {shortened(str(override['port']))}}}` in the service, or remove it"
        yield tree.complaint((*path, "port"), what, hint)


def _age(tree: Tree, path: Path, said: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    if found == "job" and "max_age" in said:
        what = "a service with a schedule has no instance that grows old: a run ends"
        yield tree.complaint((*path, "max_age"), what, "remove it; how long a run may take is `within: 1h`")


def _size(tree: Tree, path: Path, service: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    size = service.get("size")
    if found == "job" and "size" in service:
        yield _no_size(tree, path)
    if found == "worker" and service.get("singleton") is True and isinstance(size, int) and size > 1:
        what = f"a singleton runs once, and this has the size {size}"
        yield tree.complaint((*path, "size"), what, "write `size: 1`, or remove `singleton`")


def _no_size(tree: Tree, path: Path) -> Complaint:
    return tree.complaint((*path, "size"), "a service with a schedule has no size: a run is one instance", "remove it")


def _expose(tree: Tree, path: Path, service: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    if not isinstance(service.get("expose"), dict):
        return
    expose = mapping(service["expose"])
    if found in {"worker", "job"}:
        what = f"nothing can reach this service: it {_NOUNS[found]}"
        yield tree.complaint(path, what, f"remove `expose`, {_LISTEN}")
    elif found == "http" and "port" in expose:
        what = "a service that speaks HTTP has no public port of its own"
        yield tree.complaint((*path, "port"), what, "remove it: HTTP is served on the port of `listen`, by host name")
    elif found == "tcp" and "hosts" in expose:
        what = "raw TCP knows no host names"
        yield tree.complaint((*path, "hosts"), what, "write `expose: {port: 6379}`: it is reached by its port")
    elif found == "tcp" and "port" not in expose:
        what = "the public port of this TCP service is missing"
        yield tree.complaint(path, what, "write `expose: {port: 6379}`, or remove `expose`")


def _tests(tree: Tree, path: Path, service: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    for i, test in enumerate(items(service.get("tests"))):
        one = mapping(test)
        if "http" in one and found != "http":
            what = f"an HTTP test has nothing to ask: this service {_NOUNS[found]}"
            yield tree.complaint((*path, i), what, "write `- run: [program, argument]`")
        elif found == "job" and one.get("at") == "preview":
            what = "a service with a schedule does not run before its time, so it has no preview"
            yield tree.complaint((*path, i), what, "remove `at: preview`; the image is tested anyway")


def _outcomes(tree: Tree, path: Path, service: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    said = mapping(service.get("outcomes"))
    if found in {"tcp", "job"} and "outcomes" in service:
        what = f"`outcomes` are those of workers and of what speaks HTTP, and this service {_NOUNS[found]}"
        why = "its connections are counted at the edge" if found == "tcp" else "the exit code of a run is its outcome"
        yield tree.complaint(path, what, f"remove it: {why}")
    elif found == "http" and "file" in said and "metrics" not in said:
        yield tree.complaint((*path, "file"), "what speaks HTTP is asked for its outcomes", "write `metrics: /metrics`")


def _readiness(tree: Tree, path: Path, service: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    after = _seconds(service.get("ready_after"))
    most = _seconds(mapping(service.get("rollout")).get("ready"))
    most = Policy().ready if most is None else most
    if found == "worker" and after is not None and after >= most:
        what = f"it would be ready after {after:g} s, and a rollout waits {most:g} s for that"
        yield tree.complaint((*path, "ready_after"), what, f"write less, or `rollout: {{ready: {after + 60:g}s}}`")


def _control(tree: Tree, path: Path, service: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    """Yield complaints about traffic that is to be left to somebody, where there is none."""
    rollout = mapping(service.get("rollout"))
    stages = rollout.get("stages")
    volumes = mapping(service.get("volumes")).values()
    if found not in {"http", "tcp"}:
        why = f"this service {_NOUNS[found]}: it has no part of the traffic"
    elif isinstance(stages, list) and all(one == "100%" for one in stages):
        why = "this service has no stage in which it could be compared"
    elif any(mapping(one).get("shared") is not True for one in volumes):
        why = "what has a volume that is not `shared` is handed over, and never compared"
    else:
        return
    if rollout.get("baseline") == "fresh":
        yield tree.complaint((*path, "baseline"), f"nothing is compared with a baseline: {why}", "remove it")
    if "control" in mapping(rollout.get("warm")):
        what = f"nothing stays behind to be compared with: {why}"
        yield tree.complaint((*path, "warm", "control"), what, "write `warm: 30m`")


def _sticky(tree: Tree, path: Path, service: Mapping[str, object], found: Kind) -> Iterator[Complaint]:
    """Yield what can't keep a client of this kind of service on one side; the shapes complain of what nothing is."""
    how = mapping(service.get("rollout")).get("sticky")
    if not isinstance(how, str) or how == "none":
        return
    if found in {"worker", "job"}:
        yield tree.complaint(path, f"nobody is a client of this service: it {_NOUNS[found]}", "remove it")
    elif found == "tcp" and (how == "cookie" or how.startswith("header:")):
        what = f"raw TCP has no {how.partition(':')[0]}s"
        yield tree.complaint(path, what, "write `sticky: address`, or remove it")


def _seconds(value: object) -> float | None:
    """Return the seconds of a duration; None if it is none, about which the shapes complain."""
    try:
        return seconds(value)
    except PydanticCustomError:
        return None
