"""Templates of a `files` step: rendered by Jinja from what the step declares, and from nothing else.

Rules

1. A template sees its variables and the templates that the step was given. There is no environment, no clock, no file,
   no name of this machine, and nothing random, so the same inputs give the same bytes.
2. A name that nobody declared is an error with its file and line, never an empty text.
3. Templates run in Jinja's sandbox: they reach no attribute that would lead out of it, and change no variable.
4. Only plain values become text: of a function or a generator Python would write where in memory it is.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    Environment,
    FunctionLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    Undefined,
)
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from anew.build.context import Item, layer_entries
from anew.build.entries import Entry
from anew.build.listing import Lookup, resolved
from anew.errors import AnewError, SpecError
from anew.model import BuildStep

Read = Callable[[str], bytes | None]  # the content of a file of the image so far, by its path; None if there is none
_PLAIN = (str, int, float, type(None), Undefined)  # an undefined name complains itself when it is written
_RANDOM_FILTERS = ("random",)
_RANDOM_NAMES = ("lipsum",)


class _NotPlainError(Exception):
    """What a template would write is no plain value; with a hint."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


def rendered(step: BuildStep, inputs: Path, where: str) -> Mapping[str, bytes]:
    """Return what each template becomes, by target; `inputs` is the folder with what the step was given.

    Raises  SpecError at the template's file and line for what is no template, or needs what was not declared.
    """
    environment = _environment(inputs, where)
    variables: dict[str, Any] = json.loads(step.vars) if step.vars else {}
    found = {}
    for source, target in step.files:
        name = posixpath.normpath(source)
        try:
            found[target] = environment.get_template(name).render(variables).encode()
        except AnewError:
            raise
        except Exception as cause:
            raise _wrong(cause, name, where) from cause
    return found


def entries(step: BuildStep, texts: Mapping[str, bytes], lookup: Lookup, read: Read, where: str) -> tuple[Entry, ...]:
    """Return the layer that brings rendered files into the tree that `lookup` sees, with the step's mode and owner.

    Raises  SpecError at `where` for an owner that the image doesn't know, or a target that can't be.
    """
    uid, gid = _owner(step.owner, read, where)
    items = [Item(target.strip("/"), "file", step.mode, target, len(text)) for target, text in sorted(texts.items())]
    made = []
    for one in layer_entries(items, lookup, where):
        if one.kind != "file":
            made.append(one)
            continue
        text = texts[str(one.content)]
        size, path = len(text), one.path
        made.append(Entry(path=path, kind="file", mode=step.mode, uid=uid, gid=gid, size=size, content=text))
    return tuple(made)


def _environment(inputs: Path, where: str) -> Environment:
    environment = ImmutableSandboxedEnvironment(
        loader=_loader(inputs, where),
        undefined=StrictUndefined,
        finalize=_plain,
        keep_trailing_newline=True,
        autoescape=False,
        auto_reload=False,
        cache_size=0,
    )
    for name in _RANDOM_FILTERS:
        del environment.filters[name]
    for name in _RANDOM_NAMES:
        del environment.globals[name]
    return environment


def _plain(value: object) -> object:
    """Return what a template writes. Raises _NotPlainError for what is written otherwise each time."""
    inner: Iterable[object] = ()
    match value:
        case dict():
            inner = (*value.keys(), *value.values())
        case list() | tuple():
            inner = value
        case _ if not isinstance(value, _PLAIN):
            raise _not_plain(value)
    for one in inner:
        _plain(one)
    return value


def _not_plain(value: object) -> _NotPlainError:
    if callable(value):
        return _NotPlainError("a function would be written, not what it returns", "call it: write `()` behind its name")
    if isinstance(value, Iterable):
        return _NotPlainError(
            f"values would be written that are no list ({type(value).__name__})", "write `|list` or `|join` behind it"
        )
    return _NotPlainError(f"this is no plain value ({type(value).__name__})", "write a text, a number or a list")


def _loader(inputs: Path, where: str) -> BaseLoader:
    """Return what finds templates among what a step was given, by their paths in the project."""

    def text(template: str) -> tuple[str, str, Callable[[], bool]] | None:
        name = posixpath.normpath(template)
        path = inputs / name
        if name.startswith(("/", "..")) or not path.is_file() or not path.resolve().is_relative_to(inputs.resolve()):
            return None
        try:
            return path.read_text(encoding="utf-8"), name, lambda: True
        except UnicodeDecodeError as cause:
            raise SpecError(
                f"the template {name} is no UTF-8: byte {cause.start + 1}",
                where=where,
                hint="files that are no text are brought into an image by `copy`",
            ) from cause

    return FunctionLoader(text)


def _wrong(cause: Exception, name: str, where: str) -> SpecError:
    file, line = _place(cause, name)
    facts = {"step": where}
    match cause:
        case TemplateSyntaxError():
            what, hint = f"the template can't be read: {cause.message}", "correct it there; see Jinja's documentation"
        case TemplateNotFound():
            what, hint = f"the template {cause.name} was not declared", "name it in the step's `inputs`"
        case SecurityError():
            what, hint = f"the template may not do that: {cause}", "templates only put declared values into a text"
        case _NotPlainError():
            what, hint = f"the template can't write that: {cause}", cause.hint
        case TemplateError():
            what, hint = f"{cause}", "declare it under `vars` of the step, or correct the name"
        case _:
            what, hint = f"the template fails: {type(cause).__name__}: {cause}", "correct it there"
    return SpecError(what, where=f"{file}:{line}" if line else file, hint=hint, facts=facts)


def _place(cause: Exception, name: str) -> tuple[str, int]:
    """Return the template and the line that an exception came from: Jinja gives its frames the names of templates."""
    if isinstance(cause, TemplateSyntaxError):
        return cause.filename or cause.name or name, cause.lineno
    found, trace = (name, 0), cause.__traceback__
    while trace is not None:
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            found = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _owner(owner: str, read: Read, where: str) -> tuple[int, int]:
    """Return the numbers of `USER` or `USER:GROUP` as the image has them; a user alone brings its own group."""
    if not owner:
        return 0, 0
    user, _, group = owner.partition(":")
    fields = _account("etc/passwd", user, read)
    uid = int(user) if user.isdecimal() else _number(fields, user, "user", where)
    if not group:
        return uid, int(fields[3]) if fields else 0
    return uid, int(group) if group.isdecimal() else _number(_account("etc/group", group, read), group, "group", where)


def _account(file: str, name: str, read: Read) -> list[str]:
    for line in (read(file) or b"").decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) > 3 and name in {fields[0], fields[2]} and fields[2].isdecimal():
            return fields
    return []


def _number(fields: list[str], name: str, what: str, where: str) -> int:
    if not fields:
        raise SpecError(
            f"the image has no {what} {name}",
            where=f"{where}.owner",
            hint="make it in a step before this one, or write its number",
        )
    return int(fields[2])


def reader(trees: list[Path], lookup: Lookup) -> Read:
    """Return what reads files of the image so far; `trees` are its layers, unpacked, lowest first."""

    def read(path: str) -> bytes | None:
        real = resolved(path, lookup, path)
        found = lookup(real)
        if found is None or found.kind != "file":
            return None
        for tree in reversed(trees):
            if (tree / real).is_file():
                return (tree / real).read_bytes()
        return None

    return read
