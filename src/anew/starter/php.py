"""PHP: an index.php, served by PHP's own server, with what composer.json asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from anew.starter.folder import Folder, Source
from anew.starter.found import APP, Found, Step, shell

PLACES = ("public/", "web/", "")
WORKERS = "4"
# What needs a Debian package of its own: how the sources use it, and how composer.json names it.
_EXTENSIONS: tuple[tuple[str, str, str], ...] = (
    ("php-mbstring", r"\bmb_\w+\(", "mbstring"),
    ("php-curl", r"\bcurl_init\(", "curl"),
    ("php-xml", r"\b(?:DOMDocument|SimpleXMLElement|simplexml_load_\w+|XMLReader|XMLWriter)\b", "dom|simplexml|xml"),
    ("php-sqlite3", r"sqlite:|\bSQLite3\b", "pdo_sqlite|sqlite3"),
    ("php-mysql", r"mysql:host|\bmysqli", "pdo_mysql|mysqli"),
    ("php-pgsql", r"pgsql:|\bpg_connect\(", "pdo_pgsql|pgsql"),
    ("php-gd", r"\bimagecreate\w*\(", "gd"),
    ("php-intl", r"\b(?:NumberFormatter|IntlDateFormatter|Collator)\b", "intl"),
    ("php-zip", r"\bZipArchive\b", "zip"),
    ("php-bcmath", r"\bbc(?:add|sub|mul|div|mod|pow)\(", "bcmath"),
)
_COMPOSER = "composer install --no-dev --no-interaction --no-progress --optimize-autoloader"
_HEALTH = re.compile(r"""["'](/(?:healthz|health|readyz|livez|ping))["']""")


def look(folder: Folder, command: str) -> Found | None:
    """Return how the index.php in `folder` is served; None if there is none."""
    place = next((one for one in PLACES if folder.has(f"{one}index.php")), None)
    if place is None:
        return None
    wanted = folder.json("composer.json").get("require")
    needs = {str(name) for name in wanted} if isinstance(wanted, Mapping) else set()
    sources = folder.sources(".php")
    packages = {"php-cli", *_extensions(needs, sources)}
    steps: tuple[Step, ...] = ()
    if any("/" in name for name in needs):
        packages |= {"ca-certificates", "composer", "php-curl", "php-mbstring", "php-xml", "unzip"}
        home = "export COMPOSER_ALLOW_SUPERUSER=1 COMPOSER_HOME=/tmp/composer"
        steps = (Step(f"cd {APP}\n{home}\n{_COMPOSER}", "Installs what composer.json asks for.", network=True),)
    health = next((found[1] for one in sources if (found := _HEALTH.search(one.text))), "")
    return Found(
        "php",
        f"a PHP application: {place}index.php",
        shell(command or f"php -S $HOST:$PORT -t {place or '.'}"),
        packages=tuple(sorted(packages)),
        steps=steps,
        command_why="PHP's own server; for much traffic, name another one here",
        health=health or "/",
        health_why="the sources answer it" if health else "",
        flags=() if command else (("PHP_CLI_SERVER_WORKERS", WORKERS),),
        notes=_notes(folder),
    )


def _extensions(needs: set[str], sources: tuple[Source, ...]) -> set[str]:
    named = {name.removeprefix("ext-") for name in needs if name.startswith("ext-")}
    return {
        package
        for package, used, names in _EXTENSIONS
        if named & set(names.split("|")) or any(re.search(used, one.text) for one in sources)
    }


def _notes(folder: Folder) -> tuple[str, ...]:
    if folder.has("artisan"):
        return (
            "Laravel writes below storage/ and bootstrap/cache/: name them under `writable`, and set APP_KEY as a flag",
        )
    return ()
