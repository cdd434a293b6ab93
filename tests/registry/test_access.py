"""Who we are at a registry: read from the files of `docker login` and its kin, shown where asked for, never told."""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from serving import Server, serving
from tiny import tiny

from anew.core.reference import Repository
from anew.errors import AnewError, EngineError, SpecError
from anew.registry.access import Access
from anew.registry.client import Registry
from anew.registry.credentials import Credential, credential
from anew.registry.wire import Ask, Wire

USER, PASSWORD = "me", "a secret word"
HASHED = "$2b$04$abcdefghijklmnopqrstuujlT32dFnX95MGUmIkXzSWb2/RZskMuS"  # of the password, as htpasswd writes it
HOST = "localhost:5000"
SHOP = Repository(HOST, "team/shop")


def basic(user: str = USER, password: str = PASSWORD) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def written(path: Path, said: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    return path


# ---------------------------------------------------------------- the files


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (".docker/config.json", ""),
        (".config/containers/auth.json", ""),
        ("config/containers/auth.json", "XDG_CONFIG_HOME"),
        ("run/containers/auth.json", "XDG_RUNTIME_DIR"),
        ("docker/config.json", "DOCKER_CONFIG"),
        ("anywhere", "REGISTRY_AUTH_FILE"),
    ],
)
def test_a_login_is_found_where_programs_keep_it(place: str, name: str, tmp_path: Path) -> None:
    path = written(tmp_path / place, {"auths": {HOST: {"auth": basic()}}})
    environment = {"HOME": str(tmp_path)}
    if name:
        environment[name] = str(path if name == "REGISTRY_AUTH_FILE" else tmp_path / place.partition("/")[0])
    assert credential(SHOP, environment) == Credential(USER, PASSWORD)
    assert credential(Repository("localhost:5001", "team/shop"), environment) is None


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({HOST: "host"}, "host"),
        ({f"https://{HOST}/v1/": "old"}, "old"),
        ({HOST: "host", f"{HOST}/team": "team"}, "team"),
        ({HOST: "host", f"{HOST}/team/shop": "shop", f"{HOST}/team": "team"}, "shop"),
        ({HOST: "host", f"{HOST}/other": "other"}, "host"),
        ({f"{HOST}/te": "other"}, None),
    ],
)
def test_the_nearest_entry_counts(keys: dict[str, str], wanted: str | None, tmp_path: Path) -> None:
    written(tmp_path / ".docker/config.json", {"auths": {key: {"auth": basic(user)} for key, user in keys.items()}})
    found = credential(SHOP, {"HOME": str(tmp_path)})
    assert (found.user if found else None) == wanted


def test_an_identity_token_and_a_ready_token_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / ".docker/config.json"
    environment = {"HOME": str(tmp_path)}
    written(path, {"auths": {HOST: {"auth": basic(), "identitytoken": "refresh"}}})
    assert credential(SHOP, environment) == Credential(identity="refresh")
    written(path, {"auths": {HOST: {"registrytoken": "bear"}}})
    assert credential(SHOP, environment) == Credential(bearer="bear")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "{",
        '{"auths": {"localhost:5000": {"auth": "%%%"}}}',
        '{"auths": {"localhost:5000": {"auth": "p%%%ssw\u00f6rd"}}}',
        '{"auths": {"localhost:5000": {"registrytoken": "%%%\\n"}}}',
        "\x00",
        100_000 * "[",
    ],
)
def test_a_file_that_can_not_be_read_is_named_and_not_shown(said: str, tmp_path: Path) -> None:
    path = written(tmp_path / ".docker/config.json", said)
    with pytest.raises(SpecError) as caught:
        credential(SHOP, {"HOME": str(tmp_path)})
    assert caught.value.where == str(path)
    assert "%%%" not in json.dumps(caught.value.as_json())


