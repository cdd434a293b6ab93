"""`anew init`: look at a folder, write the spec that brings it live, and say what was found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from anew.errors import Conflict, NotFound, SpecError
from anew.starter.folder import Folder
from anew.starter.look import look
from anew.starter.naming import project_name
from anew.starter.write import ignored, spec
from anew.views import Start

SPEC = "anew.yaml"
IGNORE = ".anewignore"


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    text: str


def start(folder: Path, kind: str = "", command: str = "", *, is_writing: bool = True) -> Start:
    """Write anew.yaml, and .anewignore if there is none, for what is in `folder`; with `is_writing` false, nothing.

    `kind` and `command` are chosen by the user; "": found.
    Raises  Conflict if there is an anew.yaml, unless nothing is written; SpecError if nothing that can be served is
            found; NotFound for no folder.
    """
    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        raise NotFound(f"there is no folder {folder}", hint="name the folder with your application")
    if is_writing and os.path.lexists(root / SPEC):
        raise Conflict(
            f"there is an {SPEC} already, and it stays as it is",
            where=str(root / SPEC),
            hint="`anew up` brings it live; `anew init --print` shows what would be written without it",
        )
    found = look(Folder(root), kind, command)
    project = project_name(root.name)
    files = [_File(SPEC, spec(project, found))]
    if not os.path.lexists(root / IGNORE):
        files.append(_File(IGNORE, ignored(found)))
    if is_writing:
        for one in files:
            _write(root / one.name, one.text)
    return Start(
        folder=str(root),
        project=project,
        kind=found.kind,
        found=found.what,
        notes=found.notes,
        files=tuple(one.name for one in files),
        is_written=is_writing,
        spec=files[0].text,
    )


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as cause:
        raise Conflict(f"{path.name} appeared meanwhile, and stays as it is", where=str(path)) from cause
    except OSError as cause:
        raise SpecError(
            f"{path.name} can't be written: {cause.strerror}", where=str(path), hint="make the folder writable"
        ) from cause
