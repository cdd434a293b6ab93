"""Django: where its settings, its WSGI application and its paths stand."""

from __future__ import annotations

import re

from anew.starter.folder import Folder
from anew.starter.found import Found, Step, chosen, health_of, shell

_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""")
_PATH = re.compile(r"""\bpath\(\s*r?["']([^"'<]*)["']\s*,\s*(?:include\(\s*\(?["']([\w.]+)["'])?""")
_NAMED = r"^%s\s*=\s*[\"']([\w.]+)[\"']"
_HOSTS = re.compile(r"^ALLOWED_HOSTS\s*=\s*\[([^\]]*)\]", re.MULTILINE)
_DEEPEST = 3  # urls that include urls
ADMIN = "/admin/login/"


def look(folder: Folder, programs: str) -> Found | None:
    """Return how the Django project of `folder` is served; None if its manage.py names no settings."""
    named = _SETTINGS.search(folder.text("manage.py"))
    if named is None:
        return None
    settings = _module(folder, named[1])
    package = named[1].partition(".")[0]
    application = _value(settings, "WSGI_APPLICATION", f"{package}.wsgi.application").rpartition(".")
    line = f"{programs}/gunicorn --bind $HOST:$PORT --threads 8 --graceful-timeout 8 {application[0]}:{application[2]}"
    paths = _paths(folder, _value(settings, "ROOT_URLCONF", f"{package}.urls"))
    health, why = _health(paths, is_debug=re.search(r"^DEBUG\s*=\s*True", settings, re.MULTILINE) is not None)
    steps: tuple[Step, ...] = ()
    if re.search(r"^STATIC_ROOT\s*=", settings, re.MULTILINE):
        collect = f"cd /srv/app\n{programs}/python manage.py collectstatic --no-input"
        steps = (Step(collect, "Gathers the static files where STATIC_ROOT says."),)
    return Found(
        "python",
        f"a Django project: {named[1]}",
        shell(line),
        steps=steps,
        command_why="Django's own server is for development",
        health=health,
        health_why=why,
        notes=tuple(_notes(folder, settings)),
    )


def _module(folder: Folder, name: str) -> str:
    path = name.replace(".", "/")
    return folder.text(f"{path}.py") or folder.text(f"{path}/__init__.py")


def _value(settings: str, name: str, default: str) -> str:
    found = re.search(_NAMED % name, settings, re.MULTILINE)
    return found[1] if found else default


def _paths(folder: Folder, module: str, prefix: str = "/", depth: int = 0) -> list[str]:
    """Return the paths without parameters that a module of urls names, and those that it includes."""
    out: list[str] = []
    for path, included in _PATH.findall(_module(folder, module)):
        if included and depth < _DEEPEST:
            out += _paths(folder, included, f"{prefix}{path}", depth + 1)
        else:
            out.append(f"{prefix}{path}")
    return out


def _health(paths: list[str], *, is_debug: bool) -> tuple[str, str]:
    if health_of(paths):
        return health_of(paths), "the sources answer it"
    if "/" in paths:
        return "/", ""
    if "/admin/" in paths:
        if paths == ["/admin/"] and is_debug:
            return "/", "the page of a new project; name another path before DEBUG is False"
        return ADMIN, "no path for health checks or for / is in the sources; this page needs no database"
    return chosen("", paths)


def _notes(folder: Folder, settings: str) -> list[str]:
    notes = []
    hosts = _HOSTS.search(settings)
    if hosts and hosts[1].strip() and not re.search(r"['\"]\*['\"]", hosts[1]):
        missing = [name for name in ("localhost", "127.0.0.1") if f'"{name}"' not in hosts[1].replace("'", '"')]
        if missing:
            notes.append(f"health checks ask localhost and 127.0.0.1: add {' and '.join(missing)} to ALLOWED_HOSTS")
    if "django.db.backends.sqlite3" in settings:
        where = "db.sqlite3 becomes part of it" if folder.has("db.sqlite3") else "a database in it would not be kept"
        notes.append(f"an image is read-only, and {where}: use a database server for what must be kept")
    return notes
