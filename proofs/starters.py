"""From a folder as its ecosystem's own starter makes it to a live service: `anew init && anew up`, for all kinds.

``script/prove starters [NAME…]``: each is made, started, asked through the edge, replaced once, and disposed of. Needs
root, mmdebstrap, npm, a C compiler, and the registries of Debian, Python and Node. Prints what each took.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from anew.errors import EngineError
from anew.testing.rig import free_port

LIMIT = 600.0  # seconds that one command may take
FLASK = """from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello_world():
    return "<p>Hello, World!</p>"
"""
FASTAPI = """from typing import Union

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def read_root():
    return {"Hello": "World"}


@app.get("/items/{item_id}")
def read_item(item_id: int, q: Union[str, None] = None):
    return {"item_id": item_id, "q": q}
"""
AIOHTTP = """from aiohttp import web


async def handle(request):
    return web.Response(text="Hello, " + request.match_info.get("name", "World"))


app = web.Application()
app.add_routes([web.get("/", handle), web.get("/{name}", handle)])

if __name__ == "__main__":
    web.run_app(app)
"""
SCRIPT = """import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Hello, World!\\n")


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Hello).serve_forever()
"""
EXPRESS = """const express = require("express");
const app = express();

app.get("/healthz", (request, response) => response.send("ok"));
app.get("/", (request, response) => response.send("Hello, World!"));
app.listen(process.env.PORT || 3000);
"""
PHP = "<?php header('Content-Type: text/plain'); echo 'Hello, World! ', mb_strtoupper('php'), \"\\n\";\n"
PAGE = '<!doctype html>\n<html><head><link rel="stylesheet" href="style.css"></head><body>Hello, World!</body></html>\n'
C = r"""
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static struct option options[] = {{"port", required_argument, 0, 'p'}, {0, 0, 0, 0}};
    int port = 8000, option, on = 1;
    while ((option = getopt_long(argc, argv, "p:", options, 0)) != -1) {
        if (option != 'p') { fprintf(stderr, "usage: %s [--port PORT]\n", argv[0]); return 2; }
        port = atoi(optarg);
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 512)) { perror("listen"); return 1; }
    const char *answer = "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\nHello, World!\n";
    char request[4096];
    for (;;) {
        int one = accept(listener, 0, 0);
        if (one < 0) continue;
        if (read(one, request, sizeof request) > 0) { if (write(one, answer, strlen(answer)) < 0) perror("write"); }
        shutdown(one, SHUT_WR);
        while (read(one, request, sizeof request) > 0) { }
        close(one);
    }
}
"""


def run(folder: Path, *argv: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Run a program to its end in `folder` and return what it printed. Raises  EngineError if it fails."""
    done = subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        facts = {"stdout": done.stdout[-4000:], "stderr": done.stderr[-4000:]}
        raise EngineError(f"{' '.join(argv)} ended with exit code {done.returncode}", facts=facts)
    return done.stdout


def written(files: Mapping[str, str]) -> Callable[[Path], None]:
    """Return a starter that writes files."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    return make


def django(folder: Path) -> None:
    """`django-admin startproject`, with the requirements that it leaves to its users."""
    run(folder.parent, sys.executable, "-m", "venv", "django-venv")
    run(folder.parent, "django-venv/bin/pip", "install", "-q", "django")
    folder.mkdir()
    run(folder.parent, "django-venv/bin/django-admin", "startproject", "mysite", str(folder))
    (folder / "requirements.txt").write_text("django\n")


def uv_style(folder: Path) -> None:
    """A pyproject.toml without a build system, as `uv init` writes it."""
    text = '[project]\nname = "api"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
    written({"pyproject.toml": text + 'dependencies = ["fastapi[standard]"]\n', "main.py": FASTAPI})(folder)


def express_generator(folder: Path) -> None:
    """`npx express-generator`, whose server reads $PORT in bin/www."""
    run(folder.parent, "npx", "--yes", "express-generator@4", "--no-view", str(folder))


def npm_init(folder: Path) -> None:
    """`npm init -y` and `npm install express`, which writes a lock."""
    written({"index.js": EXPRESS})(folder)
    run(folder, "npm", "init", "-y")
    run(folder, "npm", "install", "--no-audit", "--no-fund", "express@4")


def vite(folder: Path) -> None:
    """`npm create vite`: a build that leaves static files; version 5 is the last for Debian bookworm's Node."""
    run(folder.parent, "npx", "--yes", "create-vite@5", folder.name, "--template", "vanilla")


def binary(folder: Path) -> None:
    """A C program that takes --port."""
    folder.mkdir()
    source = folder.parent / "server.c"
    source.write_text(C)
    run(folder, os.environ.get("CC", "cc"), "-O2", "-o", "server", str(source))


