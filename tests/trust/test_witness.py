"""What signs how far a ledger has come: it notices every change to what it remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from anew.core.digest import digest_bytes
from anew.errors import Conflict
from anew.model import Scope
from anew.trust.keys import VARIABLE, own_key, signing_key
from anew.trust.witness import Witness

SCOPE = Scope("shop", "local", "state")


def witness(folder: Path, scope: Scope = SCOPE) -> Witness:
    return Witness(scope, folder / "heads", folder / "keys")


def test_what_was_signed_is_remembered(tmp_path: Path) -> None:
    assert witness(tmp_path).seen() is None
    witness(tmp_path).sign(3, digest_bytes(b"three"))
    witness(tmp_path).sign(7, digest_bytes(b"seven"))
    seen = witness(tmp_path).seen()
    assert seen is not None
    assert seen[:2] == (7, digest_bytes(b"seven"))
    assert [path.name for path in (tmp_path / "heads").iterdir()] == ["shop.local.json"]


def test_a_ledger_is_signed_with_the_machines_own_key_whatever_the_environment_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = signing_key(tmp_path / "elsewhere", "shop")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere" / "shop.pem"))
    assert signing_key(tmp_path / "keys", "shop").public == other.public
    witness(tmp_path).sign(3, digest_bytes(b"three"))
    seen = witness(tmp_path).seen()
    monkeypatch.delenv(VARIABLE)
    assert seen == witness(tmp_path).seen()
    assert seen is not None
    assert seen[2] == own_key(tmp_path / "keys", "shop").public.id != other.public.id


def test_another_head_in_its_place_is_noticed(tmp_path: Path) -> None:
    witness(tmp_path).sign(3, digest_bytes(b"three"))
    file = tmp_path / "heads" / "shop.local.json"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"payload":"', b'"payload":"e30', 1))
    with pytest.raises(Conflict, match="signed head of the ledger is"):
        witness(tmp_path).seen()
    for other in (Scope("shop", "staging", "state"), Scope("shop", "local", "another")):
        witness(tmp_path, other).sign(9, digest_bytes(b"nine"))
        file.write_bytes((tmp_path / "heads" / f"shop.{other.environment}.json").read_bytes())
        with pytest.raises(Conflict, match="that of another environment"):
            witness(tmp_path).seen()
    file.write_bytes(whole)
    (tmp_path / "keys" / "shop.pem").unlink()
    with pytest.raises(Conflict, match="which is not trusted"):
        witness(tmp_path).seen()
