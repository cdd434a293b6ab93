"""Writes docs/reference/ from the code. With `--check` it only says what is out of date.

Every page is made from what the program itself uses, so the pages can't say anything else than the program does.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import click

from anew.core import machine, steps
from anew.core.spec.schema import schema
from anew.errors import BY_CODE, Bug
from anew.faces.answers import ANSWERS
from anew.faces.cli import command_line
from anew.faces.demo.command import command as demo
from anew.model.hygiene import RULES

TARGET = Path(__file__).parent.parent / "docs" / "reference"
MADE = "<!-- Made by script/docs from the code; change it there. -->"


def commands() -> str:
    """Return the page of all commands, their arguments, options and exit codes."""
    group = command_line(_never, _never, _never)
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        "`anew [OPTION…] COMMAND [OPTION…]`. No command asks a question. ^C only stops watching: the keeper goes on.",
        "",
        *_options(group),
        *_exit_codes(),
    ]
    for name, one in group.commands.items():
        known = demo if name == "demo" else one
        lines += _command(f"## {name}", name, known, known.help or one.help or "")
        for inner, below in (known.commands if isinstance(known, click.Group) else {}).items():
            lines += _command(f"### {name} {inner}", f"{name} {inner}", below, below.help or "")
    return _page(lines)


def _command(title: str, name: str, one: click.Command, text: str) -> list[str]:
    usage = " ".join(["anew", name, *_pieces(one)])
    return ["", title, "", f"`{usage}`", "", _sentence(text), "", *_options(one)]


def _never(*_: object) -> NoReturn:
    raise Bug("the reference runs no command")


def _pieces(one: click.Command) -> list[str]:
    context = click.Context(one)
    return [piece for parameter in one.params for piece in parameter.get_usage_pieces(context)] + ["[OPTION…]"]


def _options(one: click.Command) -> list[str]:
    rows = []
    for parameter in one.params:
        if isinstance(parameter, click.Option):
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            default = f" (`{parameter.default}`)" if parameter.show_default and parameter.default is not None else ""
            choices = f" `{'`, `'.join(parameter.type.choices)}`." if isinstance(parameter.type, click.Choice) else ""
            rows.append((names, _sentence(parameter.help or "") + choices + default))
    return _table(("option", "meaning"), rows) if rows else []


def _exit_codes() -> list[str]:
    rows = [("0", "", "it happened")]
    rows += [(str(kind.exit_code), kind.__name__, _first(kind)) for kind in BY_CODE.values()]
    rows += [("130", "", "interrupted by ^C")]
    return ["", "## Exit codes", "", *_table(("code", "error", "meaning"), rows)]


def errors() -> str:
    """Return the page of all errors."""
    rows = [
        (f"`{kind.__name__}`", f"`{kind.code}`", str(kind.status), str(kind.exit_code), _first(kind))
        for kind in BY_CODE.values()
    ]
    text = "Every error is an `AnewError` and says *what* is wrong, *where*, and a *hint*: an act that mends it."
    table = _table(("error", "code", "HTTP status", "exit code", "meaning"), rows)
    return _page(["# Errors", "", MADE, "", text, "With `--json` it is one object:", "", _JSON_ERROR, "", *table])


_JSON_ERROR = "`{code, what, where, hint, facts, complaints: [{what, where, hint}]}`"


def steps_page() -> str:
    """Return the page of all steps that a keeper can take."""
    rows = []
    for kind in get_args(steps.Step):
        parts = ", ".join(f"`{one.name}`" for one in dataclasses.fields(kind))
        rows.append((f"`{kind.__name__}`", _first(kind), parts))
    text = _sentence(inspect.cleandoc(steps.__doc__ or "").replace("\n", " "))
    return _page(["# Steps", "", MADE, "", text, "", *_table(("step", "what it does", "made of"), rows)])


def spec() -> str:
    """Return the page of all keys of anew.yaml."""
    made = schema()
    rows = [
        (f"`{path}`", _kind(one), _default(one, needed=needed), _sentence(str(one.get("description", ""))))
        for path, one, needed in keys(made)
    ]
    text = "[The commented example](../reference-spec.yaml) says the same with more words. All keys:"
    return _page(["# anew.yaml", "", MADE, "", text, "", *_table(("key", "type", "default", "meaning"), rows)])


Node = Mapping[str, Any]


def keys(made: Node) -> Iterator[tuple[str, Node, bool]]:
    """Yield the path, the JSON Schema and whether it must be there of every key; names chosen by users are `*`."""

    def below(path: str, one: Node) -> Iterator[tuple[str, Node, bool]]:
        one = _resolved(made, one)
        for name, inner in one.get("properties", {}).items():
            here = f"{path}.{name}" if path else name
            yield here, _resolved(made, inner), name in one.get("required", ())
            yield from below(here, inner)
        for part, more in (("additionalProperties", ".*"), ("items", "[]")):
            if isinstance(one.get(part), dict):
                yield from below(path + more, one[part])
        for choice in (*one.get("anyOf", ()), *one.get("oneOf", ())):
            yield from below(path, choice)

    yield from below("", made)


def _resolved(made: Node, one: Node) -> Node:
    if "$ref" in one:
        return {**made["$defs"][one["$ref"].rpartition("/")[2]], **{k: v for k, v in one.items() if k != "$ref"}}
    return one


def _kind(one: Node) -> str:
    if "enum" in one:
        return " or ".join(f"`{value}`" for value in one["enum"])
    if "const" in one:
        return "`true`" if one["const"] is True else f"`{one['const']}`"
    kind = one.get("type", "")
    names = kind if isinstance(kind, list) else [kind]
    return " or ".join(KINDS.get(name, name) for name in names)


KINDS = MappingProxyType(
    {"object": "mapping", "array": "list", "string": "text", "integer": "whole number", "boolean": "true or false"}
)


def _default(one: Node, *, needed: bool) -> str:
    if needed:
        return "*needed*"
    value = one.get("default")
    if value in (None, "", [], {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _first(kind: type) -> str:
    return _sentence(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " "))


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *cells)]


def _page(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def rollouts() -> str:
    """The machine of a rollout, as a table and a diagram."""
    rows = [[f"`{phase}`", f"`{event}`", f"`{target}`"] for (phase, event), target in machine.TABLE.items()]
    return _page(
        [
            "# The machine of a rollout",
            "",
            "Drawn from the one table in `anew.core.machine`; an event that has no row in a phase can't happen there.",
            "",
            "```mermaid",
            machine.diagram(),
            "```",
            "",
            *_table(["phase", "event", "leads to"], rows),
        ]
    )


def answers() -> str:
    """Return the page of what each command answers with `--json`."""
    said = "With `--json` a command prints one JSON document on standard output, and progress on standard error."
    rows = [(f"`anew {name}`", _shape(kind)) for name, kind in ANSWERS.items()]
    lines = ["# Answers as JSON", "", MADE, "", said, "Times are RFC 3339, durations seconds, weights per mille.", ""]
    lines += _table(("command", "its document"), rows)
    lines += ["", "An error is `{error: …}`, as on [the page of errors](errors.md)."]
    for view in _views(ANSWERS.values()):
        lines += ["", f"## {view.__name__}", "", _first(view), ""]
        hints = get_type_hints(view)
        lines += _table(
            ("field", "type"), [(f"`{one.name}`", _shape(hints[one.name])) for one in dataclasses.fields(view)]
        )
    return _page(lines)


def _views(kinds: Iterable[object]) -> tuple[type, ...]:
    """Return the views that `kinds` are made of, each once, in the order in which they are met."""
    found: dict[type, None] = {}
    left = list(kinds)
    while left:
        kind = left.pop(0)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            if kind not in found:
                found[kind] = None
                left += get_type_hints(kind).values()
        else:
            left += get_args(kind)
    return tuple(found)


def _shape(kind: Any) -> str:
    """Say what JSON a type becomes."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return "list of " + _shape(inner[0]) if inner[-1] is Ellipsis else " and ".join(map(_shape, inner))
    if origin in {dict, Mapping}:
        return "object of " + _shape(inner[1]) if inner[1] is not object else "object"
    if origin is Literal:
        return " or ".join(f"`{json.dumps(one)}`" for one in inner)
    if origin in {Union, UnionType}:
        return " or ".join(_shape(one) for one in inner)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    return names[kind]


