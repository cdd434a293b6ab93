"""Node: what package.json starts, or a server file beside it; or a build whose result is static files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anew.starter.files_server import FILES, serving
from anew.starter.folder import Folder, Source
from anew.starter.found import APP, Found, Step, chosen, health_of, shell
from anew.starter.ports import arguments, reads_port, refused

BIN = f"{APP}/node_modules/.bin"
MAJOR = 18  # of Debian bookworm
_ENDINGS = (".js", ".mjs", ".cjs", ".ts", ".mts", ".jsx", ".tsx")
_SERVERS = ("server.js", "index.js", "app.js", "main.js", "server.mjs", "index.mjs")
_LISTENS = re.compile(r"\.listen\(|createServer\(|\bserve\(")
_FIXED = re.compile(
    r"\.listen\(\s*(\d+|\{\s*port:\s*\d+)|^\s*(?:const|let|var)\s+port\s*=\s*\d+\s*;?\s*$", re.MULTILINE
)
_ROUTE = re.compile(r"""\b(?:app|server|fastify)\.(?:get|use|all)\(\s*["'](/[^"':*]*)["']""")
_HEALTH = re.compile(r"""["'](/(?:healthz|health|readyz|livez|ping))["']""")
_PLAIN = re.compile(r"[\w@./:=-]+(?: [\w@./:=,-]+)*\Z")  # a command line that needs no shell
# Programs of packages that serve, with what tells them where to listen; the others read $PORT.
_TOLD = {
    "next start": " -H $HOST",
    "vite preview": " --host $HOST --port $PORT",
    "serve": " -l tcp://$HOST:$PORT",
}
_BUILT = (("vite", "dist"), ("react-scripts", "build"), ("@angular/cli", "dist"), ("astro", "dist"), ("parcel", "dist"))


@dataclass(frozen=True, slots=True)
class _Package:
    """What package.json says, and how it is installed."""

    data: Mapping[str, Any]
    lock: str

    @property
    def scripts(self) -> Mapping[str, str]:
        """Its scripts by name."""
        found = self.data.get("scripts")
        return {str(k): str(v).strip() for k, v in found.items()} if isinstance(found, dict) else {}

    @property
    def needs(self) -> frozenset[str]:
        """The names of all packages that it asks for."""
        kinds = [self.data.get(kind) for kind in ("dependencies", "devDependencies")]
        return frozenset(str(name) for kind in kinds if isinstance(kind, dict) for name in kind)


def look(folder: Folder, command: str) -> Found | None:
    """Return how what package.json describes is served; None without one, or if it serves nothing.

    Raises  SpecError if its server listens on a port of its own choice, or package.json is broken.
    """
    has_package = folder.has("package.json")
    package = _Package(folder.json("package.json"), folder.first("package-lock.json", "npm-shrinkwrap.json"))
    if command:
        found = Found("node", "a Node application", shell(command, search=BIN)) if has_package else None
        return _installed(folder, package, found) if found else None
    sources = folder.sources(*_ENDINGS)
    line = _start(package, sources)
    if line:
        return _installed(folder, package, _server(folder, package, sources, line))
    if "build" in package.scripts:
        return _built(folder, package)
    return None


def _start(package: _Package, sources: Sequence[Source]) -> str:
    """Return the command line that serves: `scripts.start`, `main`, or a file that is named like a server."""
    started = package.scripts.get("start", "")
    if started and not re.match(r"react-scripts start|ng serve|vite(?:$| dev)|webpack|parcel|astro dev", started):
        return started
    main = str(package.data.get("main", ""))
    texts = {one.path: one.text for one in sources}
    for name in (main, f"{main}.js", *_SERVERS):
        if name in texts and _LISTENS.search(texts[name]):
            return f"node {name}"
    return ""


def _server(folder: Folder, package: _Package, sources: Sequence[Source], line: str) -> Found:
    told = next((more for name, more in _TOLD.items() if line == name or line.startswith(f"{name} ")), None)
    program = re.match(r"(?:node|ts-node|tsx)\s+(?:--?[\w=-]+\s+)*([\w./-]+)", line)
    own = next((one for one in sources if program and one.path in {program[1], f"{program[1]}.js"}), None)
    name = str(package.data.get("name") or (own.path if own else line))
    if told is not None:
        line += told
    elif own is not None and not reads_port(sources):
        said = arguments(own.text)
        if said is None and (_FIXED.search(own.text) or any(_FIXED.search(one.text) for one in sources)):
            raise refused(folder, own.path, "process.env.PORT")
        line += f" {said}" if said else ""
    # npm itself would stand between the signals and the server; what it adds is a place to look for programs.
    is_plain = _PLAIN.match(line) is not None or told is not None or line.endswith("$PORT")
    found = Found(
        "node",
        f"a Node application: {name}, started by `{line}`",
        shell(line, search=BIN) if is_plain else shell("npm --cache /tmp/npm start"),
    )
    said_paths = [path for one in sources for path in _ROUTE.findall(one.text)]
    quoted = [path for one in sources for path in _HEALTH.findall(one.text)]
    health, why = chosen(health_of([*said_paths, *quoted]), said_paths)
    return replace(found, health=health, health_why=why, packages=("nodejs",))


def _installed(folder: Folder, package: _Package, found: Found) -> Found:
    """Add the packages and the build steps of `npm`."""
    notes = [*found.notes, *_notes(folder, package)]
    has_build = "build" in package.scripts
    steps: list[Step] = []
    if package.needs:
        only = "" if has_build else " --omit=dev"
        verb = "ci" if package.lock else "install --no-package-lock"
        lines = [f"cd {APP}", f"npm {verb}{only} --cache /tmp/npm --no-audit --no-fund --no-update-notifier"]
        # npm notes there where each package came from.
        lines.append("rm -f node_modules/.package-lock.json")
        steps.append(Step("\n".join(lines), f"Installs {package.lock or 'package.json'}.", network=True))
    if has_build:
        lines = [f"cd {APP}", "npm run build --cache /tmp/npm --no-update-notifier"]
        steps.append(Step("\n".join(lines), f"Builds: `{package.scripts['build']}`."))
    uses_npm = bool(steps) or "npm" in " ".join(found.command)
    packages = {"nodejs", *found.packages, *(("npm", "ca-certificates") if uses_npm else ())}
    return replace(found, packages=tuple(sorted(packages)), steps=(*steps, *found.steps), notes=tuple(notes))


def _built(folder: Folder, package: _Package) -> Found | None:
    """Return how the static files are served that a build makes; None if nothing tells where they come to lie."""
    out = next((where for name, where in _BUILT if name in package.needs), "")
    if not out:
        return None
    found = Found("node", f"a Node build of static files: `{package.scripts['build']}` makes {out}/", FILES)
    found = _installed(folder, package, found)
    step = serving(f"{APP}/{out}", fallback="index.html")
    return replace(
        found,
        packages=tuple(sorted({*found.packages, "python3"})),
        steps=(*found.steps, step),
        health_why="the page itself",
    )


def _notes(folder: Folder, package: _Package) -> list[str]:
    notes = []
    other = folder.first("yarn.lock", "pnpm-lock.yaml", "bun.lockb", "bun.lock")
    if other and not package.lock:
        notes.append(f"{other} is not read: npm installs what package.json says, in versions of the day")
    elif package.needs and not package.lock:
        notes.append("there is no package-lock.json, so versions are those of the day; `npm install` writes one")
    engines = package.data.get("engines")
    asked = str(engines.get("node", "")) if isinstance(engines, dict) else ""
    least = re.match(r"(?:>=?|\^|~)?\s*v?(\d+)", asked)
    if least and int(least[1]) > MAJOR:
        notes.append(f"package.json asks for Node {asked}, and Debian bookworm has {MAJOR}")
    return notes
