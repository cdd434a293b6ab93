"""Keys: made once, read from a file or a variable, never shown, and their public half as OpenSSH has it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from anew.errors import AnewError, Conflict, NotFound, SpecError
from anew.trust.keys import VARIABLE, public_key, signing_key

SSH_KEYGEN = Path("/usr/bin/ssh-keygen")


def pem(key: Ed25519PrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    one = signing_key(folder, "shop")
    assert signing_key(folder, "shop").public == one.public
    assert signing_key(folder, "other").public != one.public
    assert [(path.name, path.stat().st_mode & 0o777) for path in sorted(folder.iterdir())] == [
        ("other.pem", 0o600),
        ("shop.pem", 0o600),
    ]
    private = (folder / "shop.pem").read_text().splitlines()[1]
    assert private not in repr(one) + str(one)


def test_those_who_make_a_key_at_once_get_the_same_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: signing_key(tmp_path, "shop").public.id, range(32)))
    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["shop.pem"]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH])
def test_a_key_is_given_by_file_or_by_text(
    form: PrivateFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    file = tmp_path / "mine"
    file.write_bytes(pem(key, form))
    file.chmod(0o600)
    monkeypatch.setenv(VARIABLE, str(file))
    by_file = signing_key(tmp_path / "keys", "shop")
    monkeypatch.setenv(VARIABLE, pem(key, form).decode())
    by_text = signing_key(tmp_path / "keys", "shop")
    assert by_file.public == by_text.public
    assert by_file.public.raw == key.public_key().public_bytes_raw()
    assert not (tmp_path / "keys").exists()


def test_what_is_no_such_key_is_refused_with_a_reason_and_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    cases = {
        "of another kind": other,
        "a passphrase": locked,
        "can't be understood": pem(Ed25519PrivateKey.generate())[:-40],
    }
    for reason, text in cases.items():
        (tmp_path / "shop.pem").write_bytes(text)
        (tmp_path / "shop.pem").chmod(0o600)
        with pytest.raises(Conflict, match=reason) as refused:
            signing_key(tmp_path, "shop")
        assert text.decode().splitlines()[1][:20] not in f"{refused.value} {refused.value.facts}"
    (tmp_path / "shop.pem").write_bytes(pem(Ed25519PrivateKey.generate()))
    (tmp_path / "shop.pem").chmod(0o644)
    with pytest.raises(Conflict, match="others than its owner"):
        signing_key(tmp_path, "shop")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(NotFound, match="not there"):
        signing_key(tmp_path, "shop")


def test_the_public_half_is_what_openssh_shows(tmp_path: Path) -> None:
    if not SSH_KEYGEN.exists():
        pytest.skip("needs ssh-keygen")
    key = signing_key(tmp_path, "shop").public
    line = tmp_path / "line"
    line.write_text(f"{key.line} somebody\n")
    shown = subprocess.run([SSH_KEYGEN, "-lf", line], capture_output=True, text=True, check=True).stdout
    assert shown.split()[1] == key.id
    assert public_key(line.read_text()) == key


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ssh-ed25519 not*base64",
    ],
)
def test_what_is_no_public_key_is_refused(line: str) -> None:
    with pytest.raises(SpecError, match="no public ed25519 key"):
        public_key(line, "anew.yaml trust")


def test_only_the_key_itself_has_signed(tmp_path: Path) -> None:
    one, other = signing_key(tmp_path, "one"), signing_key(tmp_path, "other")
    signature = one.sign(b"said")
    assert one.public.has_signed(signature, b"said")
    assert not other.public.has_signed(signature, b"said")
    assert not one.public.has_signed(signature, b"sad")
    for bit in range(8 * len(signature)):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not one.public.has_signed(bytes(flipped), b"said"), bit
    assert not one.public.has_signed(b"", b"said")
    assert os.fspath(tmp_path) not in one.public.line


@pytest.mark.parametrize(
    "change", [lambda text: text, lambda text: text.replace(b"\n", b"\r\n"), lambda text: b"\n" + text]
)
def test_a_key_is_the_same_however_its_lines_end(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """The form that anew writes is read by a short way of its own, all others by the library."""
    made = Ed25519PrivateKey.generate()
    path = tmp_path / "shop.pem"
    path.write_bytes(change(pem(made)))
    path.chmod(0o600)
    one = signing_key(tmp_path, "shop")
    assert one.public.raw == made.public_key().public_bytes_raw()
    assert one.sign(b"data") == made.sign(b"data")


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH])
@pytest.mark.parametrize("before", ["# my key\n", "\n", "a comment\n\n"])
def test_a_text_is_a_key_also_after_a_comment(
    before: str, form: PrivateFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    monkeypatch.setenv(VARIABLE, before + pem(key, form).decode())
    assert signing_key(tmp_path, "shop").public.raw == key.public_key().public_bytes_raw()


def mistaken(key: Ed25519PrivateKey) -> dict[str, str]:
    """Return what people take for the text of a key."""
    text, der = pem(key), key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {
        "base64 of a file": base64.b64encode(text).decode(),
        "base64 of a long file": base64.b64encode(pem(key, PrivateFormat.OpenSSH)).decode(),
        "base64 in lines": base64.encodebytes(text).decode(),
        "lines without their ends": text.decode().splitlines()[1],
        "base64 for addresses": base64.urlsafe_b64encode(der).decode().rstrip("="),
        "hexadecimal": key.private_bytes_raw().hex(),
        "one line": text.decode().replace("\n", "").replace("PRIVATE KEY", "KEY"),
        "bare bytes that look like a path": "/" + base64.b64encode(key.private_bytes_raw()).decode()[1:],
    }


@pytest.mark.parametrize("how", mistaken(Ed25519PrivateKey.generate()))
def test_a_variable_that_is_no_path_is_named_and_not_shown(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = mistaken(Ed25519PrivateKey.generate())[how]
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(AnewError) as refused:
        signing_key(tmp_path, "shop")
    told = "".join(traceback.format_exception(refused.value)) + json.dumps(refused.value.as_json())
    assert VARIABLE in refused.value.where
    assert not any(value[at : at + 12] in told for at in range(len(value) - 12))


def test_a_path_that_leads_nowhere_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/run/secrets/key", str(tmp_path / "nowhere.pem"), "keys/shop.pem", "./key"):
        monkeypatch.setenv(VARIABLE, path)
        with pytest.raises(NotFound) as refused:
            signing_key(tmp_path, "shop")
        assert refused.value.where == path
