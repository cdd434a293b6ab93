"""What is wrong with one value, as sentences: from the findings of pydantic to complaints with line, path and hint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from anew.core.spec import shapes
from anew.core.spec.fields import NAME
from anew.core.spec.head_shapes import HeadShape
from anew.core.spec.judge_shapes import JudgeShape
from anew.core.spec.measure_shapes import CriterionShape, OutcomesShape, ProbeShape
from anew.core.spec.rollout_shapes import MAPPING, TEXT, RolloutShape, WarmShape
from anew.core.spec.room import advice
from anew.core.spec.tree import Path, Tree, mapping, shortened
from anew.core.spec.wrong import NOT_YET
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
        "path": "write `path: /srv/uploads`",
        "run": "write `run: COMMAND`",
        "allow": "write `allow: private-key`; the reference lists the rules",
        "why": "write `why: REASON`",
        "control": "write `control: 2%`, or `warm: 30m` alone",
        "to": "write `to: /opt/tool.tar.gz`",
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
        "port": "each instance gets a free port in $PORT; the public one of a TCP service is `expose: {port: 6379}`",
        "ports": "each instance gets a free port in $PORT; the public one of a TCP service is `expose: {port: 6379}`",
        "image": "an image is built: name a head with `os:`, and add to it with `copy:` and `build:`",
        "restart": "an instance that died is replaced anyway",
        "depends_on": "write `needs: [NAME]`; start order does not exist: a program waits for what it calls",
        "links": "write `needs: [NAME]`",
        "cron": "write `schedule: '0 3 * * *'`",
        "limits": "write `memory: 256M`, `cpu: 0.5` or `pids: 100` in the service itself",
        "resources": "write `memory: 256M`, `cpu: 0.5` or `pids: 100` in the service itself",
        "mem_limit": "write `memory: 256M`",
        "cpus": "write `cpu: 0.5`",
        "pids_limit": "write `pids: 100`",
        "mounts": "write `volumes: {NAME: /srv/uploads}`",
        "dockerfile": "name a head with `os:`, and write `dockerfile: Dockerfile` in that",
        "max_os_age": "write it in the project, or in an environment: a head may be that of several services",
        "worker": "remove it: a service without `http`, `tcp` and `schedule` is a worker",
    }
)

_CALLED: Mapping[str, str] = MappingProxyType(  # keys of a rollout, and values, that had another name once
    {
        "within": "it is called `at_most`",
        "undecided": "it is called `on_undecided`; `advance` is `promote` there, and `roll back` is `rollback`",
        "advance": "it is called `promote`",
        "roll back": "it is called `rollback`",
    }
)

_LATER: Mapping[type[BaseModel], Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        shapes.ProjectShape: {
            "data": (
                "data stores are not there yet",
                "run the database as a `tcp` service with a volume, or elsewhere",
            ),
            "volumes": (
                "volumes of several services are not there yet",
                "write `volumes: {NAME: /srv/uploads}` in the service that has it",
            ),
            "secrets": (
                "secrets of all services are not there yet",
                "write `secrets: [NAME]` in each service that reads it",
            ),
        },
        shapes.ServiceShape: {
            "logs": ("log files are not there yet", "write to standard output; `anew logs` shows it"),
        },
    }
)

_SHAPES: tuple[tuple[tuple[str, ...], type[BaseModel]], ...] = (
    (("os", "*"), HeadShape),
    (("services", "*"), shapes.ServiceShape),
    (("services", "*", "build", "*"), shapes.BuildShape),
    (("services", "*", "http"), shapes.HttpShape),
    (("services", "*", "tcp"), shapes.TcpShape),
    (("services", "*", "expose"), shapes.ExposeShape),
    (("services", "*", "volumes", "*"), shapes.VolumeShape),
    (("services", "*", "before", "*"), shapes.TaskShape),
    (("services", "*", "rollout"), RolloutShape),
    (("services", "*", "rollout", "warm"), WarmShape),
    (("services", "*", "rollout", "judge"), JudgeShape),
    (("services", "*", "rollout", "judge", "criteria", "*"), CriterionShape),
    (("services", "*", "rollout", "probes", "*"), ProbeShape),
    (("services", "*", "outcomes"), OutcomesShape),
    (("services", "*", "tests", "*"), shapes.TestShape),
    (("services", "*", "tests", "*", "http"), shapes.HttpTestShape),
    (("services", "*", "hygiene", "*"), shapes.AllowanceShape),
    (("services", "*", "fetch", "*"), shapes.FetchShape),
    (("max_os_age",), shapes.OsAgeShape),
    (("environments", "*", "max_os_age"), shapes.OsAgeShape),
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
        elif detail["type"] == NAME:
            name, hint = str(detail["ctx"]["text"]), advice(str(detail["ctx"]["text"]), mapping(tree.value), path)
            quoted = f"`{shortened(name)}`: " if name else ""
            yield tree.complaint(path, quoted + str(detail["ctx"]["what"]), hint), False
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
    """Return where the file says what the finding is about: pydantic also names keys as such, and ways to write."""
    path: Path = ()
    for i, piece in enumerate(detail["loc"], 1):
        marks = {TEXT, MAPPING} | ({"[key]"} if i == len(detail["loc"]) else set())
        if piece not in marks or (*path, piece) in tree.lines:
            path = (*path, piece)
    return path


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
            is_allowance = name == "path" and shape_at(path[:-1]) is shapes.AllowanceShape
            hint = "write `path: /srv/key.pem`" if is_allowance else _MISSING.get(name, "")
            return f"`{name}` is missing", "write `run: [program, argument]`" if _is_task(path[:-1]) else hint
        case "literal_error":
            allowed = str(context["expected"]).replace("'", "`")
            called = _CALLED.get(str(value)) if name == "on_undecided" else None
            return f"{shown(value)} stands where {allowed} is wanted", called or f"write {allowed}"
        case "greater_than_equal":
            return f"{shown(value)} is too small", f"write {context['ge']} or more"
        case "less_than_equal":
            return f"{shown(value)} is too large", f"write {context['le']} or less"
    wanted = _WANTED.get(kind)
    if wanted is None:
        return f"{shown(value)} is wrong here: {detail['msg']}", "write another value"
    return f"{shown(value)} stands where {wanted} is wanted", _example(value, path) or _mended(kind, value, name)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_task(path: Path) -> bool:
    return shape_at(path) is shapes.TaskShape


def _example(value: object, path: Path) -> str:
    """Return how to write what stands at `path`, where that is a mapping that other tools write as a list or text."""
    if not isinstance(value, (str, list)):
        return ""
    if _is_task(path):
        return "write `- run: [program, argument]`"
    if shape_at(path) is ProbeShape or (shape_at(path[:-1]) is RolloutShape and path[-1:] == ("probes",)):
        return "write `- {get: /, every: 1s}`"
    if shape_at(path) is CriterionShape or (shape_at(path[:-1]) is JudgeShape and path[-1:] == ("criteria",)):
        return "write `criteria: {NAME: {http: URL}}`"
    if shape_at(path) is shapes.AllowanceShape or path[-1:] == ("hygiene",):
        return "write `- {allow: private-key, path: /srv/key.pem, why: REASON}`"
    is_volumes = shape_at(path[:-1]) is shapes.ServiceShape and path[-1:] == ("volumes",)
    return "write `volumes: {NAME: /srv/uploads}`" if is_volumes else ""


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
        "rollout": RolloutShape,
    }
    hint = _CALLED.get(name, "") if shape is RolloutShape else ""
    hint = hint or nearest(name, known)
    if shape is shapes.ServiceShape:
        home = next((home for home, inner in homes.items() if name in keys(inner)), None)
        hint = _ELSEWHERE.get(name, f"write it inside `{home}`" if home else hint)
    elif shape is shapes.TcpShape:
        hint = "write `tcp: {}`; the public port is `expose: {port: 6379}`"
    elif shape is shapes.EnvironmentShape:
        hint = _of_environment(name, str(path[-2])) or hint
    elif shape is shapes.OverrideShape and name == "on_undecided":
        hint = "write it in the environment itself, or inside `rollout` of the service"
    elif shape is shapes.OverrideShape and name in keys(shapes.ServiceShape):
        hint = f"write it in the service `{shortened(str(path[-2]))}`: it is the same in every environment"
    return tree.complaint(path, f"`{shortened(name)}` is not known here", hint), False


def _of_environment(name: str, environment: str) -> str:
    if name in keys(shapes.OverrideShape):
        return f"write `services: {{NAME: {{{name}: ...}}}}`"
    if name == "secrets":
        given = f"`anew secret set NAME -e {shortened(environment)}` gives it a value here"
        return f"write `secrets: [NAME]` in the service; {given}"
    if name == "volumes":
        return "write `volumes: {NAME: /srv/uploads}` in the service; every environment has one of its own"
    return ""


def keys(shape: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a shape as they are written."""
    return tuple(field.alias or name for name, field in shape.model_fields.items())


def shape_at(path: Path) -> type[BaseModel]:
    """Return the shape of the mapping at `path`, of those with known keys."""
    for pattern, shape in _SHAPES:
        if len(pattern) == len(path) and all(p in {"*", here} for p, here in zip(pattern, path, strict=True)):
            return shape
    return shapes.ProjectShape
