"""What is wrong with one value, as sentences: from the findings of pydantic to complaints with line, path and hint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from anew.core.spec import shapes
from anew.core.spec.fields import NOT_YET
from anew.core.spec.tree import Path, Tree, shortened
from anew.errors import Complaint

_WANTED: Mapping[str, str] = MappingProxyType(
    {
        "string_type": "a text",
        "int_type": "a whole number",
        "bool_type": "true or false",
        "list_type": "a list",
        "dict_type": "a mapping (`key: value`)",
        "model_type": "a mapping (`key: value`)",
    }
)

_MISSING: Mapping[str, str] = MappingProxyType(
    {
        "project": "write `project: NAME`",
        "os": "write `os: {base: {debian: bookworm}}` for the project, and `os: base` in each service",
        "services": "write `services:`, and one mapping per service under it",
        "command": "write `command: [program, argument]`",
        "get": "write `get: /`",
        "run": "write `run: COMMAND`",
    }
)

_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "env": "`flags: {NAME: value}` become environment variables",
        "environment": "`flags: {NAME: value}` become environment variables",
        "replicas": "write `size: 2`",
        "scale": "write `size: 2`",
        "cmd": "write `command: [program, argument]`",
        "entrypoint": "write `command: [program, argument]`",
        "healthcheck": "write `http: {health: /healthz}`",
        "port": "anew gives every instance a free port in $PORT",
        "ports": "anew gives every instance a free port in $PORT",
        "image": "an image is built: name a head with `os:`, and add to it with `copy:` and `build:`",
        "restart": "an instance that died is replaced anyway",
        "depends_on": "start order does not exist: a program waits for what it calls",
    }
)

_LATER: Mapping[type[BaseModel], Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        shapes.ProjectShape: {
            "data": ("data stores are not there yet", "run the database yourself, and give its address as a flag"),
            "volumes": ("volumes are not there yet", "keep data elsewhere, and give its address as a flag"),
            "secrets": ("secrets are not there yet", "let the program fetch them itself; a flag is no place for one"),
        },
        shapes.HeadShape: {
            "image": (
                "a head from a registry is not there yet",
                "write `debian: bookworm`, or export the image's root file system and write `tar: rootfs.tar`",
            ),
        },
        shapes.ServiceShape: {
            "needs": ("needs are not there yet", "give the address of the other service as a flag"),
            "tcp": ("raw TCP is not there yet", "serve HTTP, and write `http: {health: /healthz}`"),
            "secrets": ("secrets are not there yet", "let the program fetch them itself; a flag is no place for one"),
            "logs": ("log files are not there yet", "write to standard output; `anew logs` shows it"),
            "before": (
                "commands before a rollout are not there yet",
                "run it by hand before `anew up`, so that the old generation goes on working",
            ),
            "volumes": ("volumes are not there yet", "keep data elsewhere, and give its address as a flag"),
            "schedule": ("schedules are not there yet", "let cron start it"),
            "singleton": ("singletons are not there yet", "write `size: 1`; while it is replaced, two of them run"),
        },
        shapes.EnvironmentShape: {
            "secrets": ("secrets are not there yet", "let the program fetch them itself; a flag is no place for one"),
            "volumes": ("volumes are not there yet", "keep data elsewhere, and give its address as a flag"),
        },
    }
)

_SHAPES: tuple[tuple[tuple[str, ...], type[BaseModel]], ...] = (
    (("os", "*"), shapes.HeadShape),
    (("services", "*"), shapes.ServiceShape),
    (("services", "*", "build", "*"), shapes.BuildShape),
    (("services", "*", "http"), shapes.HttpShape),
    (("services", "*", "expose"), shapes.ExposeShape),
    (("services", "*", "rollout"), shapes.RolloutShape),
    (("services", "*", "tests", "*"), shapes.TestShape),
    (("services", "*", "tests", "*", "http"), shapes.HttpTestShape),
    (("environments", "*"), shapes.EnvironmentShape),
    (("environments", "*", "services", "*"), shapes.OverrideShape),
)


def of_shape(error: ValidationError, tree: Tree) -> Iterable[tuple[Complaint, bool]]:
    """Yield each finding as a complaint, and whether it is about what is only not there yet."""
    details = [(_path(detail, tree), detail) for detail in error.errors(include_url=False)]
    unknown = {path for path, detail in details if detail["type"] == "extra_forbidden"}
    for path, detail in details:
        if detail["type"] == "missing" and any(_is_meant(one, path) for one in unknown):
            continue
        if detail["type"] == "extra_forbidden":
            yield _unknown(tree, path)
        else:
            what, hint = _sentence(detail, path)
            yield tree.complaint(path, what, hint), detail["type"] == NOT_YET


def _is_meant(unknown: Path, missing: Path) -> bool:
    """Say whether the unknown key is the missing one, misspelled; one complaint is enough then."""
    close = get_close_matches(str(unknown[-1]).lower(), keys(shape_at(unknown[:-1])), n=1)
    return unknown[:-1] == missing[:-1] and close == [missing[-1]]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known name, or all of them.

    >>> nearest("wbe", ["web", "api"]), nearest("x", ["web", "api"])
    ('did you mean `web`?', 'known here: api, web')
    """
    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known here: {', '.join(names)}" if names else "nothing is known here"