def hygiene() -> str:
    """Return the page of all rules about what images should not have."""
    text = (
        "What `anew build` looks for in every finished image. `refuse`: the build ends there, and nothing is released; "
        "`warn`: it is told. [The guide](../guides/hygiene.md) says how to allow one."
    )
    lines = ["# Hygiene", "", MADE, "", text, ""]
    rows = [(f"[`{rule.id}`](#{rule.id})", rule.severity, rule.what) for rule in RULES]
    lines += _table(("rule", "severity", "what it finds"), rows)
    for rule in RULES:
        notes = [] if rule.is_of_head else ["What the head itself has of it is no finding."]
        notes += ["A later layer that removes it does not help: the layer below still has it."] if rule.stays else []
        lines += ["", f"## {rule.id}", "", rule.what, "", f"*Why it matters.* {rule.why}", ""]
        lines += [f"*What to do.* {rule.remedy[0].upper()}{rule.remedy[1:]}."]
        lines += ["", " ".join(notes)] if notes else []
    return _page(lines)


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "json.md": answers,
        "commands.md": commands,
        "errors.md": errors,
        "spec.md": spec,
        "rollouts.md": rollouts,
        "steps.md": steps_page,
        "hygiene.md": hygiene,
    }
)


def main() -> int:
    """Write the pages; return 1 if `--check` found one that is not as it would be written."""
    stale = [name for name, make in PAGES.items() if _read(TARGET / name) != make()]
    if "--check" not in sys.argv[1:]:
        TARGET.mkdir(parents=True, exist_ok=True)
        for name in stale:
            (TARGET / name).write_text(PAGES[name](), "utf-8")
            print(f"wrote docs/reference/{name}")
        return 0
    for name in stale:
        print(f"docs/reference/{name} is not what the code says: run script/docs")
    return 1 if stale else 0


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
