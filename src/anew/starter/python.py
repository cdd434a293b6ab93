"""Python: Django, Flask, FastAPI and its kin, aiohttp, or a script that serves by itself; found by reading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from anew.starter import django
from anew.starter.folder import Folder, Source
from anew.starter.found import APP, Found, Step, chosen, health_of, shell
from anew.starter.ports import arguments, refused
from anew.starter.requirements import Requirements, requirements

VENV = "/srv/venv"
BIN = f"{VENV}/bin"
FIRST_NAMES = ("main", "app", "server", "wsgi", "asgi", "application", "api", "run", "__init__")
_MADE = r"^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*(%s)\("
_ASGI = re.compile(_MADE % "FastAPI|Starlette|Quart|Litestar", re.MULTILINE)
_FLASK = re.compile(_MADE % "Flask", re.MULTILINE)
_AIOHTTP = re.compile(_MADE % "Application", re.MULTILINE)
_FACTORY = re.compile(r"^(?:async )?def ((?:create|make|init|build)_app)\(\s*(?:\)|[^)]*=[^)]*\)|\w+\))", re.MULTILINE)
_IMPORT = r"^\s*(?:from\s+|import\s+(?:[\w. ]+,\s*)*)(%s)\b"
_SERVES = re.compile(
    _IMPORT % r"http\.server|wsgiref|socketserver|tornado|bottle|sanic|cherrypy|waitress|falcon|aiohttp", re.MULTILINE
)
_ROUTE = r"""(?:@%s\.(?:get|route)\(|\b(?:Route|add_get|add_url_rule|web\.get)\()\s*["'](/[^"'<{]*)["']"""
_QUOTED_HEALTH = re.compile(r"""["'](/(?:healthz|health|readyz|livez|ping))["']""")
_STANDARD = frozenset({"http.server", "wsgiref", "socketserver"})


@dataclass(frozen=True, slots=True)
class _App:
    """An application object: where it is made, its name there, and the class or the function that makes it."""

    source: Source
    name: str
    made_by: str
    is_factory: bool = False

    @property
    def module(self) -> str:
        """The name to import it by, from `workdir`."""
        parts = self.source.path.removesuffix(".py").split("/")
        if self.workdir:
            parts = parts[len(self.workdir.split("/")) :]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def workdir(self) -> str:
        """The folder that imports begin at; "" for the top."""
        if self.source.path.startswith("src/"):
            return "src"
        return self.source.folder if _imports_neighbours(self.source) else ""

    def __str__(self) -> str:
        return f"`{self.name}{'()' if self.is_factory else ''}` in {self.source.path}"


def _imports_neighbours(source: Source) -> bool:
    return bool(source.neighbours) and bool(
        re.search(rf"^(?:from|import) (?:{'|'.join(map(re.escape, source.neighbours))})\b", source.text, re.MULTILINE)
    )


def look(folder: Folder, command: str) -> Found | None:
    """Return how the Python application in `folder` is served; None if there is none.

    Raises  SpecError if there is one, and nothing shows how it could listen on $PORT.
    """
    needs = requirements(folder)
    sources = [one for one in folder.sources(".py") if _is_ours(folder, needs, one)]
    if command and (needs.is_there or sources):
        return _finished(folder, needs, Found("python", "a Python application", shell(command, search=BIN)), ())
    if folder.has("manage.py"):
        found = django.look(folder, BIN)
        if found is not None:
            return _finished(folder, needs, found, ("django", "gunicorn"))
    ranked = sorted(sources, key=_rank)
    for finder in (_asgi, _flask, _aiohttp):
        answer = finder(folder, ranked)
        if answer is not None:
            return _finished(folder, needs, *answer)
    return _script(folder, ranked, needs)


def _is_ours(folder: Folder, needs: Requirements, source: Source) -> bool:
    """Say whether a source can be imported from here, and is of no project of its own in a folder below."""
    folders = source.path.split("/")[:-1]
    if not all(name.isidentifier() for name in folders):
        return False
    is_other = not needs.is_there and folders and requirements(Folder(folder.root / folders[0])).is_there
    return not is_other


def _rank(source: Source) -> tuple[int, int, str]:
    name = FIRST_NAMES.index(source.stem) if source.stem in FIRST_NAMES else len(FIRST_NAMES)
    return (source.path.count("/"), name, source.path)


def _apps(sources: Sequence[Source], pattern: re.Pattern[str], imports: str) -> list[_App]:
    """Return the objects that are made at the top of a module, then the functions that make one."""
    users = [one for one in sources if re.search(_IMPORT % imports, one.text, re.MULTILINE)]
    users = [one for one in users if one.stem.isidentifier()]
    made = [_App(one, found[1], found[2]) for one in users for found in pattern.finditer(one.text)]
    factories = [_App(one, found[1], "", is_factory=True) for one in users for found in _FACTORY.finditer(one.text)]
    return [*made, *factories]


def _asgi(_: Folder, sources: Sequence[Source]) -> tuple[Found, tuple[str, ...]] | None:
    apps = _apps(sources, _ASGI, "fastapi|starlette|quart|litestar")
    if not apps:
        return None
    app = apps[0]
    name = app.made_by or "ASGI"
    factory = "--factory " if app.is_factory else ""
    line = f"{BIN}/uvicorn {factory}--host $HOST --port $PORT {app.module}:{app.name}"
    said = _routes(sources, app.name)
    has_pages = name == "FastAPI" and "docs_url=None" not in app.source.text and "openapi_url" not in app.source.text
    if not health_of(said) and "/" not in said and has_pages:
        health, why = "/openapi.json", "no path for health checks or for / is in the sources; FastAPI answers this one"
    else:
        health, why = chosen(health_of(said), said)
    found = Found("python", f"a {name} application: {app}", _in(app, line), health=health, health_why=why)
    return replace(found, notes=_also(apps)), (name.lower() if app.made_by else "starlette", "uvicorn")


def _flask(_: Folder, sources: Sequence[Source]) -> tuple[Found, tuple[str, ...]] | None:
    apps = _apps(sources, _FLASK, "flask")
    if not apps:
        return None
    app = apps[0]
    call = f'"{app.module}:{app.name}()"' if app.is_factory else f"{app.module}:{app.name}"
    said = _routes(sources, r"\w+" if app.is_factory else app.name)
    health, why = chosen(health_of(said), said)
    found = Found("python", f"a Flask application: {app}", _in(app, gunicorn(call)), health=health, health_why=why)
    return replace(found, notes=_also(apps), command_why="Flask's own server is for development"), ("flask", "gunicorn")


def gunicorn(application: str) -> str:
    """Return the command line of gunicorn; it ends its requests in flight within the default `grace`."""
    return f"{BIN}/gunicorn --bind $HOST:$PORT --threads 8 --graceful-timeout 8 {application}"


def _aiohttp(folder: Folder, sources: Sequence[Source]) -> tuple[Found, tuple[str, ...]] | None:
    apps = _apps(sources, _AIOHTTP, "aiohttp")
    apps = [app for app in apps if "aiohttp" in app.source.text and "web" in app.source.text]
    if not apps:
        return None
    app = apps[0]
    said = _routes(sources, r"\w+")
    health, why = chosen(health_of(said), said)
    told = arguments(app.source.text)
    if told is not None and "run_app(" in app.source.text:
        line = f"{BIN}/python {app.source.path} {told}".rstrip()
        found = Found(
            "python", f"an aiohttp application: {app.source.path}", shell(line), health=health, health_why=why
        )
        return found, ("aiohttp",)
    is_run_when_imported = re.search(r"^(?:\w+\.)*run_app\(", app.source.text, re.MULTILINE) is not None
    if is_run_when_imported:
        raise refused(folder, app.source.path, 'int(os.environ["PORT"])')
    made = f"{app.name}()" if app.is_factory else app.name
    text = f"from aiohttp import web; import os, {app.module} as m; "
    text += f'web.run_app(m.{made}, host=os.environ["HOST"], port=int(os.environ["PORT"]))'
    found = Found("python", f"an aiohttp application: {app}", _in(app, f"{BIN}/python -c '{text}'"))
    return replace(found, health=health, health_why=why, notes=_also(apps)), ("aiohttp",)


def _script(folder: Folder, sources: Sequence[Source], needs: Requirements) -> Found | None:
    """Return how a script that serves by itself is run: with the machine's Python if it needs nothing else."""
    servers = [(one, match[1]) for one in sources if (match := _SERVES.search(one.text))]
    servers = [one for one in servers if re.search(r"serve|listen|\.run\(|run_app", one[0].text)]
    if not servers:
        return None
    told = [(source, kind, arguments(source.text)) for source, kind in servers]
    source, kind, said = next((one for one in told if one[2] is not None), told[0])
    if said is None:
        raise refused(folder, source.path, 'int(os.environ["PORT"])')
    health = next((match[1] for one in (source, *sources) if (match := _QUOTED_HEALTH.search(one.text))), "")
    is_plain = kind in _STANDARD and not needs.is_there
    program = "python3" if is_plain else f"{BIN}/python"
    found = Found(
        "python",
        f"a server in {source.path} ({kind})",
        shell(f"{program} {source.path} {said}".rstrip()),
        health=health or "/",
        health_why="the sources answer it" if health else "no path made for health checks was found in the sources",
    )
    others = [one.path for one, _, _ in told if one is not source]
    if others:
        found = replace(found, notes=(f"{', '.join(others)} could serve, too; {source.path} was taken",))
    if is_plain:
        return replace(found, packages=("python3",))
    return _finished(folder, needs, found, () if kind in _STANDARD else (kind,))


def _in(app: _App, line: str) -> tuple[str, ...]:
    return shell(line, f"{APP}/{app.workdir}".rstrip("/"))


def _also(apps: Sequence[_App]) -> tuple[str, ...]:
    others = [str(app) for app in apps[1:] if app.source is not apps[0].source or not app.is_factory]
    return (f"{', '.join(others)} could serve, too; {apps[0]} was taken",) if others else ()


def _routes(sources: Sequence[Source], name: str) -> list[str]:
    """Return the paths without parameters that the application `name` (a pattern) answers a GET on."""
    pattern = re.compile(_ROUTE % name)
    return [path for one in sources for path in pattern.findall(one.text) if "{" not in path]


def _finished(folder: Folder, needs: Requirements, found: Found, wanted: Sequence[str]) -> Found:
    """Add the packages and the build steps: an environment of its own, with what the project says it needs."""
    added = tuple(name for name in wanted if name not in needs.names)
    notes = list(found.notes)
    if added and needs.is_there:
        notes.append(f"{', '.join(added)} is not among what {needs.said_in} asks for, and is installed besides")
    elif added:
        notes.append(
            f"no requirements.txt or pyproject.toml was found: {', '.join(added)} is installed, in any version"
        )
    lines = [f"python3 -m venv {VENV}", f"cd {APP}", *needs.lines(f"{BIN}/python", added)]
    install = Step(
        "\n".join(lines), f"Installs {needs.said_in or 'what it needs'} into an environment of its own.", True
    )
    steps = (install, *found.steps) if needs.is_there or added else found.steps
    packages = tuple(sorted({"python3", "python3-venv", *found.packages})) if steps else ("python3",)
    if not steps:
        found = replace(found, command=tuple(part.replace(f"{BIN}/", "") for part in found.command))
    return replace(found, packages=packages, steps=steps, notes=(*notes, *needs.notes(folder)))
