"""What the services of the market share: a server that loses no request when it ends, and a client of the cache."""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

QUEUE = "orders"
DONE = "done"
FORGED = "forged"


def version():
    """Return the version that this image was made from."""
    return int(Path(__file__).with_name("VERSION").read_text())


def secret(name):
    """Return the value of a secret."""
    return Path("/run/secrets", name).read_bytes()


def fetch(url):
    """Return what another service answers, as data."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


class Cache:
    """One connection to the cache, made again when it breaks."""

    def __init__(self):
        self.address = os.environ["CACHE_HOST"], int(os.environ["CACHE_PORT"])
        self.lock = threading.Lock()
        self.stream = None

    def ask(self, *words):
        """Send one command and return its answer; a connection that broke is replaced once."""
        with self.lock:
            for is_last in (False, True):
                try:
                    return self.once(words)
                except (OSError, EOFError):
                    self.stream = None
                    if is_last:
                        raise
        raise AssertionError

    def once(self, words):
        """Send one command over the present connection."""
        if self.stream is None:
            self.stream = socket.create_connection(self.address, timeout=5).makefile("rwb")
        parts = [str(word).encode() for word in words]
        self.stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        self.stream.flush()
        return self.answer()

    def answer(self):
        """Read one answer of the protocol of Redis."""
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.stream.read(int(rest) + 2)[:-2]
        if kind == b"-":
            raise OSError(rest.decode())
        return int(rest) if kind == b":" else rest


class Answers(BaseHTTPRequestHandler):
    """One connection; `self.server.routes` maps a path to a function that returns data."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece

    def do_GET(self):
        """Answer one request."""
        route = self.server.routes.get(self.path)
        try:
            status, data = (200, route()) if route else (404, {"error": "no such path"})
        except (OSError, ValueError, KeyError) as error:
            status, data = 502, {"error": repr(error)}
            print(f"{self.path}: {error!r}", flush=True)
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.server.is_ending:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        """The edge counts requests."""


class Server(ThreadingHTTPServer):
    """A thread for each connection; ends in good order on SIGTERM."""

    request_queue_size = 512
    daemon_threads = False

    def __init__(self, routes):
        super().__init__((os.environ["HOST"], int(os.environ["PORT"])), Answers)
        self.routes = {"/healthz": lambda: {"healthy": True}, **routes}
        self.is_ending = False
        self.connections = set()
        self.guard = threading.Lock()

    def process_request(self, request, client_address):
        """Remember a connection before its thread begins."""
        with self.guard:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        """Forget a connection that ends."""
        with self.guard:
            self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        """A client that went away is no mistake of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def serve_until_told(self):
        """Serve until SIGTERM, answer what was asked, and return."""
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=self.shutdown).start())
        self.serve_forever(poll_interval=0.05)
        self.is_ending = True
        while select.select([self.socket], [], [], 0)[0]:
            self.handle_request()
        with self.guard:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        self.server_close()
