"""Files that are fetched by address: locked once, kept, never believed halfway; from a real server on loopback."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from building import Project, need_program, need_root, proved, quiet, tar_project

from anew.build import fetching, lock
from anew.build.files import Files
from anew.build.sources import SourceTree
from anew.core.collection import parts_of
from anew.core.digest import PREFIX
from anew.errors import Conflict, EngineError, NotFound, SpecError
from anew.model import Copy, Fetch, Service, Spec

Answer = Callable[["_Handler"], None]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.send_error(404)
        elif isinstance(answer, bytes):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        else:
            answer(self)

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, bytes | Answer] = {}
        self.asked: list[str] = []

    def url(self, path: str, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.server_port}{path}"


def _serving(server: _Server) -> Iterator[_Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[_Server]:
    yield from _serving(_Server())


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def wanting(project: Project, *fetches: Fetch, copy: tuple[Copy, ...] = ()) -> tuple[Spec, Service]:
    service = replace(project.service(copy=copy), fetch=fetches)
    return replace(project.spec, services=(service,)), service


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def redirect(target: str) -> Answer:
    def answer(handler: _Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_a_fetched_file_is_locked_and_lies_in_the_image_and_is_never_asked_for_again(
    tmp_path: Path, server: _Server
) -> None:
    server.answers["/tool"] = b"#!/bin/sh\n"
    project = tar_project(tmp_path)
    url = server.url("/tool")
    spec, service = wanting(project, Fetch(url, "/opt/bin/tool", is_executable=True))
    image, _ = project.builder.build(spec, service, quiet)
    text = json.loads((project.root / "anew.lock").read_text())
    assert (text["version"], list(text["files"])) == (3, [url])
    assert text["files"][url] == {
        "digest": PREFIX + sha(b"#!/bin/sh\n"),
        "size": 10,
        "fetched": text["files"][url]["fetched"],
    }
    there = project.store.tree(image.layers[1]) / "opt" / "bin" / "tool"
    assert (there.read_bytes(), there.stat().st_mode & 0o777) == (b"#!/bin/sh\n", 0o755)
    assert PREFIX + sha(b"#!/bin/sh\n") in parts_of(image)  # so a collection keeps it as long as the image
    server.answers["/tool"] = b"changed"
    again, built = project.builder.build(spec, service, quiet)
    assert (again, built.is_reused, len(server.asked)) == (image, True, 1)
    (project.root / "more").write_text("x")
    more, _ = project.builder.build(*wanting(project, *service.fetch, copy=(Copy("more", "/srv/more"),)), quiet)
    assert (more.digest != image.digest, len(server.asked)) == (True, 1)
    found = proved(project.builder, image)
    assert (found.verdict, found.why) == ("identical", "")


def test_a_fetched_file_is_not_covered_by_the_sources_around_it(tmp_path: Path, server: _Server) -> None:
    """In development nothing of the project's folder stands for it: so the folder that it lies in is not mounted."""
    need_root()
    project = tar_project(tmp_path)
    server.answers["/tool"] = b"the tool"
    for name in ("app/server", "app/below/more", "lib/one"):
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text("x\n")
    copy = (Copy("app/", "/srv/app/"), Copy("lib/", "/srv/lib/"))
    spec, service = wanting(project, Fetch(server.url("/tool"), "/srv/app/tool"), copy=copy)
    image, _ = project.builder.build(spec, service, quiet)
    found = SourceTree(project.root, service, project.store).sources(image)
    assert [one.target for one in found.mounts] == ["/srv/app/below", "/srv/app/server", "/srv/lib"]


def test_a_release_without_fetched_files_has_the_lock_that_it_had(tmp_path: Path) -> None:
    project = tar_project(tmp_path)
    project.builder.build(project.spec, project.service(), quiet)
    text = json.loads((project.root / "anew.lock").read_text())
    assert (text["version"], "files" in text) == (3, False)