@dataclass(frozen=True, slots=True)
class Kind:
    """A starter, what its page shows, and the replacement that is made afterwards: (file, before, after)."""

    make: Callable[[Path], None]
    shows: str
    change: tuple[str, str, str] | None = None


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "script": Kind(written({"server.py": SCRIPT}), "Hello, World!", ("server.py", "World", "again")),
        "static": Kind(
            written({"index.html": PAGE, "style.css": "body { color: green }\n"}),
            "Hello, World!",
            ("index.html", "World", "again"),
        ),
        "flask": Kind(
            written({"app.py": FLASK, "requirements.txt": "flask\n"}), "Hello, World!", ("app.py", "World", "again")
        ),
        "fastapi": Kind(uv_style, '{"Hello":"World"}'),
        "aiohttp": Kind(written({"server.py": AIOHTTP, "requirements.txt": "aiohttp\n"}), "Hello, World"),
        "django": Kind(django, "The install worked successfully! Congratulations!"),
        "express": Kind(npm_init, "Hello, World!", ("index.js", "World", "again")),
        "generator": Kind(express_generator, "Welcome to Express"),
        "vite": Kind(vite, "<title>Vite App</title>"),
        "php": Kind(written({"index.php": PHP}), "Hello, World! PHP", ("index.php", "World", "again")),
        "binary": Kind(binary, "Hello, World!"),
    }
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One state for all projects, so that equal heads are made once."""

    folder: Path

    def anew(self, project: Path, *arguments: str) -> str:
        """Run one command in a project."""
        home = {"ANEW_HOME": str(self.folder / "home")}
        return run(project, sys.executable, "-m", "anew", *arguments, environment=home)

    def prove(self, name: str, kind: Kind) -> None:
        """Start it, ask it, replace it, and dispose of it; print what it took."""
        project = self.folder / name
        kind.make(project)
        port = free_port()
        began = time.monotonic()
        found = json.loads(self.anew(project, "init", "--json"))
        seconds_init = time.monotonic() - began
        spec = project / "anew.yaml"
        spec.write_text(spec.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
        self._lock(project)
        try:
            began = time.monotonic()
            self.anew(project, "up")
            seconds_up = time.monotonic() - began
            answered = fetch(port, f"web.{found['project']}.localhost")
            if kind.shows not in answered:
                raise EngineError(f"{name} does not show {kind.shows!r}", facts={"page": answered[:2000]})
            seconds_replaced = self._replace(project, kind, port) if kind.change else 0.0
            (service,) = json.loads(self.anew(project, "build", "--json"))
            self._keep_lock(project)
        finally:
            began = time.monotonic()
            self.anew(project, "dispose", "-e", "local")
        print(
            f"{name:<10} init {seconds_init:4.1f} s  up {seconds_up:5.1f} s  replaced {seconds_replaced:5.1f} s"
            f"  disposed {time.monotonic() - began:4.1f} s  {service['size'] / 1e6:6.1f} MB  {found['found']}",
            flush=True,
        )

    def _replace(self, project: Path, kind: Kind, port: int) -> float:
        name, before, after = kind.change or ("", "", "")
        file = project / name
        file.write_text(file.read_text().replace(before, after))
        began = time.monotonic()
        self.anew(project, "up")
        answered = fetch(port, "localhost")
        if kind.shows.replace(before, after) not in answered:
            raise EngineError(f"{project.name} was not replaced", facts={"page": answered[:2000]})
        return time.monotonic() - began

    def _lock(self, project: Path) -> None:
        """Take the head that an earlier project with the same packages has resolved."""
        known = self.folder / "locks" / self._packages(project)
        if known.exists():
            shutil.copy(known, project / "anew.lock")

    def _keep_lock(self, project: Path) -> None:
        known = self.folder / "locks" / self._packages(project)
        known.parent.mkdir(exist_ok=True)
        shutil.copy(project / "anew.lock", known)

    def _packages(self, project: Path) -> str:
        line = next(one for one in (project / "anew.yaml").read_text().splitlines() if "debian:" in one)
        return "".join(c if c.isalnum() else "-" for c in line)


def fetch(port: int, host: str) -> str:
    """Ask the edge for `/` and return the page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().read().decode(errors="replace")
    finally:
        connection.close()


def main() -> int:
    """Run the proof; 0 if every kind came alive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(KINDS))
    chosen = parser.parse_args().names or list(KINDS)
    failed = 0
    folder = Path(tempfile.mkdtemp(prefix="anew-starters-"))
    folder.chmod(0o755)
    try:
        for name in chosen:
            try:
                Bench(folder).prove(name, KINDS[name])
            except EngineError as error:
                failed += 1
                print(f"FAILED {name}: {error.what}", *(f"--- {k}\n{v}" for k, v in error.facts.items()), sep="\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"starters {len(chosen)}, failed {failed}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
