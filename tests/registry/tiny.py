"""A small registry of the OCI distribution specification 1.1, in this process: for what that of Debian never does.

It has the referrers API, keeps what came of an upload that broke off, and can be told to break off, to refuse, to be
busy and to lie.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(slots=True)
class Kept:
    """What the registry has, what it was asked, and how it is to behave."""

    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)  # by repository and digest
    texts: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)  # by repository, and digest or tag
    uploads: dict[str, bytearray] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # "PATCH /v2/…"
    received: int = 0  # bytes of uploads
    sent: int = 0  # bytes of blobs
    cuts: list[int] = field(default_factory=list)  # after so many bytes of each next transfer the line is cut
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # instead of the next ones
    most: int = 0  # bytes that one request may have; 0: any
    has_referrers: bool = True
    page: int = 0  # tags and referrers in one answer; 0: all
    endless: str = ""  # what follows each page of a list: the "same" again, or an "other" one
    elsewhere: str = ""  # where blobs are led to
    authorizations: list[str] = field(default_factory=list)
    wants: Callable[[str, str], tuple[int, dict[str, str]] | None] | None = None  # of (method, Authorization)


class Answers(http.server.BaseHTTPRequestHandler):
    """What answers one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are written one after the other
    kept: ClassVar[Kept]

    def do(self) -> None:
        kept, parts = self.kept, urlsplit(self.path)
        kept.asked.append(f"{self.command} {parts.path}")
        kept.authorizations.append(self.headers.get("Authorization", ""))
        if kept.answers:
            status, headers = kept.answers.pop(0)
            self.read_body()
            self.say(status, headers)
            return
        refused = kept.wants(self.command, self.headers.get("Authorization", "")) if kept.wants else None
        if refused is not None:
            self.read_body()
            self.say(*refused)
            return
        for pattern, method in (
            (r"/v2/(.+)/blobs/uploads/", self.begin),
            (r"/v2/(.+)/blobs/uploads/([a-z0-9]+)", self.upload),
            (r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", self.blob),
            (r"/v2/(.+)/manifests/([^/]+)", self.text),
            (r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})", self.referrers),
            (r"/v2/(.+)/tags/list", self.tags),
        ):
            if found := re.fullmatch(pattern, parts.path):
                method(*found.groups())
                return
        self.say(404)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do  # noqa: N815 - the names that the class of Python wants

    def query(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0]

    def read_body(self, into: bytearray | None = None) -> bool:
        """Read the body; False if the line was cut meanwhile."""
        left = int(self.headers.get("Content-Length") or 0)
        cut = self.kept.cuts.pop(0) if self.kept.cuts and left and into is not None else -1
        while left:
            data = self.rfile.read1(min(left, 65536 if cut < 0 else max(1, min(cut, 65536))))
            if not data:
                return False
            left -= len(data)
            if into is not None:
                into += data
                self.kept.received += len(data)
            if cut >= 0 and (cut := cut - len(data)) <= 0:
                self.cut_off()
                return False
        return True

    def cut_off(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def say(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, name: str) -> None:
        self.read_body()
        mount, other = self.query("mount"), self.query("from")
        if mount and (other, mount) in self.kept.blobs:
            self.kept.blobs[name, mount] = self.kept.blobs[other, mount]
            self.say(201, {"Location": f"/v2/{name}/blobs/{mount}"})
            return
        key = f"upload{len(self.kept.uploads)}"
        self.kept.uploads[key] = bytearray()
        self.say(202, {"Location": f"/v2/{name}/blobs/uploads/{key}?state=secret"})

    def upload(self, name: str, key: str) -> None:
        there = self.kept.uploads.get(key)
        if there is None:
            self.read_body()
            self.say(404)
            return
        if self.kept.most and int(self.headers.get("Content-Length") or 0) > self.kept.most:
            self.say(413, {"Connection": "close"})
            self.close_connection = True
            return
        begins = re.match(r"(\d+)-", self.headers.get("Content-Range", ""))
        if begins and int(begins[1]) != len(there):
            self.read_body()
            self.say(416)
            return
        if not self.read_body(there):
            return
        where = {"Location": f"/v2/{name}/blobs/uploads/{key}?state=secret", "Range": f"0-{max(0, len(there) - 1)}"}
        if self.command == "PUT":
            digest = "sha256:" + hashlib.sha256(there).hexdigest()
            if digest != self.query("digest"):
                self.say(400, body=b'{"errors":[{"code":"DIGEST_INVALID","message":"it is another one"}]}')
                return
            self.kept.blobs[name, digest] = bytes(there)
            del self.kept.uploads[key]
            self.say(201, {"Docker-Content-Digest": digest})
            return
        self.say(204 if self.command == "GET" else 202, where)

    def blob(self, name: str, digest: str) -> None:
        data = self.kept.blobs.get((name, digest))
        if data is None:
            self.say(404)
            return
        if self.kept.elsewhere and self.command == "GET":
            self.say(307, {"Location": f"{self.kept.elsewhere}{self.path}"})
            return
        begins = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(begins[1]) if begins else 0
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if begins else {}
        cut = self.kept.cuts.pop(0) if self.kept.cuts and self.command == "GET" else len(data)
        self.send_response(206 if begins else 200)
        for key, value in {"Content-Length": str(len(data) - start), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            part = data[start:][:cut]
            self.kept.sent += len(part)
            self.wfile.write(part)
            self.wfile.flush()
            if len(part) < len(data) - start:
                self.cut_off()

    def text(self, name: str, wanted: str) -> None:
        if self.command == "PUT":
            data = bytearray()
            self.read_body(data)
            media = self.headers.get("Content-Type", "")
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            for key in (wanted, digest):
                self.kept.texts[name, key] = (media, bytes(data))
            subject = json.loads(data).get("subject")
            filed = {"OCI-Subject": subject["digest"]} if subject and self.kept.has_referrers else {}
            self.say(201, {"Docker-Content-Digest": digest, **filed})
            return
        found = self.kept.texts.get((name, wanted))
        if found is None:
            self.say(404, body=b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            return
        digest = "sha256:" + hashlib.sha256(found[1]).hexdigest()
        self.say(200, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])

    def referrers(self, name: str, subject: str) -> None:
        if not self.kept.has_referrers:
            self.say(404)
            return
        entries: list[dict[str, Any]] = []
        for (where, key), (media, data) in self.kept.texts.items():
            said = json.loads(data)
            if where == name and key.startswith("sha256:") and (said.get("subject") or {}).get("digest") == subject:
                more = {one: said[one] for one in ("artifactType", "annotations") if one in said}
                entries.append({"mediaType": media, "digest": key, "size": len(data), **more})
        self.listed(entries, lambda part: {"schemaVersion": 2, "mediaType": INDEX, "manifests": part})

    def tags(self, name: str) -> None:
        names = sorted(key for where, key in self.kept.texts if where == name and not key.startswith("sha256:"))
        self.listed(names, lambda part: {"name": name, "tags": part})

    def listed(self, every: list[Any], text: Callable[[list[Any]], dict[str, Any]]) -> None:
        first, size = int(self.query("last") or 0), self.kept.page or len(every) or 1
        path = urlsplit(self.path).path
        if self.kept.endless:
            link = f"{path}?last={0 if self.kept.endless == 'same' else len(self.kept.asked)}"
            self.say(200, {"Link": f'<{link}>; rel="next"'}, json.dumps(text([])).encode())
            return
        more = {"Link": f'<{path}?last={first + size}>; rel="next"'} if first + size < len(every) else {}
        self.say(200, more, json.dumps(text(every[first : first + size])).encode())

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Quiet(http.server.ThreadingHTTPServer):
    """A server of which clients may go away."""

    def handle_error(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def tiny() -> Iterator[tuple[str, Kept]]:
    """Run a small registry; yield its host, and what it has."""
    kept = Kept()
    server = Quiet(("127.0.0.1", 0), type("Ours", (Answers,), {"kept": kept}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