def test_a_changed_remote_is_told_by_outdated_and_moved_by_update(tmp_path: Path, server: _Server) -> None:
    server.answers["/a"], server.answers["/b"] = b"one", b"fixed"
    project = tar_project(tmp_path)
    fetches = (Fetch(server.url("/a"), "/a"), Fetch(server.url("/b"), "/b", sha(b"fixed")))
    spec, service = wanting(project, *fetches)
    views = {one.head: one for one in project.builder.lock(spec, (), quiet, update=False)}
    assert (views[fetches[0].url].source, views[fetches[0].url].size) == ("file", 3)
    first, _ = project.builder.build(spec, service, quiet)
    server.answers["/a"] = server.answers["/b"] = b"two"
    moves = {one.head: one.moves for one in project.builder.outdated(spec, quiet)}
    (move,) = moves[fetches[0].url]
    assert (move.before, move.after) == (sha(b"one")[:12], sha(b"two")[:12])
    assert moves[fetches[1].url] == ()  # the spec says which file it is
    assert project.builder.build(spec, service, quiet)[0] == first
    project.builder.lock(spec, [fetches[0].url], quiet, update=True)
    second, _ = project.builder.build(spec, service, quiet)
    assert second.digest != first.digest
    assert (project.store.tree(second.layers[1]) / "a").read_bytes() == b"two"
    assert (project.store.tree(second.layers[1]) / "b").read_bytes() == b"fixed"
    with pytest.raises(NotFound, match="no head 'http://x'"):
        project.builder.lock(spec, ["http://x"], quiet, update=False)


def test_a_file_that_is_lost_is_fetched_again_and_must_be_what_it_was(tmp_path: Path, server: _Server) -> None:
    server.answers["/a"] = b"one"
    project = tar_project(tmp_path)
    spec, service = wanting(project, Fetch(server.url("/a"), "/a"))
    project.builder.lock(spec, (), quiet, update=False)
    blob = project.store.blobs.path(PREFIX + sha(b"one"))
    blob.unlink()
    server.answers["/a"] = b"two"
    with pytest.raises(Conflict, match="not the file that is wanted") as caught:
        project.builder.build(spec, service, quiet)
    assert caught.value.facts == {"wanted": PREFIX + sha(b"one"), "given": PREFIX + sha(b"two")}
    server.answers["/a"] = b"one"
    image, _ = project.builder.build(spec, service, quiet)
    assert blob.read_bytes() == b"one"
    blob.write_bytes(b"0ne")  # flipped on the disk: noticed, and fetched again for what needs it
    (project.root / "x").write_text("x")
    more, _ = project.builder.build(*wanting(project, *service.fetch, copy=(Copy("x", "/x"),)), quiet)
    assert blob.read_bytes() == b"one"
    assert (project.store.tree(more.layers[1]) / "a").read_bytes() == b"one"
    assert image.digest != more.digest


def test_a_digest_in_the_spec_is_held_and_a_changed_one_is_resolved_again(tmp_path: Path, server: _Server) -> None:
    server.answers["/a"] = b"one"
    project = tar_project(tmp_path)
    with pytest.raises(Conflict, match="not the file that is wanted"):
        project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a", sha(b"two"))), quiet)
    assert lock.read(project.root).files == {}
    project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a")), quiet)
    server.answers["/a"] = b"two"
    image, _ = project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a", sha(b"two"))), quiet)
    assert (project.store.tree(image.layers[1]) / "a").read_bytes() == b"two"


def test_a_file_that_breaks_off_is_tried_again_and_never_believed(tmp_path: Path, server: _Server) -> None:
    data = b"x" * 100_000

    def broken(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:50_000])
        handler.close_connection = True
        if len(server.asked) >= 2:
            server.answers["/a"] = data

    server.answers["/a"] = broken
    project = tar_project(tmp_path)
    lines: list[str] = []
    image, _ = project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a")), lines.append)
    assert (project.store.tree(image.layers[1]) / "a").read_bytes() == data
    assert sum("trying again" in line for line in lines) == 2
    assert list(project.store.drafts.iterdir()) == []