@pytest.mark.parametrize("said", ["{}", '{"auths": []}', '{"auths": {"localhost:5000": {}}}', '{"auths": {"x": 1}}'])
def test_a_file_without_logins_is_none(said: str, tmp_path: Path) -> None:
    written(tmp_path / ".docker/config.json", said)
    assert credential(SHOP, {"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize("how", ["credHelpers", "credsStore"])
def test_a_helper_is_asked_for_the_host(how: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "docker-credential-ours"
    written(program, '#!/bin/sh\nread host\necho "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"x\\"}"\n').chmod(0o755)
    said = {"credHelpers": {HOST: "ours"}} if how == "credHelpers" else {"credsStore": "ours", "auths": {HOST: {}}}
    written(tmp_path / ".docker/config.json", said)
    with path_before(program.parent):
        assert credential(SHOP, {"HOME": str(tmp_path)}) == Credential(HOST, "x")
        written(program, "#!/bin/sh\necho credentials not found in native keychain; exit 1\n")
        assert credential(SHOP, {"HOME": str(tmp_path)}) is None
        written(program, "#!/bin/sh\necho hunter2; exit 1\n")
        with pytest.raises(EngineError, match="docker-credential-ours failed") as caught:
            credential(SHOP, {"HOME": str(tmp_path)})
        assert "hunter2" not in json.dumps(caught.value.as_json())
        written(program, "no program").chmod(0o755)
        with pytest.raises(EngineError, match="can't be run: Exec format error"):
            credential(SHOP, {"HOME": str(tmp_path)})
        written(program, "#!/bin/sh\nprintf '\\377'\n")
        with pytest.raises(EngineError, match="can't be read"):
            credential(SHOP, {"HOME": str(tmp_path)})
        program.unlink()
        with pytest.raises(EngineError, match="is not installed"):
            credential(SHOP, {"HOME": str(tmp_path)})


def test_a_helper_that_is_a_path_is_not_run(tmp_path: Path) -> None:
    written(tmp_path / ".docker/config.json", {"credHelpers": {HOST: "../../bin/sh"}})
    with pytest.raises(SpecError, match="can't be the name"):
        credential(SHOP, {"HOME": str(tmp_path)})


@contextmanager
def path_before(folder: Path) -> Iterator[None]:
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def test_a_credential_does_not_show_itself() -> None:
    assert "secret" not in repr(Credential("user", "secret", "secret", "secret"))


# ---------------------------------------------------------------- Basic, at a real registry


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    passwords = written(tmp_path / "htpasswd", f"{USER}:{HASHED}\n")
    with serving(tmp_path / "registry", f"auth: {{htpasswd: {{realm: ours, path: {passwords}}}}}\n") as server:
        yield server


def test_a_registry_that_wants_a_password_gets_it(guarded: Server) -> None:
    with Wire() as wire:
        known = Registry(Repository(guarded.host, "shop"), wire, "push", lambda _: Credential(USER, PASSWORD))
        assert known.tags() == ()
        with known.answer("POST", "/blobs/uploads/") as found:
            assert found.status == 202


@pytest.mark.parametrize("who", [None, Credential(USER, "another word"), Credential("nobody", PASSWORD)])
def test_a_registry_lets_nobody_else_in(who: Credential | None, guarded: Server) -> None:
    with Wire() as wire:
        registry = Registry(Repository(guarded.host, "shop"), wire, "push", lambda _: who)
        with pytest.raises(AnewError, match="refuses the login" if who else "does not know who asks") as caught:
            registry.tags()
        assert f"docker login {guarded.host}" in caught.value.hint
        assert "another word" not in json.dumps(caught.value.as_json())


def test_a_login_that_is_refused_is_named_by_its_file(tmp_path: Path) -> None:
    with tiny() as (host, kept), Wire() as wire:
        kept.answers = [(401, {"WWW-Authenticate": 'Basic realm="x"'})] * 2
        path = written(tmp_path / "config.json", {"auths": {host: {"auth": basic()}}})
        environment = {"REGISTRY_AUTH_FILE": str(path)}
        registry = Registry(Repository(host, "shop"), wire, "pull", lambda one: credential(one, environment))
        with pytest.raises(EngineError, match=f"the registry refuses the login in {path}"):
            registry.tags()


# ---------------------------------------------------------------- tokens, at a real registry


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tokens:
    """Sells tokens that a registry trusts, signed with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        self.sold: list[dict[str, list[str]]] = []
        self.lifetime = 60.0
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ours"]
        subprocess.run([*make, "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)
        lines = self.certificate.read_text().splitlines()
        self._chain = ["".join(lines[1:-1])]

    def token(self, scopes: list[str]) -> str:
        access = []
        for one in scopes:
            kind, name, actions = one.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "x5c": self._chain}
        times = {"exp": int(now + self.lifetime), "nbf": now - 5, "iat": now}
        body = {"iss": "ours", "sub": USER, "aud": "shops", "jti": str(now), **times, "access": access}
        text = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(body).encode())}"
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(sign, input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{encoded(signature)}"


@contextmanager
def selling(tokens: Tokens) -> Iterator[int]:
    """Sell tokens on a free port to whoever says the password."""

    class Sale(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            is_known = self.headers.get("Authorization") == f"Basic {basic()}"
            tokens.sold.append(asked)
            body = json.dumps({"token": tokens.token(asked.get("scope", []))} if is_known else {}).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sale)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def trusting(tmp_path: Path) -> Iterator[tuple[Server, Tokens]]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    tokens = Tokens(tmp_path)
    with selling(tokens) as port:
        auth = f"realm: 'http://127.0.0.1:{port}/token', service: shops, issuer: ours"
        text = f"auth: {{token: {{{auth}, rootcertbundle: {tokens.certificate}}}}}\n"
        with serving(tmp_path / "registry", text) as server:
            yield server, tokens


def test_a_registry_that_wants_a_token_gets_one_for_what_is_asked(trusting: tuple[Server, Tokens]) -> None:
    server, tokens = trusting
    with Wire() as wire:
        known = Registry(Repository(server.host, "team/shop"), wire, "push", lambda _: Credential(USER, PASSWORD))
        assert known.tags() == ()
        with known.answer("POST", "/blobs/uploads/") as found:
            assert found.status == 202
    (asked,) = tokens.sold
    assert (asked["service"], asked["scope"]) == (["shops"], ["repository:team/shop:pull,push"])


def test_a_token_that_is_over_is_bought_again(trusting: tuple[Server, Tokens]) -> None:
    server, tokens = trusting
    tokens.lifetime = -120.0  # registries grant a minute
    with Wire() as wire:
        known = Registry(Repository(server.host, "team/shop"), wire, "push", lambda _: Credential(USER, PASSWORD))
        with pytest.raises(AnewError, match="does not know who asks"):
            known.tags()
        tokens.lifetime = 60.0
        assert known.tags() == ()
    assert len(tokens.sold) == 2


def test_a_wrong_password_is_told_and_not_shown(trusting: tuple[Server, Tokens]) -> None:
    with Wire() as wire:
        registry = Registry(Repository(trusting[0].host, "shop"), wire, "push", lambda _: Credential(USER, "hunter2"))
        with pytest.raises(EngineError, match="refused where its tokens come from") as caught:
            registry.tags()
    assert "hunter2" not in json.dumps(caught.value.as_json())


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Digest x",
        "Bearer",
        'Bearer realm="file:///etc/passwd"',
        'Bearer realm="http://registry.example.com/t"',
        'Bearer realm="http://localhost/a b"',
        'Bearer realm="http://localhost/\xe9"',
        'Bearer realm="https://localhost:abc/"',
        'Bearer realm="https://localhost:99999/"',
        'Bearer realm="https://[bad"',
        'Bearer realm="https://a..b/"',
        'Bearer realm="https://"',
    ],
)
def test_a_challenge_that_can_not_be_met_is_told(challenge: str) -> None:
    with tiny() as (host, kept), Wire() as wire:
        kept.answers = [(401, {"WWW-Authenticate": challenge} if challenge else {})] * 5
        with pytest.raises(EngineError):
            Registry(Repository(host, "shop"), wire, "pull", lambda _: Credential(USER, PASSWORD)).tags()
        assert len(kept.asked) == 1


def test_who_we_are_is_not_told_where_a_registry_leads_to() -> None:
    with tiny() as (host, kept), tiny() as (elsewhere, other), Wire() as wire:
        for challenge in ('Basic realm="x"', f'Bearer realm="http://{elsewhere}/token"'):
            kept.answers = [(307, {"Location": f"http://{elsewhere}/v2/"})]
            other.answers = [(401, {"WWW-Authenticate": challenge})]
            registry = Registry(Repository(host, "shop"), wire, "pull", lambda _: Credential(USER, PASSWORD))
            with pytest.raises(EngineError, match="does not know who asks") as caught:
                registry.tags()
            assert caught.value.where == f"{elsewhere}/v2/"
        assert (set(other.authorizations), len(other.asked)) == ({""}, 2)
        assert set(kept.authorizations) == {""}


@pytest.mark.parametrize("realm", ["http://{host}/token", "http://registry.example.com/token"])
def test_a_registry_with_encryption_has_no_place_for_tokens_without(realm: str) -> None:
    with tiny() as (host, kept), Wire() as wire:
        kept.answers = [(401, {"WWW-Authenticate": f'Bearer realm="{realm.format(host=host)}"'})]
        access = Access(wire, Repository("registry.example.com", "shop"), lambda: Credential(USER, PASSWORD))
        told = pytest.raises(EngineError, match="names no place for tokens that is safe")
        with wire.answer(Ask("GET", f"http://{host}/v2/")) as answer, told:
            access.learn(answer, ("repository:shop:pull",), {})
        assert len(kept.asked) == 1
