"""The server of static files that a spec brings along: Python's own, made fit for an image.

Every file of an image carries the same time, so whatever compares times (and sizes) would take a new file for the old
one: Python's server, busybox's and nginx all do by default. This one compares contents, and lets nobody keep a file
without asking.
"""

from __future__ import annotations

from anew.starter.found import Step

PROGRAM = "/srv/files.py"
FILES = ("python3", PROGRAM)
_SERVER = """\
import functools, hashlib, os, signal, threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

ROOT, FALLBACK = "{root}", "{fallback}"

@functools.cache
def tag(path):
    with open(path, "rb") as file:
        return '"' + hashlib.file_digest(file, "sha256").hexdigest()[:32] + '"'

class Files(SimpleHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def send_head(self):
        path, status = self.translate_path(self.path), 200
        if os.path.isdir(path):
            if not self.path.partition("?")[0].endswith("/"):
                return super().send_head()  # leads to the same path with a slash
            path = os.path.join(path, "index.html")
        if not os.path.isfile(path) and FALLBACK:
            path, status = os.path.join(ROOT, FALLBACK), {status}
        if not os.path.isfile(path):
            self.send_error(404)
            return None
        is_known = status == 200 and self.headers.get("If-None-Match") == tag(path)
        self.send_response(304 if is_known else status)
        self.send_header("ETag", tag(path))
        self.send_header("Cache-Control", "no-cache")
        if is_known:
            self.end_headers()
            return None
        kind = self.guess_type(path)
        self.send_header("Content-Type", kind + ("; charset=utf-8" if kind.startswith("text/") else ""))
        self.send_header("Content-Length", str(os.path.getsize(path)))
        self.end_headers()
        return open(path, "rb")

    def log_request(self, *args):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 512

files = functools.partial(Files, directory=ROOT)
server = Server((os.environ["HOST"], int(os.environ["PORT"])), files)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
"""


def serving(root: str, *, fallback: str = "") -> Step:
    """Return the step that writes the server of the files below `root`, an absolute path in the image.

    `fallback` is the file for paths that lead nowhere: a page that finds its way by itself (any but 404.html), or one
    that says so.
    """
    status = "404" if fallback == "404.html" else "200"
    text = _SERVER.replace("{root}", root).replace("{fallback}", fallback).replace("{status}", status)
    why = "A server of files that compares contents: in an image all times are the same, and say nothing."
    return Step(f"cat > {PROGRAM} <<'END'\n{text}END", why)