def test_a_server_that_never_gives_all_of_it_ends_the_build(tmp_path: Path, server: _Server) -> None:
    def broken(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"12345")
        handler.close_connection = True

    server.answers["/a"] = broken
    project = tar_project(tmp_path)
    with pytest.raises(EngineError, match="broke off after 5 of 10 bytes") as caught:
        project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a")), quiet)
    assert caught.value.facts["command"].startswith("curl ")
    assert (len(server.asked), lock.read(project.root).files) == (3, {})
    assert list(project.store.drafts.iterdir()) == []


def test_a_file_without_an_end_is_believed_only_with_its_digest(tmp_path: Path, server: _Server) -> None:
    def endless(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"all")
        handler.close_connection = True

    server.answers["/a"] = endless
    project = tar_project(tmp_path)
    with pytest.raises(EngineError, match="does not say how long it is") as caught:
        project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a")), quiet)
    assert "sha256" in caught.value.hint
    project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a", sha(b"all"))), quiet)


def test_redirections_are_followed_a_few_times_and_never_into_the_open(tmp_path: Path, server: _Server) -> None:
    server.answers |= {
        "/a": redirect("/b"),
        "/b": b"there",
        "/loop": redirect("/loop"),
        "/open": redirect("http://mirror.example/x"),
        "/file": redirect("file:///etc/passwd"),
    }
    project = tar_project(tmp_path)
    image, _ = project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a")), quiet)
    assert (project.store.tree(image.layers[1]) / "a").read_bytes() == b"there"
    with pytest.raises(EngineError, match="which is not encrypted"):
        project.builder.build(*wanting(project, Fetch(server.url("/open"), "/a")), quiet)
    for path in ("/loop", "/file"):
        with pytest.raises(EngineError, match="can't be had"):
            project.builder.build(*wanting(project, Fetch(server.url(path), "/a")), quiet)
    assert len(server.asked) < 50


def test_what_is_not_there_is_said_at_once(tmp_path: Path, server: _Server) -> None:
    project = tar_project(tmp_path)
    with pytest.raises(NotFound, match=r"there is no file at .*/none: 404") as caught:
        project.builder.build(*wanting(project, Fetch(server.url("/none"), "/a")), quiet)
    assert caught.value.where == f"anew.yaml services.web.fetch.{server.url('/none')}"
    assert server.asked == ["/none"]


@pytest.mark.parametrize(
    "url",
    [
        "https://[::bad/x",
        "https://a..b/x",
        f"https://{'a' * 80}.example/x",
        "https://localhost:99999/x",
        "https://localhost:-5/x",
        "https://localhost:x/x",
        "https://:5/x",
    ],
)
def test_what_is_no_address_is_a_complaint_about_the_spec(url: str, tmp_path: Path) -> None:
    wanted = fetching.Wanted(url, "", f"anew.yaml services.web.fetch.{url}")
    told: list[str] = []
    with pytest.raises(SpecError, match="no address") as caught, fetching.fetched(wanted, tmp_path, told.append):
        pass
    assert (caught.value.where, told) == (wanted.where, [])


@pytest.mark.parametrize("target", ["http://[::bad/", "https://a..b/x", "http://127.0.0.1:99999/"])
def test_a_redirection_to_what_is_no_address_is_told_at_once(target: str, tmp_path: Path, server: _Server) -> None:
    server.answers["/a"] = redirect(target)
    wanted = fetching.Wanted(server.url("/a"), "", "here")
    with pytest.raises(EngineError, match=r"no address|is none"), fetching.fetched(wanted, tmp_path, quiet):
        pass
    assert server.asked == ["/a"]


