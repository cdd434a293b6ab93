"""A small world of services for tests of the image gate: one program that plays every role, on the host's head."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from building import Project, quiet

from anew.build.gate import check
from anew.build.gate_rehearsal import ENVIRONMENT, Place, throwaway_secret
from anew.engines.embedded.compute import Embedded
from anew.model import Actor, Copy, Http, Image, Part, Policy, Scope, Service, Test, Trial

PYTHON = "/usr/bin/python3"
PROGRAM = """
import os, socketserver, sys, time, urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

def words():
    yield os.environ.get("WORD", "?")
    for path in sorted(Path("/run/secrets").glob("*")):
        yield f"{path.name}={path.read_text()}"
    for name, value in sorted(os.environ.items()):
        if name.endswith("_URL"):
            yield urllib.request.urlopen(value + "/", timeout=5).read().decode()
        elif name.endswith("_HOST"):
            port = int(os.environ[name.replace("_HOST", "_PORT")])
            import socket
            with socket.create_connection((value, port), timeout=5) as one:
                yield one.makefile().read()

class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/end":
            print("asked to end", flush=True)
            os._exit(9)
        try:
            status, text = 200, "sick" if self.path == "/healthz" else " ".join(words())
            if self.path == "/healthz" and os.environ.get("SICK"):
                status = 500
        except Exception as e:
            status, text = 502, repr(e)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *args): pass

class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(os.environ["WORD"].encode())

role, port = sys.argv[1], int(os.environ.get("PORT", "0"))
print(role, "begins", flush=True)
socketserver.TCPServer.allow_reuse_address = True
if role == "http":
    HTTPServer(("127.0.0.1", port), Web).serve_forever()
elif role == "tcp":
    socketserver.ThreadingTCPServer(("127.0.0.1", port), Tcp).serve_forever()
elif role == "worker":
    time.sleep(float(os.environ.get("LIVES", "600")))
    sys.exit("tired")
elif role == "words":
    print(" ".join(words()))
    sys.exit(0 if os.environ.get("EXPECTED", "") in " ".join(words()) else 1)
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Kinds:
    """Makes services; every command line carries `mark`, by which their processes are found."""

    mark: str

    def service(self, name: str, role: str, *needs: str, **flags: str) -> Service:
        return Service(
            name,
            "base",
            (PYTHON, "/srv/program.py", role, self.mark),
            copy=(Copy("program.py", "/srv/"),),
            http=Http("/healthz") if role == "http" else None,
            is_tcp=role == "tcp",
            schedule="* * * * *" if role == "job" else "",
            ready_after=0.2,
            needs=tuple(sorted(needs)),
            flags=tuple(sorted({"WORD": name, **flags}.items())),
            policy=Policy(ready=5.0, grace=1.0),
        )

    def processes(self) -> list[int]:
        """The processes that have the mark on their command line, and those around them."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if self.mark.encode() in line:
                found.append(int(path.parent.name))
        return found


class Theatre:
    """An engine and one image, and trials of services that all run from it."""

    def __init__(self, folder: Path) -> None:
        self.kinds = Kinds(f"mark-{secrets.token_hex(8)}")
        self.project = Project(folder)
        (self.project.root / "program.py").write_text(PROGRAM)
        some = self.kinds.service("any", "http")
        self.image: Image = self.project.builder.build(self.project.spec, some, quiet)[0]
        self.engine = Embedded(
            self.project.home, self.project.store.tree, "tests", reveal=lambda _scope, pin: throwaway_secret(b"k", pin)
        )
        self.scope = Scope("shop", "local", "tests")
        self.lines: list[str] = []

    def trial(self, *services: Service) -> Trial:
        """Arrange services, callees first; the last is tested."""
        places = {service.name: number for number, service in enumerate(services)}
        return Trial(tuple(Actor(Part(s, self.image), tuple(places[n] for n in s.needs)) for s in services))

    def check(self, *services: Service, serial: str = "0123abcd") -> dict[str, str]:
        results = check(self.engine, self.trial(*services), Place(self.scope, serial, free_port), self.lines.append)
        self.assert_clear()
        return dict(results)

    def assert_clear(self) -> None:
        assert self.engine.instances(replace(self.scope, environment=ENVIRONMENT)) == ()
        assert self.kinds.processes() == []


def expect(word: str, path: str = "/") -> Test:
    return Test(get=path, contains=word, eventually=0.5)
