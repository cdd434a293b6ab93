"""`anew init && anew up` in a folder that knows nothing of anew: a Python server, and static files, on one head."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from anew.testing.rig import free_port

LIMIT = 280
SERVER = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in {"/", "/health"} else 404)
        self.end_headers()
        self.wfile.write(b"hello\\n")


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Hello).serve_forever()
"""


@dataclass(frozen=True)
class Bench:
    folder: Path
    home: Path

    def anew(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "anew", *arguments],
            cwd=self.folder / name,
            env={**os.environ, "ANEW_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def bench(tmp_path: Path, traversable: Path) -> Iterator[Bench]:
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("needs root and mmdebstrap")
    one = Bench(tmp_path, traversable)
    yield one
    for folder in tmp_path.iterdir():
        if (folder / "anew.yaml").exists():
            one.anew(folder.name, "dispose", "-e", "local")


def ask(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    connection.close()
    return found


def listen(bench: Bench, name: str, port: int) -> None:
    spec = bench.folder / name / "anew.yaml"
    spec.write_text(spec.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}"))


def test_two_commands_bring_a_folder_live(bench: Bench) -> None:
    (bench.folder / "Hello Server").mkdir()
    (bench.folder / "Hello Server" / "server.py").write_text(SERVER)
    site = bench.folder / "site"
    (site / "sub").mkdir(parents=True)
    (site / "index.html").write_text("<p>one</p>")
    (site / "sub" / "index.html").write_text("below")
    (site / "logo.svg").write_text("<svg/>")

    found = json.loads(bench.anew("Hello Server", "init", "--json"))
    assert (found["project"], found["found"]) == ("hello-server", "a server in server.py (http.server)")
    port = free_port()
    listen(bench, "Hello Server", port)
    bench.anew("Hello Server", "up")
    assert ask(port, "/", Host="web.hello-server.localhost")[::2] == (200, "hello\n")

    assert "found static files: index.html" in bench.anew("site", "init")
    shutil.copy(bench.folder / "Hello Server" / "anew.lock", site)  # the same packages: the head is made once
    port = free_port()
    listen(bench, "site", port)
    bench.anew("site", "up")
    status, headers, body = ask(port, "/")
    assert (status, body, headers["content-type"]) == (200, "<p>one</p>", "text/html; charset=utf-8")
    assert ask(port, "/", If_None_Match=headers["etag"])[::2] == (304, "")
    assert ask(port, "/logo.svg")[1]["content-type"] == "image/svg+xml"
    assert ask(port, "/sub/")[2] == "below"
    assert ask(port, "/sub")[1]["location"].endswith("/sub/")
    assert [ask(port, path)[0] for path in ("/nothing", "/../files.py", "/anew.yaml")] == [404, 404, 404]

    (site / "index.html").write_text("<p>two</p>")  # as long as before, and an image has no times
    bench.anew("site", "up")
    status, again, body = ask(
        port, "/", If_None_Match=headers["etag"], If_Modified_Since="Sat, 01 Jan 2050 00:00:00 GMT"
    )
    assert (status, body, again["cache-control"]) == (200, "<p>two</p>", "no-cache")