def test_a_part_of_a_file_is_not_taken_for_all_of_it(tmp_path: Path, server: _Server) -> None:
    def part(handler: _Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Length", "4")
        handler.send_header("Content-Range", "bytes 0-3/10")
        handler.end_headers()
        handler.wfile.write(b"half")

    server.answers["/a"] = part
    wanted = fetching.Wanted(server.url("/a"), "", "here")
    with pytest.raises(EngineError, match="206 Partial Content"), fetching.fetched(wanted, tmp_path, quiet):
        pass


def test_https_is_believed_when_this_machine_trusts_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_program("openssl")
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*argv, *names, *files], check=True, capture_output=True)
    server = _Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.answers["/a"] = b"secure"
    project = tar_project(tmp_path / "p")
    for running in _serving(server):
        url = running.url("/a", "https", "localhost")
        with pytest.raises(EngineError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            project.builder.build(*wanting(project, Fetch(url, "/a")), quiet)
        assert "trust its certificate" in caught.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        image, _ = project.builder.build(*wanting(project, Fetch(url, "/a")), quiet)
        assert (project.store.tree(image.layers[1]) / "a").read_bytes() == b"secure"


@pytest.mark.parametrize(
    ("url", "has_digest", "is_safe"),
    [
        ("https://example.com/a", False, True),
        ("http://example.com/a", False, False),
        ("http://example.com/a", True, True),
        ("http://127.0.0.1:8/a", False, True),
        ("http://127.evil.example/a", False, False),
        ("http://localhost.evil.example/a", False, False),
        ("http://[::1]/a", False, True),
        ("ftp://example.com/a", True, False),
        ("file:///etc/passwd", True, False),
    ],
)
def test_only_what_can_be_checked_is_safe(url: str, *, has_digest: bool, is_safe: bool) -> None:
    assert fetching.is_safe(url, has_digest=has_digest) == is_safe


def test_two_sources_of_one_path_are_a_complaint(tmp_path: Path, server: _Server) -> None:
    server.answers["/a"] = b"x"
    project = tar_project(tmp_path)
    (project.root / "app").mkdir()
    (project.root / "app" / "a").write_text("y")
    copy = (Copy("app/", "/srv/"),)
    with pytest.raises(SpecError, match="/srv/a comes from two places"):
        project.builder.build(*wanting(project, Fetch(server.url("/a"), "/srv/a"), copy=copy), quiet)
    with pytest.raises(SpecError, match="would lie in it"):
        project.builder.build(*wanting(project, Fetch(server.url("/a"), "/srv/a/b"), copy=copy), quiet)


def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path: Path, server: _Server) -> None:
    def huge(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 50))
        handler.end_headers()

    server.answers["/a"] = huge
    project = tar_project(tmp_path)
    with pytest.raises(EngineError, match="no room for"):
        project.builder.build(*wanting(project, Fetch(server.url("/a"), "/a")), quiet)


def test_a_plan_knows_an_image_by_its_locked_files_and_asks_nobody(tmp_path: Path, server: _Server) -> None:
    server.answers["/a"] = b"x"
    project = tar_project(tmp_path)
    spec, service = wanting(project, Fetch(server.url("/a"), "/a"))
    assert project.builder.recognised(spec, service) is None
    assert server.asked == []
    image, _ = project.builder.build(spec, service, quiet)
    assert project.builder.recognised(spec, service) == image
    assert len(server.asked) == 1


def test_a_build_without_any_network_takes_what_is_kept(tmp_path: Path, server: _Server) -> None:
    need_root()
    need_program("unshare")
    server.answers["/a"] = b"x"
    project = tar_project(tmp_path)
    spec, service = wanting(project, Fetch(server.url("/a"), "/a"))
    project.builder.lock(spec, (), quiet, update=False)
    server.answers.clear()
    image, _ = project.builder.build(spec, service, quiet)
    assert len(server.asked) == 1
    shutil.rmtree(project.store.root / "records")
    assert project.builder.build(spec, service, quiet)[0].digest == image.digest
    assert Files(project.root, project.store).recorded(service) == ((server.url("/a"), PREFIX + sha(b"x")),)
