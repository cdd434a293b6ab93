"""One repository: what is moved is whole, what breaks off goes on, what is altered is refused, all within bounds."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import random
import resource
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from serving import Server, serving
from tiny import Kept, tiny

from anew.core.reference import Repository, repository
from anew.errors import AnewError, Conflict, EngineError, NotFound
from anew.registry import downloads, referrers
from anew.registry.client import INDEX, MANIFEST, Described, Registry
from anew.registry.credentials import Credential
from anew.registry.notes import Notes
from anew.registry.referrers import Referrer
from anew.registry.together import together
from anew.registry.uploads import Source, Uploads
from anew.registry.wire import Answer, Ask, Wire

NOBODY = lambda _: None  # noqa: E731 - who we are: nobody


def source(folder: Path, size: int, seed: int = 1) -> Source:
    """Write a blob that nothing else has."""
    data = random.Random(seed).randbytes(size)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    path = folder / digest[-12:]
    path.write_bytes(data)
    return Source(digest, size, path)


def described(one: Source) -> Described:
    return Described("application/octet-stream", one.digest, one.size)


def uploads(registry: Registry, folder: Path) -> Uploads:
    notes = Notes(folder / "notes", registry.repository)
    return Uploads(registry, notes, notes.seen())


def fetched(registry: Registry, one: Source) -> bytes:
    file = io.BytesIO()
    downloads.fetch(registry, described(one), file)
    return file.getvalue()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire(patience=10.0) as one:
        yield one


@pytest.fixture
def small(wire: Wire) -> Iterator[tuple[Registry, Kept]]:
    with tiny() as (host, kept):
        yield Registry(Repository(host, "shop"), wire, "push", NOBODY), kept


@pytest.fixture
def real(tmp_path: Path, wire: Wire) -> Iterator[tuple[Registry, Server]]:
    with serving(tmp_path / "registry") as server:
        yield Registry(Repository(server.host, "team/shop"), wire, "push", NOBODY), server


# ---------------------------------------------------------------- a real registry


@pytest.mark.parametrize("size", [0, 1, 1000, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_a_blob_comes_back_as_it_went(size: int, real: tuple[Registry, Server], tmp_path: Path) -> None:
    registry, server = real
    one = source(tmp_path, size)
    assert not registry.has_blob(one.digest)
    assert uploads(registry, tmp_path).send(one) == size
    assert server.blob(one.digest).read_bytes() == one.path.read_bytes()
    assert uploads(registry, tmp_path).send(one) == 0
    assert fetched(registry, one) == one.path.read_bytes()
    assert list((tmp_path / "notes" / "uploads").iterdir()) == []


def test_many_blobs_go_at_once(real: tuple[Registry, Server], tmp_path: Path) -> None:
    registry, _ = real
    ones = [source(tmp_path, 300_000, seed) for seed in range(20)]
    sending = uploads(registry, tmp_path)
    assert together(registry.wire, [partial(sending.send, one) for one in ones]) == (300_000,) * 20
    assert [fetched(registry, one) for one in ones] == [one.path.read_bytes() for one in ones]


def test_a_manifest_has_the_digest_of_its_bytes_under_every_name(real: tuple[Registry, Server], tmp_path: Path) -> None:
    registry, _ = real
    config = source(tmp_path, 10)
    uploads(registry, tmp_path).send(config)
    text = {"schemaVersion": 2, "mediaType": MANIFEST, "config": entry(config), "layers": []}
    data = json.dumps(text, indent=3).encode()  # not as anybody else would write it
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert (registry.text("one"), registry.has(digest), registry.tags()) == (None, False, ())
    for name in (digest, "one", "two"):
        registry.put(name, data, MANIFEST)
    assert registry.tags() == ("one", "two")
    for name in (digest, "one", "two"):
        found = registry.text(name)
        assert found is not None
        assert (found.data, found.media, found.described.digest) == (data, MANIFEST, digest)


def entry(one: Source) -> dict[str, object]:
    return {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": one.digest, "size": one.size}


def test_a_registry_that_is_killed_in_mid_transfer_and_started_again_gets_the_whole_blob(
    real: tuple[Registry, Server], tmp_path: Path
) -> None:
    registry, server = real
    one = source(tmp_path, 150_000_000)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(uploads(registry, tmp_path).send, one)
        end = time.monotonic() + 30
        while server.under_way() < 1_000_000:
            assert not sending.done()
            assert time.monotonic() < end
            time.sleep(0.001)
        server.kill()
        server.start()
        assert sending.result(timeout=120) >= one.size
    assert server.blob(one.digest).read_bytes() == one.path.read_bytes()


def test_a_blob_that_was_altered_on_the_registrys_disk_is_refused(
    real: tuple[Registry, Server], tmp_path: Path
) -> None:
    registry, server = real
    one = source(tmp_path, 2_000_000)
    uploads(registry, tmp_path).send(one)
    kept = server.blob(one.digest)
    data = bytearray(kept.read_bytes())
    data[1_500_000] ^= 1
    kept.write_bytes(data)
    file = io.BytesIO()
    with pytest.raises(Conflict, match="altered") as caught:
        downloads.fetch(registry, described(one), file)
    assert caught.value.facts["wanted"] == one.digest
    assert file.getvalue() == b""


def test_a_list_under_a_tag_stands_in_for_the_referrers_api(real: tuple[Registry, Server], tmp_path: Path) -> None:
    registry, _ = real
    subject = "sha256:" + 64 * "a"
    assert referrers.referrers(registry, subject) == ()
    config = source(tmp_path, 10)
    uploads(registry, tmp_path).send(config)
    made = []
    for number in range(3):
        text = {"schemaVersion": 2, "mediaType": MANIFEST, "config": entry(config), "layers": [], "n": number}
        data = json.dumps(text).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        assert not registry.put(digest, data, MANIFEST)
        made.append(Referrer(Described(MANIFEST, digest, len(data)), "kind", (("number", str(number)),)))
        referrers.add(registry, subject, made)
        referrers.add(registry, subject, made)
    assert referrers.referrers(registry, subject) == tuple(made)
    assert "sha256-" + 64 * "a" in registry.tags()


# ---------------------------------------------------------------- what breaks off goes on


def test_an_upload_that_broke_off_goes_on_where_the_registry_has_it(
    small: tuple[Registry, Kept], tmp_path: Path
) -> None:
    registry, kept = small
    one = source(tmp_path, 8_000_000)
    kept.cuts = [3_000_000, 2_000_000]
    uploads(registry, tmp_path).send(one)
    assert kept.blobs["shop", one.digest] == one.path.read_bytes()
    assert kept.received < 8_000_000 + 200_000
    assert sum("POST" in line for line in kept.asked) == 1


def test_an_upload_of_an_earlier_command_goes_on(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 6_000_000)
    with registry.answer("POST", "/blobs/uploads/") as begun:
        place = begun.location()
    Notes(tmp_path / "notes", registry.repository).begun(one.digest, place)
    kept.uploads["upload0"] += one.path.read_bytes()[:4_000_000]
    assert uploads(registry, tmp_path).send(one) == 2_000_000
    assert kept.blobs["shop", one.digest] == one.path.read_bytes()
    assert [path for path in (tmp_path / "notes").rglob("*") if path.is_file()] == []


def test_an_upload_of_which_all_was_sent_is_only_ended(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 3_000_000)
    with registry.answer("POST", "/blobs/uploads/") as begun:
        Notes(tmp_path / "notes", registry.repository).begun(one.digest, begun.location())
    kept.uploads["upload0"] += one.path.read_bytes()
    assert uploads(registry, tmp_path).send(one) == 0
    assert kept.blobs["shop", one.digest] == one.path.read_bytes()


@pytest.mark.parametrize("place", ["/v2/shop/blobs/uploads/upload7", "", "nonsense", "file:///etc/passwd"])
def test_a_note_that_leads_nowhere_costs_only_the_upload(
    place: str, small: tuple[Registry, Kept], tmp_path: Path
) -> None:
    registry, kept = small
    one = source(tmp_path, 3_000_000)
    full = f"http://{registry.repository.host}{place}" if place.startswith("/v2") else place
    Notes(tmp_path / "notes", registry.repository).begun(one.digest, full)
    assert uploads(registry, tmp_path).send(one) == 3_000_000
    assert kept.blobs["shop", one.digest] == one.path.read_bytes()


def test_what_a_registry_kept_of_other_bytes_is_not_built_upon(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 3_000_000)
    with registry.answer("POST", "/blobs/uploads/") as begun:
        Notes(tmp_path / "notes", registry.repository).begun(one.digest, begun.location())
    kept.uploads["upload0"] += bytes(2_000_000)
    uploads(registry, tmp_path).send(one)
    assert kept.blobs["shop", one.digest] == one.path.read_bytes()


def test_the_place_of_an_upload_is_for_its_owner_alone(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes", Repository("localhost:1", "shop"))
    notes.begun("sha256:a", "http://localhost:1/x?state=secret")
    (path,) = (tmp_path / "notes" / "uploads").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_download_that_broke_off_goes_on(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 5_000_000)
    uploads(registry, tmp_path).send(one)
    kept.cuts = [1_000_000, 1_000_000, 0]
    assert fetched(registry, one) == one.path.read_bytes()
    assert kept.sent == 5_000_000


@pytest.mark.parametrize("wrong", [False, True])
def test_a_beginning_of_an_earlier_command_is_hashed_again(
    small: tuple[Registry, Kept], tmp_path: Path, *, wrong: bool
) -> None:
    registry, kept = small
    one = source(tmp_path, 3_000_000)
    uploads(registry, tmp_path).send(one)
    file = io.BytesIO(bytes(1_000_000) if wrong else one.path.read_bytes()[:1_000_000])
    downloads.fetch(registry, described(one), file)
    assert file.getvalue() == one.path.read_bytes()
    assert kept.sent == (5_000_000 if wrong else 2_000_000)


def test_a_registry_that_takes_little_at_once_gets_it_in_slices(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 70 << 20)
    kept.most = 32 << 20
    uploads(registry, tmp_path).send(one)
    assert kept.blobs["shop", one.digest] == one.path.read_bytes()


def test_a_blob_of_another_repository_is_mounted(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one, folder = source(tmp_path, 2_000_000), tmp_path / "notes"
    uploads(registry, tmp_path).send(one)
    Notes(folder, registry.repository).see([one.digest])
    other = Registry(Repository(registry.repository.host, "other"), registry.wire, "push", NOBODY)
    assert uploads(other, tmp_path).send(one) == 0
    assert kept.blobs["other", one.digest] == one.path.read_bytes()
    assert kept.received == 2_000_000


# ---------------------------------------------------------------- what is refused


def test_a_blob_that_is_corrupt_here_is_not_pushed(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    for size in (1000, 3_000_000):
        one = source(tmp_path, size)
        one.path.write_bytes(bytes(size))
        with pytest.raises(Conflict, match="corrupt"):
            uploads(registry, tmp_path).send(one)
        one.path.write_bytes(bytes(size // 2))
        with pytest.raises(Conflict, match="corrupt"):
            uploads(registry, tmp_path).send(one)
    assert kept.blobs == {}


def test_a_manifest_that_is_not_what_its_digest_says_is_refused(small: tuple[Registry, Kept]) -> None:
    registry, kept = small
    digest = "sha256:" + 64 * "b"
    kept.texts["shop", digest] = (MANIFEST, b"{}")
    with pytest.raises(Conflict, match="altered"):
        registry.text(digest)
    kept.texts["shop", "tag"] = (MANIFEST, b"[1, 2]")
    with pytest.raises(Conflict, match="no manifest"):
        registry.text("tag")
    kept.texts["shop", "deep"] = (MANIFEST, 100_000 * b"[")
    with pytest.raises(Conflict, match="no manifest"):
        registry.text("deep")
    kept.texts["shop", "large"] = (MANIFEST, b" " * (5 << 20))
    with pytest.raises(EngineError, match="longer than"):
        registry.text("large")


def test_a_blob_that_is_longer_or_shorter_than_said_is_refused(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 100_000)
    kept.blobs["shop", one.digest] = one.path.read_bytes() + b"more"
    with pytest.raises(Conflict, match="another size"):
        fetched(registry, one)
    kept.blobs["shop", one.digest] = one.path.read_bytes()[:-1]
    with pytest.raises(Conflict, match="another size"):
        fetched(registry, one)


def test_a_blob_that_is_missing_is_named(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="lacks a blob") as caught:
        fetched(small[0], source(tmp_path, 10))
    assert caught.value.facts["digest"].startswith("sha256:")


# ---------------------------------------------------------------- a registry that is busy, or gone


def test_a_busy_registry_is_asked_again_when_it_says(small: tuple[Registry, Kept]) -> None:
    registry, kept = small
    kept.answers = [(429, {"Retry-After": "1"}), (503, {}), (502, {})]
    began = time.monotonic()
    assert not registry.has("r1")
    assert 1.0 <= time.monotonic() - began < 10.0
    assert len(kept.asked) == 4


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (429, {"Retry-After": "86400"}, "asked too often"),
        (403, {}, "forbids"),
        (401, {}, "does not know who asks"),
        (418, {}, "refused this with status 418"),
    ],
)
def test_what_will_not_pass_is_told_at_once(
    status: int, headers: dict[str, str], words: str, small: tuple[Registry, Kept]
) -> None:
    registry, kept = small
    kept.answers = [(status, headers)] * 9
    with pytest.raises(AnewError, match=words):
        registry.text("r1")
    assert len(kept.asked) == 1


def test_a_registry_that_fails_for_good_is_given_up(small: tuple[Registry, Kept]) -> None:
    registry, kept = small
    kept.answers = [(500, {})] * 99
    with pytest.raises(EngineError, match="failed with status 500"):
        registry.text("r1")
    assert len(kept.asked) == 6


def test_nobody_who_listens_is_told_at_once(wire: Wire) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(EngineError, match=f"nobody listens at localhost:{port}"):
        Registry(repository(f"localhost:{port}/shop"), wire, "pull", NOBODY).text("r1")
    assert time.monotonic() - began < 5


def test_a_host_without_an_address_is_told_at_once(wire: Wire) -> None:
    with pytest.raises(EngineError, match="can't be resolved"):
        Registry(repository("no-such-host.invalid/shop"), wire, "pull", NOBODY).text("r1")


def test_a_server_that_speaks_no_tls_or_has_no_trusted_certificate_is_named(tmp_path: Path) -> None:
    with tiny() as (host, _), Wire(patience=5.0) as wire:
        registry = Registry(Repository(host, "shop"), wire, "pull", NOBODY)
        with pytest.raises(EngineError, match="no secure connection"), registry.wire.answer(ask(f"https://{host}/v2/")):
            pass


def ask(url: str) -> Ask:
    return Ask("GET", url)


def test_plain_http_goes_to_this_machine_alone(wire: Wire) -> None:
    for url in ("http://registry.example.com/v2/", "ftp://localhost/v2/", "http://10.0.0.1/v2/"):
        with pytest.raises(EngineError, match="not secure"), wire.answer(ask(url)):
            pass


def test_who_we_are_is_not_shown_to_another_host(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 1000)
    with tiny() as (host, other):
        kept.blobs["shop", one.digest] = other.blobs["shop", one.digest] = one.path.read_bytes()
        kept.elsewhere = f"http://{host}"
        kept.wants = lambda _, shown: None if shown else (401, {"WWW-Authenticate": 'Basic realm="x"'})
        known = Registry(registry.repository, registry.wire, "pull", lambda _: Credential("me", "secret"))
        assert fetched(known, one) == one.path.read_bytes()
        assert [bool(shown) for shown in kept.authorizations] == [False, True]
        assert other.authorizations == [""]


def test_a_circle_of_redirects_is_left(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 10)
    kept.blobs["shop", one.digest] = one.path.read_bytes()
    kept.elsewhere = f"http://{registry.repository.host}"
    with pytest.raises(EngineError, match="from place to place in a circle") as caught:
        fetched(registry, one)
    assert (caught.value.hint != "", len(kept.asked)) == (True, 1)


@contextmanager
def raw(head: bytes, *, trickle: bytes = b"", gap: float = 0.1) -> Iterator[tuple[str, list[float]]]:
    """Serve each connection `head` and then a byte of `trickle` every `gap` seconds; yield when it was asked."""
    asked: list[float] = []

    def serve(one: socket.socket) -> None:
        with one, suppress(OSError):
            one.recv(65536)
            asked.append(time.monotonic())
            one.sendall(head)
            for at in range(len(trickle)):
                time.sleep(gap)
                one.sendall(trickle[at : at + 1])
            if not head:
                one.recv(65536)  # until the other end gives up

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(8) as pool:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    pool.submit(serve, server.accept()[0])

        pool.submit(accept)
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "401 Unauthorized"])
def test_a_registry_that_answers_a_byte_now_and_then_is_left(status: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: 4000\r\n\r\n".encode()
    with raw(head, trickle=4000 * b" ") as (host, asked), Wire(patience=0.5) as wire:
        began = time.monotonic()
        with pytest.raises(EngineError, match="does not answer"):
            Registry(Repository(host, "shop"), wire, "pull", NOBODY).text("r1")
        assert time.monotonic() - began < 5
        assert len(asked) == 2


def test_a_registry_that_never_answers_is_asked_twice() -> None:
    with raw(b"") as (host, asked), Wire(patience=0.3) as wire:
        with pytest.raises(EngineError, match="does not answer"):
            Registry(Repository(host, "shop"), wire, "pull", NOBODY).tags()
        assert len(asked) == 2


def test_a_registry_of_this_machine_with_a_certificate_is_told_as_one() -> None:
    head = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    with raw(head) as (host, _), Wire(patience=0.5) as wire:
        with pytest.raises(AnewError, match="speaks https") as caught:
            Registry(Repository(host, "shop"), wire, "pull", NOBODY).tags()
        assert "certificate" in caught.value.hint


BAD = (
    "/v2/a b",
    "/v2/\xe9",
    "https://localhost:abc/",
    "https://localhost:99999/",
    "https://[bad",
    "http://a@localhost/",
)


@pytest.mark.parametrize("place", BAD)
def test_an_address_that_is_none_is_told(place: str, small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    kept.answers = [(307, {"Location": place})]
    with pytest.raises(EngineError, match="no address"):
        registry.tags()
    kept.answers = [(404, {}), (202, {"Location": place})]
    with pytest.raises(EngineError, match="no address"):
        uploads(registry, tmp_path).send(source(tmp_path, 10))
    kept.answers = [(200, {"Link": f'<{place}>; rel="next"'})]
    with pytest.raises(EngineError, match=r"no address|can't be read"):
        registry.tags()
    with pytest.raises(EngineError, match="no address"), registry.answer("GET", below(registry, place)):
        pass


def below(registry: Registry, place: str) -> str:
    return registry.base.partition("/v2/")[0] + place if place.startswith("/") else place


def test_nothing_leads_out_of_encryption() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 307 Elsewhere\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n")
        with http.client.HTTPResponse(ours) as response:
            response.begin()
            with pytest.raises(EngineError, match="without encryption"):
                Answer(ask("https://registry.example.com/v2/"), response).location()
            assert Answer(ask("http://localhost:2/v2/"), response).location() == "http://localhost:1/"


def test_a_proxy_is_told_its_own_password(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as pool:

        def asked() -> bytes:
            with proxy.accept()[0] as one:
                said = one.recv(65536)
                one.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return said

        for who, told in (
            ("me:a%20secret@", b"Proxy-Authorization: Basic " + base64.b64encode(b"me:a secret")),
            ("", b""),
        ):
            monkeypatch.setenv("https_proxy", f"http://{who}127.0.0.1:{proxy.getsockname()[1]}")
            said = pool.submit(asked)
            with pytest.raises(EngineError) as caught, wire.answer(ask("https://registry.example.com/v2/")):
                pass
            assert said.result(10).startswith(b"CONNECT registry.example.com:443 ")
            assert told in said.result()
            assert (b"Proxy-Authorization" in said.result()) is bool(told)
            assert "secret" not in json.dumps(caught.value.as_json())
            assert f"the proxy 127.0.0.1:{proxy.getsockname()[1]}" in caught.value.what
    for wrong in ("http://[bad", "http://127.0.0.1:abc"):
        monkeypatch.setenv("https_proxy", wrong)
        with (
            pytest.raises(EngineError, match="https_proxy names no address"),
            wire.answer(ask("https://registry.example.com/v2/")),
        ):
            pass


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 407 Who Are You\r\n\r\n", "does not know who asks"),
        (b"HTTP/1.1 403 No\r\n\r\n", "gives no way to the registry, with status 403"),
        (b"what?\r\n", "broke off"),
        (b"", "nobody listens at"),
    ],
)
def test_a_proxy_that_gives_no_way_is_named(
    said: bytes, words: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as pool:
        host = f"127.0.0.1:{proxy.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", f"http://{host}")

        def answer() -> None:
            with proxy.accept()[0] as one:
                one.recv(65536)
                one.sendall(said)

        if said:
            pool.submit(answer)
        else:
            proxy.close()
        with (
            pytest.raises(EngineError, match=words) as caught,
            wire.answer(ask("https://registry.example.com/v2/")),
        ):
            pass
        assert f"the proxy {host}" in caught.value.what
        assert caught.value.where == "$https_proxy"


# ---------------------------------------------------------------- lists


def test_a_list_without_an_end_is_left(small: tuple[Registry, Kept]) -> None:
    registry, kept = small
    subject = "sha256:" + 64 * "c"
    for read, path in (
        (registry.tags, "/v2/shop/tags/list"),
        (lambda: referrers.referrers(registry, subject), f"/v2/shop/referrers/{subject}"),
    ):
        kept.asked.clear()
        kept.endless = "same"
        with pytest.raises(EngineError, match="without end"):
            read()
        assert set(kept.asked) == {f"GET {path}"}
        assert len(kept.asked) <= 3
    kept.asked.clear()
    kept.endless = "other"
    with pytest.raises(EngineError, match="without end"):
        registry.tags()
    assert len(kept.asked) == 1000


def test_lists_are_read_to_their_end(small: tuple[Registry, Kept]) -> None:
    registry, kept = small
    kept.page = 2
    for number in range(5):
        kept.texts["shop", f"t{number}"] = (INDEX, b"{}")
    assert registry.tags() == ("t0", "t1", "t2", "t3", "t4")


@pytest.mark.parametrize("has_api", [True, False])
def test_what_refers_to_an_image_is_found_either_way(small: tuple[Registry, Kept], *, has_api: bool) -> None:
    registry, kept = small
    kept.has_referrers, kept.page = has_api, 2
    subject, made = "sha256:" + 64 * "c", []
    for number in range(5):
        text = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "kind",
            "subject": {"digest": subject},
            "annotations": {"number": str(number)},
        }
        data = json.dumps(text).encode()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        assert registry.put(digest, data, MANIFEST) is has_api
        made.append(Referrer(Described(MANIFEST, digest, len(data)), "kind", (("number", str(number)),)))
    if not has_api:
        referrers.add(registry, subject, made)
    assert referrers.referrers(registry, subject) == tuple(made)


def test_a_list_of_nonsense_is_none(small: tuple[Registry, Kept]) -> None:
    registry, kept = small
    kept.has_referrers = False
    entries = [1, {}, {"digest": "sha256:../../x", "mediaType": "x", "size": 1}, {"digest": 3}]
    kept.texts["shop", "sha256-" + 64 * "d"] = (INDEX, json.dumps({"manifests": entries}).encode())
    assert referrers.referrers(registry, "sha256:" + 64 * "d") == ()


def test_the_machines_own_trust_store_is_used() -> None:
    assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED


# ---------------------------------------------------------------- this machine


def test_a_full_disk_is_no_lost_connection(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 1 << 20)
    kept.blobs["shop", one.digest] = one.path.read_bytes()
    file = tmp_path / "part"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="File too large"), file.open("w+b") as target:
            downloads.fetch(registry, described(one), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(kept.asked) == 1


def test_notes_are_not_needed(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 2 << 20)
    (tmp_path / "notes").write_text("where a folder should be")
    notes = Notes(tmp_path / "notes", registry.repository)
    assert Uploads(registry, notes, notes.seen()).send(one) == one.size
    notes.see([one.digest])
    assert (notes.seen(), kept.blobs["shop", one.digest]) == ({}, one.path.read_bytes())


def test_a_note_that_is_wrong_is_none(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, _ = small
    one = source(tmp_path, 2 << 20)
    notes = Notes(tmp_path / "notes", registry.repository)
    notes.begun(one.digest, "http://[bad")
    notes.see([one.digest])
    next((tmp_path / "notes" / "seen").iterdir()).write_text(100_000 * "[")
    assert Uploads(registry, notes, notes.seen()).send(one) == one.size


def test_a_blob_that_is_gone_is_told_and_not_tried_again(small: tuple[Registry, Kept], tmp_path: Path) -> None:
    registry, kept = small
    one = source(tmp_path, 1 << 20)
    one.path.unlink()
    with pytest.raises(NotFound, match="is missing in the image store"):
        uploads(registry, tmp_path).send(one)
    assert len([line for line in kept.asked if line.startswith(("PUT", "PATCH"))]) <= 1