def shown(value: object) -> str:
    """Say what was written and of which kind it is."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"`{str(value).lower()}`, which is true or false,"
        case int() | float():
            return f"the number `{value}`"
        case str():
            return f"the text `{shortened(value)}`"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _path(detail: ErrorDetails, tree: Tree) -> Path:
    path = detail["loc"]
    return path[:-1] if path and path[-1] == "[key]" and path not in tree.lines else path


def _sentence(detail: ErrorDetails, path: Path) -> tuple[str, str]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    name = str(path[-1]) if path else ""
    match kind:
        case "wrong" | "not_yet":
            quoted = (
                "" if isinstance(value, (dict, list)) or value in {None, ""} else f"`{shortened(_written(value))}`: "
            )
            return quoted + str(context["what"]), str(context["hint"])
        case "missing":
            return f"`{name}` is missing", _MISSING.get(name, "")
        case "literal_error":
            allowed = str(context["expected"]).replace("'", "`")
            return f"{shown(value)} stands where {allowed} is wanted", f"write {allowed}"
        case "greater_than_equal":
            return f"{shown(value)} is too small", f"write {context['ge']} or more"
        case "less_than_equal":
            return f"{shown(value)} is too large", f"write {context['le']} or less"
    wanted = _WANTED.get(kind)
    if wanted is None:
        return f"{shown(value)} is wrong here: {detail['msg']}", "write another value"
    return f"{shown(value)} stands where {wanted} is wanted", _mended(kind, value, name)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mended(kind: str, value: object, name: str) -> str:
    match kind, value:
        case "string_type", bool() | int() | float():
            return f"put it in quotes: `'{_written(value)}'`"
        case "int_type", str() if value.strip().isdecimal():
            return f"remove the quotes: `{value.strip()}`"
        case "list_type", str() | int() | float():
            return f"write `[{shortened(_written(value))}]`"
        case "bool_type", str():
            return "write `true` or `false`"
        case (("dict_type" | "model_type"), None):
            return f"indent what belongs under `{shortened(name)}:`, or remove the key"
        case ("model_type", str()) if name.isdecimal():
            return f"write `- run: {shortened(value)}` if it is a command"
        case (("dict_type" | "model_type"), list()):
            return "write `key: value` without the leading `- `"
        case _, None:
            return "write a value, or remove the key"
    return f"write {_WANTED[kind]}"


def _unknown(tree: Tree, path: Path) -> tuple[Complaint, bool]:
    shape, name = shape_at(path[:-1]), str(path[-1])
    later = _LATER.get(shape, {}).get(name)
    if later:
        return tree.complaint(path, *later), True
    known = keys(shape)
    homes: dict[str, type[BaseModel]] = {
        "http": shapes.HttpShape,
        "expose": shapes.ExposeShape,
        "rollout": shapes.RolloutShape,
    }
    hint = nearest(name, known)
    if shape is shapes.ServiceShape:
        home = next((home for home, inner in homes.items() if name in keys(inner)), None)
        hint = f"write it inside `{home}`" if home else _ELSEWHERE.get(name, hint)
    elif shape is shapes.EnvironmentShape and name in keys(shapes.OverrideShape):
        hint = f"write `services: {{NAME: {{{name}: ...}}}}`"
    return tree.complaint(path, f"`{shortened(name)}` is not known here", hint), False


def keys(shape: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a shape as they are written."""
    return tuple(field.alias or name for name, field in shape.model_fields.items())


def shape_at(path: Path) -> type[BaseModel]:
    """Return the shape of the mapping at `path`, of those with known keys."""
    for pattern, shape in _SHAPES:
        if len(pattern) == len(path) and all(p in {"*", here} for p, here in zip(pattern, path, strict=True)):
            return shape
    return shapes.ProjectShape
