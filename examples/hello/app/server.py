"""A web server of the standard library alone, that loses no request when it is asked to end.

`/healthz` is for the edge, `/` greets, `/work` computes a little, `/slow` takes two seconds.
"""

import contextlib
import hashlib
import os
import select
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import behaviour

WORD = os.environ.get("GREETING", "hello")


class Answers(BaseHTTPRequestHandler):
    """One connection; HTTP/1.1, so it stays open for further requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece

    def do_GET(self):
        """Answer one request."""
        if self.path == "/healthz":
            is_healthy = behaviour.is_healthy(WORD)
            self.answer(200 if is_healthy else 503, "healthy\n" if is_healthy else f"no greeting for {WORD!r}\n")
            return
        if self.path == "/slow":
            time.sleep(2)
        if self.path == "/work":
            hashlib.sha256(bytes(20_000)).hexdigest()
        status = behaviour.status()
        self.answer(status, behaviour.greeting(WORD) if status == 200 else "this request found the mistake\n")

    def answer(self, status, text):
        """Send a whole answer, and say which release gave it."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Release", behaviour.RELEASE)
        if self.server.is_ending:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code="-", size="-"):
        """Log failures only; the edge counts requests."""
        if isinstance(code, int) and code >= 500:
            super().log_request(code, size)


class Server(ThreadingHTTPServer):
    """A thread for each connection; `serve_until_told` returns when all of them have ended."""

    request_queue_size = 512
    daemon_threads = False  # so that closing waits for what is in flight

    def __init__(self, address):
        super().__init__(address, Answers)
        self.is_ending = False
        self.connections = set()
        self.lock = threading.Lock()

    def process_request(self, request, client_address):
        """Remember a connection before its thread begins."""
        with self.lock:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        """Forget a connection that ends."""
        with self.lock:
            self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        """Say in one line that a client went away, which is no mistake of the server; others in full."""
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError):
            print(f"lost {client_address[0]}:{client_address[1]}: {error}", flush=True)
        else:
            super().handle_error(request, client_address)

    def end(self):
        """Answer what has been asked, and nothing more."""
        self.is_ending = True  # from now on every answer says `Connection: close`
        while select.select([self.socket], [], [], 0)[0]:
            self.handle_request()  # connections that the kernel took but nobody saw yet
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RD)  # a request that came is still read, then comes the end
        self.server_close()

    def serve_until_told(self):
        """Serve until SIGTERM, then end in good order."""
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=self.shutdown).start())
        self.serve_forever(poll_interval=0.05)
        self.end()


if __name__ == "__main__":
    server = Server((os.environ["HOST"], int(os.environ["PORT"])))
    print(f"{behaviour.RELEASE} listens on port {server.server_port}", flush=True)
    server.serve_until_told()
