"""What a folder is: each kind looks at it, in a fixed order, and the first that knows it wins.

The order: Python, Node, PHP, a binary, static files. What has a server of its own goes before what needs one; within
that, the kind whose files rarely lie in a project of another kind goes first. `--kind` chooses another.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from anew.errors import SpecError
from anew.starter import binary, javascript, php, python, static
from anew.starter.folder import Folder
from anew.starter.found import Found, Kind, shell

Look = Callable[[Folder, str], Found | None]  # the folder, and the command that was named ("": none)

KINDS: Mapping[Kind, Look] = MappingProxyType(
    {"python": python.look, "node": javascript.look, "php": php.look, "binary": binary.look, "static": static.look}
)
LOOKED_FOR = """\
python: manage.py, or a .py file with a Flask, FastAPI, Starlette, aiohttp or http.server application
node:   package.json with scripts.start, main or scripts.build; server.js, index.js or app.js beside it
php:    index.php, or one in public/ or web/
binary: an executable in this folder or in bin/, build/, dist/, out/, target/release/
static: index.html, or one in public/, dist/, build/, _site/, site/, www/, html/ or docs/"""
_PROCFILE = re.compile(r"^web:\s*(\S.*?)\s*$", re.MULTILINE)


def look(folder: Folder, kind: str = "", command: str = "") -> Found:
    """Return what `folder` is. `kind` and `command` are what was asked for; "": what is found.

    Raises  SpecError if nothing is found (it says what was looked for), or what is found can't listen on $PORT.
    """
    said = "" if command else "as the Procfile says"
    command = command.strip() or _procfile(folder)
    kinds = tuple(KINDS) if not kind else tuple(one for one in KINDS if one == kind)
    found = next((one for name in kinds if (one := KINDS[name](folder, command)) is not None), None)
    if found is None and command and not kind:
        return Found("binary", "a command", shell(command), command_why=said)
    if found is None:
        raise SpecError(
            f"nothing here tells how it is served{f' as {kind}' if kind else ''}",
            where=str(folder.root),
            hint='go to the folder with the application, or name what it runs: anew init --command "…$PORT…"',
            facts={"looked for": LOOKED_FOR} | ({} if kind else _below(folder)),
        )
    if command:
        found = replace(found, command_why=said)
    return found if kind else replace(found, notes=(*found.notes, *_others(folder, found.kind)))


def _below(folder: Folder) -> dict[str, str]:
    """Say which folders below could be served."""
    names = [name for name in folder.folders() if any(_is(one, Folder(folder.root / name)) for one in KINDS.values())]
    return {"but in": "\n".join(f"anew -C {shlex.quote(name)} init" for name in names)} if names else {}


def _is(look_at: Look, folder: Folder) -> bool:
    try:
        return look_at(folder, "") is not None
    except SpecError:
        return False  # it is of that kind only in part, so it is no alternative


def _others(folder: Folder, kind: Kind) -> tuple[str, ...]:
    """Say which other kinds the folder could be."""
    others = [name for name, one in KINDS.items() if name != kind and _is(one, folder)]
    if not others:
        return ()
    return (f"it could also be {' or '.join(others)}: the order is {', '.join(KINDS)}; `--kind` chooses",)


def _procfile(folder: Folder) -> str:
    found = _PROCFILE.search(folder.text("Procfile"))
    return found[1] if found else ""
