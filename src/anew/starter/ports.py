"""How sources say on which port they listen: what can be seen of it in their text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from anew.errors import SpecError
from anew.starter.folder import Folder, Source

READS_PORT = re.compile(
    r"""environ(?:\.get\(|\[)\s*["']PORT["']|(?i:getenv)\(\s*["']PORT["']|\benv(?:\.|\[["'])PORT\b|env::var\(\s*"PORT"
    |\benv\(\s*["']PORT["']|\{[^}]*\bPORT\b[^}]*\}\s*=\s*process\.env""",
    re.VERBOSE,
)
_OPTION = r"""["'](?:-{0,2})(%s)["']"""
PORT_OPTION = re.compile(_OPTION % "port")
HOST_OPTION = re.compile(_OPTION % "host|bind|address|listen|interface")
FIRST_ARGUMENT = re.compile(r"int\(\s*(?:sys\.)?argv\[1\]|argv\[1\]\s*\)|Number\(process\.argv\[2\]|process\.argv\[2\]")


def reads_port(sources: Iterable[Source]) -> bool:
    """Say whether any of the sources reads $PORT."""
    return any(READS_PORT.search(one.text) for one in sources)


def arguments(text: str) -> str | None:
    """Return the arguments that tell a script to listen on $HOST:$PORT: "" if it reads $PORT itself.

    Returns  None if nothing in its text shows how it could be told.
    """
    if READS_PORT.search(text):
        return ""
    if re.search(r"""["']--port["']""", text):
        host = re.search(r"""["'](--(?:host|bind|address))["']""", text)
        return "--port $PORT" + (f" {host[1]} $HOST" if host else "")
    return "$PORT" if FIRST_ARGUMENT.search(text) else None


def refused(folder: Folder, path: str, example: str) -> SpecError:
    """Make the error about a program that listens on a port of its own choice; `example` reads $PORT."""
    return SpecError(
        f"{path} listens on a port of its own choice, and every instance needs one of its own",
        where=str(folder.root / path),
        hint=f'let it listen on $HOST and {example}, or name a command: anew init --command "…$PORT…"',
    )
