"""The vault: versions of secrets, what is left of them on the disk, and the key without which they are nothing."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyrage  # type: ignore[import-untyped]  # it has no types of its own
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_rows import LOCAL, Ticks, opened

from anew.errors import AnewError, Bug, Conflict, GateClosed, NotFound, SpecError, Unsupported
from anew.model import Pin, Scope
from anew.shell.database import SCHEMAS, VERSION, statements
from anew.shell.journal import Journal
from anew.shell.keyfile import make_key, read_key
from anew.shell.vault import LARGEST, Vault
from anew.views import SecretView

OLDEST = Path(__file__).with_name("journal_v1.sql")
CANARY = b"tweet-8d1f-canary-tweet"
OTHER = Scope("shop", "production")
NOBODY = 65534
Tables = dict[str, tuple[list[str], list[object]]]  # table → its columns and its rows


def vault_of(journal: Journal, key: Path) -> Vault:
    return Vault(journal._database, journal._clock, journal.ledger, key)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    one = opened(tmp_path / "state" / "journal.db")
    one.open_environment("shop", "production")
    yield one
    one.close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / "deep" / "key"


@pytest.fixture
def vault(journal: Journal, key: Path) -> Vault:
    return vault_of(journal, key)


def pin(vault: Vault, name: str, scope: Scope = LOCAL) -> Pin:
    (only,) = vault.pins(scope, [name])
    return only


def held(folder: Path) -> bytes:
    """Everything that stands in the files of a folder: the database, its log and all else."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# ---------------------------------------------------------------- versions


def test_a_secret_comes_back_as_it_was_set(vault: Vault) -> None:
    value = bytes(range(256)) + b"\n"
    assert vault.put(LOCAL, "db_password", value) == 1
    assert vault.value(LOCAL, pin(vault, "db_password")) == value


@pytest.mark.parametrize("size", [1, LARGEST])
def test_the_smallest_and_the_largest_value_fit(vault: Vault, size: int) -> None:
    vault.put(LOCAL, "a", b"x" * size)
    assert vault.value(LOCAL, pin(vault, "a")) == b"x" * size


def test_each_value_is_a_new_version_and_the_same_again_is_none(vault: Vault, journal: Journal) -> None:
    assert [vault.put(LOCAL, "a", value) for value in (b"1", b"1", b"2", b"2", b"1")] == [1, 1, 2, 2, 3]
    assert vault.put(LOCAL, "b", b"1") == 1
    assert vault.put(OTHER, "a", b"1") == 1
    assert [one.text for one in journal.ledger.events(LOCAL, 100) if one.text.startswith("secret")] == [
        "secret a v1 is set",
        "secret a v2 is set",
        "secret a v3 is set",
        "secret b v1 is set",
    ]


def test_an_old_pin_gives_the_old_value(vault: Vault) -> None:
    vault.put(LOCAL, "a", b"old")
    old = pin(vault, "a")
    vault.put(LOCAL, "a", b"new")
    assert (vault.value(LOCAL, old), vault.value(LOCAL, pin(vault, "a"))) == (b"old", b"new")


def test_pins_are_sorted_and_the_same_each_time(vault: Vault) -> None:
    for name in ("b", "a", "c"):
        vault.put(LOCAL, name, b"one value")
    pins = vault.pins(LOCAL, ["c", "a", "b", "a"])
    assert [(one.name, one.version) for one in pins] == [("a", 1), ("b", 1), ("c", 1)]
    assert pins == vault.pins(LOCAL, ["a", "b", "c"])
    assert all(one.mac.startswith("hmac-sha256:") and len(one.mac) == 76 for one in pins)


def test_one_value_has_another_mac_under_another_name_environment_project_or_key(
    vault: Vault, journal: Journal, tmp_path: Path
) -> None:
    journal.open_environment("pub", "local")
    macs = []
    for scope, name in ((LOCAL, "a"), (LOCAL, "b"), (OTHER, "a"), (Scope("pub", "local"), "a")):
        vault.put(scope, name, b"the same")
        macs.append(pin(vault, name, scope).mac)
    make_key(tmp_path / "another")
    another = read_key(tmp_path / "another")
    assert another is not None
    macs.append(another.mac(LOCAL, "a", b"the same"))
    assert len(set(macs)) == 5
    # The parts are told apart by their lengths, not by what stands between them.
    assert another.mac(LOCAL, "a", b"bc") != another.mac(LOCAL, "ab", b"c")


def test_all_that_is_missing_is_named_at_once(vault: Vault) -> None:
    vault.put(LOCAL, "b", b"here")
    with pytest.raises(NotFound, match="has no secrets a, c") as caught:
        vault.pins(LOCAL, ["c", "b", "a"])
    assert caught.value.hint == "anew secret set a -e local; anew secret set c -e local"
    with pytest.raises(NotFound, match=r"has no secret d$"):
        vault.pins(LOCAL, ["b", "d"])


def test_an_environment_that_was_never_used_has_no_secrets(vault: Vault) -> None:
    never = Scope("shop", "never")
    assert (vault.all(never), vault.revoked(never), vault.pins(never, [])) == ((), frozenset(), ())
    for call in (
        lambda: vault.pins(never, ["a"]),
        lambda: vault.value(never, Pin("a", 1, "")),
        lambda: vault.revoke(never, "a"),
    ):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.hint == "anew secret set a -e never"
    with pytest.raises(NotFound, match="never used"):
        vault.put(never, "a", b"value")


def test_what_belongs_to_another_state_is_a_conflict(vault: Vault) -> None:
    foreign = replace(LOCAL, owner="somebody else")
    calls: list[Callable[[], object]] = [lambda: vault.all(foreign), lambda: vault.put(foreign, "a", b"x")]
    for call in calls:
        with pytest.raises(Conflict, match="another state"):
            call()


@pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a-b", "a b", "a\n", "é", "../a", "a" * 64])
def test_a_name_that_could_be_no_file_name_is_refused(vault: Vault, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        vault.put(LOCAL, name, CANARY)
    assert caught.value.hint
    assert vault.all(LOCAL) == ()


@pytest.mark.parametrize("value", [b"", CANARY * (LARGEST // len(CANARY) + 1)])
def test_nothing_and_too_much_are_refused(vault: Vault, key: Path, value: bytes) -> None:
    with pytest.raises(SpecError) as caught:
        vault.put(LOCAL, "a", value)
    assert caught.value.hint
    assert CANARY.decode() not in str(caught.value.as_json())
    assert not key.exists()


def test_the_longest_name_is_taken(vault: Vault) -> None:
    assert vault.put(LOCAL, "a" * 63, b"x") == 1


# ---------------------------------------------------------------- revoking


def test_a_revoked_version_gives_nothing_and_the_one_before_is_in_force(vault: Vault, journal: Journal) -> None:
    vault.put(LOCAL, "a", b"old")
    vault.put(LOCAL, "a", b"new")
    new = pin(vault, "a")
    assert [vault.revoke(LOCAL, "a"), vault.revoke(LOCAL, "a"), vault.revoke(LOCAL, "a", 2)] == [2, 2, 2]
    with pytest.raises(GateClosed, match="secret a v2 is revoked") as caught:
        vault.value(LOCAL, new)
    assert caught.value.hint == "anew secret set a -e local; then anew up -e local"
    assert (pin(vault, "a").version, vault.revoked(LOCAL)) == (1, frozenset({("a", 2)}))
    assert vault.put(LOCAL, "a", b"new") == 3
    assert vault.revoked(OTHER) == frozenset()
    texts = [one.text for one in journal.ledger.events(LOCAL, 100)]
    assert texts.count("secret a v2 is revoked") == 1
    assert journal.ledger.verify(LOCAL).events == len(texts)


def test_the_record_of_a_revoked_version_stays(journal: Journal, key: Path) -> None:
    clock = Ticks(10.0)
    vault = Vault(journal._database, clock, journal.ledger, key)
    vault.put(LOCAL, "b", b"1")
    clock.at = 5.0  # a clock may step back; the order stays
    vault.put(LOCAL, "a", b"1")
    clock.at = 20.0
    vault.revoke(LOCAL, "b", 1)
    assert vault.all(LOCAL) == (SecretView("b", 1, 10.0, is_revoked=True), SecretView("a", 1, 5.0, is_revoked=False))
    (row,) = journal._database._opened().execute("select * from secrets where name = 'b'").fetchall()
    assert (row["revoked"], row["mac"], row["ciphertext"]) == (20.0, "", b"")


def test_revoking_what_never_was_says_what_there_is(vault: Vault) -> None:
    vault.put(LOCAL, "a", b"1")
    with pytest.raises(NotFound, match="no secret b"):
        vault.revoke(LOCAL, "b")
    with pytest.raises(NotFound, match="no v7 of secret a") as caught:
        vault.revoke(LOCAL, "a", 7)
    assert caught.value.hint == "there are v1"
    with pytest.raises(NotFound):
        vault.revoke(LOCAL, "a", -1)


@pytest.mark.parametrize("is_nested", [False, True])
def test_nothing_of_the_ciphertext_is_left_after_revoking(
    vault: Vault, journal: Journal, tmp_path: Path, *, is_nested: bool
) -> None:
    vault.put(LOCAL, "a", os.urandom(50_000))
    vault.put(LOCAL, "b", b"short")
    rows = journal._database._opened().execute("select ciphertext, mac from secrets").fetchall()
    # A page of the database holds a part of it; of every part there is a piece that lies in one page.
    pieces = [row["ciphertext"][n : n + 48] for row in rows for n in range(0, len(row["ciphertext"]) - 48, 96)]
    pieces += [row["mac"].encode() for row in rows]
    before = held(tmp_path / "state")
    assert sum(piece in before for piece in pieces) > len(pieces) * 0.9
    if is_nested:
        with journal.transaction():
            vault.revoke(LOCAL, "a")
            vault.revoke(LOCAL, "b")
    else:
        vault.revoke(LOCAL, "a")
        vault.revoke(LOCAL, "b")
    after = held(tmp_path / "state")
    assert [piece for piece in pieces if piece in after] == []


def test_a_log_that_another_process_reads_is_emptied_when_it_has_finished(key: Path, tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.db"
    opened(path).close()
    journal = Journal(path, Ticks(), patience=0.05)
    vault = vault_of(journal, key)
    vault.put(LOCAL, "a", CANARY)
    (piece,) = journal._database._opened().execute("select substr(ciphertext, -32) from secrets").fetchone()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin")
        other.execute("select count(*) from secrets").fetchone()
        assert vault.revoke(LOCAL, "a") == 1
        assert piece in held(path.parent)
    assert vault.revoke(LOCAL, "a") == 1
    assert piece not in held(path.parent)
    journal.close()


def test_revoking_that_is_rolled_back_erases_nothing(vault: Vault, journal: Journal) -> None:
    vault.put(LOCAL, "a", CANARY)

    def fail_after() -> None:
        with journal.transaction():
            vault.revoke(LOCAL, "a")
            raise KeyError

    with pytest.raises(KeyError):
        fail_after()
    assert vault.value(LOCAL, pin(vault, "a")) == CANARY
    assert journal.ledger.verify(LOCAL).events == 2


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "revoke"]),
            st.sampled_from([LOCAL, OTHER]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 3),
        ),
        max_size=12,
    )
)
def test_any_order_of_setting_and_revoking_does_what_a_dictionary_of_lists_does(
    acts: list[tuple[str, Scope, str, int]],
) -> None:
    """A model of the vault is, for each environment and name, the list of its values, None where revoked."""
    folder = Path(tempfile.mkdtemp())
    journal = opened(folder / "state" / "journal.db")
    journal.open_environment("shop", "production")
    vault = vault_of(journal, folder / "key")
    model: dict[tuple[Scope, str], list[bytes | None]] = {}
    try:
        for act, scope, name, number in acts:
            values = model.get((scope, name), [])
            if act == "put":
                value = b"value %d" % number
                in_force = [n for n, one in enumerate(values, 1) if one is not None]
                if in_force and values[in_force[-1] - 1] == value:
                    assert vault.put(scope, name, value) == in_force[-1]
                else:
                    values = model.setdefault((scope, name), [])
                    values.append(value)
                    assert vault.put(scope, name, value) == len(values)
            elif number > len(values) or not values:
                with pytest.raises(NotFound):
                    vault.revoke(scope, name, number)
            else:
                assert vault.revoke(scope, name, number) == (number or len(values))
                values[number - 1] = None  # of 0, too: the newest is the last
            _agrees(vault, model)
        assert journal.ledger.verify(LOCAL).events >= 1
    finally:
        journal.close()
        shutil.rmtree(folder)


def _agrees(vault: Vault, model: dict[tuple[Scope, str], list[bytes | None]]) -> None:
    for scope in (LOCAL, OTHER):
        ours = {name: values for (place, name), values in model.items() if place == scope}
        revoked = {(name, n) for name, values in ours.items() for n, one in enumerate(values, 1) if one is None}
        every = {(name, n) for name, values in ours.items() for n in range(1, len(values) + 1)}
        assert vault.revoked(scope) == revoked
        assert {(one.name, one.version) for one in vault.all(scope)} == every
        assert len(vault.all(scope)) == len(every)
        newest = {n: max(i for i, v in enumerate(vs, 1) if v is not None) for n, vs in ours.items() if any(vs)}
        pins = vault.pins(scope, list(newest))
        assert {one.name: one.version for one in pins} == newest
        assert [vault.value(scope, one) for one in pins] == [ours[one.name][one.version - 1] for one in pins]


# ---------------------------------------------------------------- a value is nowhere but where it is asked for


def test_a_value_is_in_no_file_and_no_message(vault: Vault, journal: Journal, key: Path, tmp_path: Path) -> None:
    forms = [CANARY, CANARY.hex().encode(), base64.b64encode(CANARY)[:-4], CANARY.decode().encode("utf-16-le")]
    said: list[object] = [vault]

    def look() -> None:
        everything = held(tmp_path)
        assert (tmp_path / "state" / "journal.db-wal").exists()
        assert [form for form in forms if form in everything] == []

    vault.put(LOCAL, "a", CANARY)
    vault.put(LOCAL, "a", CANARY + b"2")
    look()
    said += [*vault.pins(LOCAL, ["a"]), *vault.all(LOCAL), read_key(key), vault.revoked(LOCAL)]
    first = Pin("a", 1, "hmac-sha256:" + "0" * 64)
    says = [
        _message(lambda: vault.value(LOCAL, first)),
        _message(lambda: vault.value(LOCAL, Pin("a", 9, ""))),
        _message(lambda: vault.put(LOCAL, "A", CANARY)),
        _message(lambda: vault.put(LOCAL, "a", CANARY * 100_000)),
        _message(lambda: vault.put(Scope("shop", "never"), "a", CANARY)),
    ]
    whole = key.read_bytes()
    key.write_bytes(b"AGE-SECRET-KEY-1" + CANARY)
    says.append(_message(lambda: vault.put(LOCAL, "a", CANARY)))
    key.unlink()
    says.append(_message(lambda: vault.put(LOCAL, "a", CANARY)))
    key.write_bytes(whole)
    key.chmod(0o600)
    vault.revoke(LOCAL, "a")
    look()
    vault.revoke(LOCAL, "a", 1)
    says.append(_message(lambda: vault.value(LOCAL, first)))
    look()
    said += journal.ledger.events(LOCAL, 100)
    text = "\n".join([*map(repr, said), *map(str, said), *says])
    assert "secret a v2 is set" in text
    assert [form for form in forms if form.decode("latin-1") in text] == []
    identity = next(line for line in whole.decode().splitlines() if line.startswith("AGE-SECRET-KEY-1"))
    assert identity not in text


def _message(call: Callable[[], object]) -> str:
    with pytest.raises(AnewError) as caught:
        call()
    assert caught.value.what
    assert caught.value.where
    assert caught.value.hint
    return "\n".join(
        [json.dumps(caught.value.as_json()), repr(caught.value), *traceback.format_exception(caught.value)]
    )


def test_what_is_stored_is_an_age_file_that_the_key_file_opens(vault: Vault, journal: Journal, key: Path) -> None:
    vault.put(LOCAL, "a", CANARY)
    (ciphertext,) = journal._database._opened().execute("select ciphertext from secrets").fetchone()
    (line,) = [one for one in key.read_text().splitlines() if not one.startswith("#")]
    assert ciphertext.startswith(b"age-encryption.org/v1\n")
    assert pyrage.decrypt(ciphertext, [pyrage.x25519.Identity.from_str(line)]) == CANARY


# ---------------------------------------------------------------- what somebody changed


def test_another_value_than_the_pinned_one_is_not_given(vault: Vault, journal: Journal) -> None:
    """Whoever can write the state, but has no key, can't hand an instance another secret than the sealed one."""
    vault.put(LOCAL, "a", b"of a")
    vault.put(LOCAL, "b", b"of b")
    pinned = pin(vault, "a")
    with journal.transaction():
        journal._database._opened().execute(
            "update secrets set (mac, ciphertext) = (select mac, ciphertext from secrets where name = 'b')"
        )
    with pytest.raises(Conflict, match="not what was pinned"):
        vault.value(LOCAL, pinned)
    with pytest.raises(Conflict, match="not what was pinned"):  # nor by a pin that is made of what was changed
        vault.value(LOCAL, pin(vault, "a"))


def test_a_damaged_ciphertext_says_so(vault: Vault, journal: Journal) -> None:
    vault.put(LOCAL, "a", CANARY)
    with journal.transaction():
        journal._database._opened().execute("update secrets set ciphertext = substr(ciphertext, 1, 200)")
    with pytest.raises(Conflict, match="secret a v1 is damaged") as caught:
        vault.value(LOCAL, pin(vault, "a"))
    assert caught.value.hint == "revoke it, and set it again: anew secret set a -e local"
    vault.revoke(LOCAL, "a")
    assert vault.put(LOCAL, "a", CANARY) == 2
    assert vault.value(LOCAL, pin(vault, "a")) == CANARY


# ---------------------------------------------------------------- the key file


def test_the_key_is_made_once_for_its_owner_alone(vault: Vault, key: Path) -> None:
    assert (vault.all(LOCAL), key.parent.exists()) == ((), False)
    vault.put(LOCAL, "a", b"1")
    whole = key.read_bytes()
    assert (stat.S_IMODE(key.stat().st_mode), stat.S_IMODE(key.parent.stat().st_mode)) == (0o600, 0o700)
    vault.put(LOCAL, "a", b"2")
    make_key(key)
    assert key.read_bytes() == whole
    assert [one.name for one in key.parent.iterdir()] == ["key"]


def test_a_key_that_is_there_already_is_used(vault: Vault, key: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    key.parent.mkdir(parents=True)
    key.write_text(f"# made elsewhere\r\n\r\n{identity}\r\n")
    key.chmod(0o400)
    vault.put(LOCAL, "a", b"1")
    found = read_key(key)
    assert found is not None
    assert found.recipient == str(identity.to_public())
    assert vault.value(LOCAL, pin(vault, "a")) == b"1"


def test_a_lost_key_is_not_replaced_while_values_need_it(vault: Vault, key: Path) -> None:
    vault.put(LOCAL, "a", b"1")
    vault.put(OTHER, "b", b"2")
    pinned = pin(vault, "a")
    key.unlink()
    for call in (lambda: vault.value(LOCAL, pinned), lambda: vault.put(LOCAL, "c", CANARY)):
        with pytest.raises(NotFound, match="key file of the secrets is gone") as caught:
            call()
        assert (caught.value.where, "from a copy" in caught.value.hint) == (str(key), True)
        assert not key.exists()
    assert vault.pins(LOCAL, ["a"]) == (pinned,)
    vault.revoke(LOCAL, "a")  # the way out that the hint names
    vault.revoke(OTHER, "b")
    assert vault.put(LOCAL, "a", b"1") == 2
    assert vault.value(LOCAL, pin(vault, "a")) == b"1"


def test_another_key_is_told_from_the_right_one(vault: Vault, key: Path) -> None:
    vault.put(LOCAL, "a", b"1")
    whole = key.read_bytes()
    key.unlink()
    make_key(key)
    pinned, another = pin(vault, "a"), key.read_bytes()
    for call in (lambda: vault.value(LOCAL, pinned), lambda: vault.put(LOCAL, "a", CANARY)):
        with pytest.raises(Conflict, match="the key file holds another key") as caught:
            call()
        assert (caught.value.where, "from a copy" in caught.value.hint) == (str(key), True)
    assert key.read_bytes() == another
    key.write_bytes(whole)
    assert vault.value(LOCAL, pinned) == b"1"


@pytest.mark.parametrize("what", ["nothing", "half", "noise", "two keys", "only a comment"])
def test_a_damaged_key_says_so_and_is_left_as_it_is(vault: Vault, key: Path, what: str) -> None:
    vault.put(LOCAL, "a", b"1")
    whole = key.read_bytes()
    damaged = {
        "nothing": b"",
        "half": whole[:-20],
        "noise": bytes(range(256)),
        "two keys": whole + whole,
        "only a comment": b"# public key: age1\n",
    }[what]
    key.write_bytes(damaged)
    pinned = pin(vault, "a")
    for call in (lambda: vault.value(LOCAL, pinned), lambda: vault.put(LOCAL, "a", CANARY)):
        with pytest.raises(Conflict, match="key file of the secrets is damaged") as caught:
            call()
        assert (caught.value.where, "move the file away" in caught.value.hint) == (str(key), True)
    assert key.read_bytes() == damaged


def test_a_key_that_others_may_read_is_not_used(vault: Vault, key: Path) -> None:
    vault.put(LOCAL, "a", b"1")
    key.chmod(0o640)
    with pytest.raises(Conflict, match="others than its owner") as caught:
        vault.value(LOCAL, pin(vault, "a"))
    assert caught.value.hint.startswith(f"chmod 600 {key};")
    key.chmod(0o600)
    assert vault.value(LOCAL, pin(vault, "a")) == b"1"


def test_a_place_where_no_key_can_be_says_so(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    for place in (tmp_path / "a file" / "key", tmp_path):
        with pytest.raises(Unsupported, match="key file of the secrets can't be") as caught:
            vault_of(journal, place).put(LOCAL, "a", CANARY)
        assert (caught.value.where, bool(caught.value.hint)) == (str(place), True)
    assert vault_of(journal, tmp_path).all(LOCAL) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
@pytest.mark.parametrize("may_enter", [True, False])
def test_somebody_elses_key_says_whom_to_act_as(*, may_enter: bool) -> None:
    folder = Path("/var/tmp") / f"anew-test-key-{os.getpid()}"  # where nobody can go
    make_key(folder / "key")
    folder.chmod(0o755 if may_enter else 0o700)
    code = (
        "import os, sys; from pathlib import Path; from anew.shell.keyfile import read_key, Unsupported\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n  read_key(Path(sys.argv[1]))\n"
        "except Unsupported as error:\n  print(error.what, error.hint)"
    )
    try:
        argv = [sys.executable, "-c", code, str(folder / "key")]
        said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
    finally:
        shutil.rmtree(folder)
    assert "can't be read: Permission denied act as the user who owns it" in said


# ---------------------------------------------------------------- several processes, and older files

TASK = """
import sys, time
from pathlib import Path
from anew.model import Scope
from anew.shell.clock import SystemClock
from anew.shell.journal import Journal
from anew.shell.vault import Vault
path, mark, scope = Path(sys.argv[1]), sys.argv[2], Scope("shop", "local")
print("here", flush=True)
bound = time.monotonic() + 60
while not path.with_name("go").exists() and time.monotonic() < bound:
    time.sleep(0.0002)
journal = Journal(path, SystemClock(), patience=30)
vault = Vault(journal._database, SystemClock(), journal.ledger, path.with_name("key"))
print([vault.put(scope, "a", f"{mark} {n}".encode()) for n in range(5)])
journal.close()
"""


def test_processes_that_set_the_first_secret_of_an_old_file_at_once_share_one_key(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLDEST.read_text())
    argv = [sys.executable, "-W", "error", "-c", TASK, str(path)]
    ones = [subprocess.Popen([*argv, f"of {n}"], stdout=subprocess.PIPE, text=True) for n in range(4)]
    for one in ones:
        assert one.stdout is not None
        assert one.stdout.readline() == "here\n"
    (tmp_path / "go").touch()
    answers = [one.communicate(timeout=120)[0] for one in ones]
    assert [one.returncode for one in ones] == [0] * 4
    assert sorted(n for answer in answers for n in json.loads(answer)) == list(range(1, 21))
    journal = Journal(path, Ticks())
    vault = vault_of(journal, tmp_path / "key")
    assert [one.version for one in vault.all(LOCAL)] == list(range(1, 21))
    assert vault.value(LOCAL, pin(vault, "a")).endswith(b" 4")
    assert not journal.ledger.verify(LOCAL).wrong
    journal.close()


def test_a_state_of_version_1_is_brought_up_and_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLDEST.read_text())
        assert connection.execute("pragma user_version").fetchone()[0] == 1
        before = rows_of(connection)
    journal = Journal(path, Ticks())
    events = journal.ledger.verify(LOCAL).events
    vault = vault_of(journal, tmp_path / "key")
    assert vault.put(LOCAL, "a", CANARY) == 1
    assert vault.value(LOCAL, pin(vault, "a")) == CANARY
    assert journal.ledger.verify(LOCAL).events == events + 1
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma user_version").fetchone()[0] == VERSION
        connection.execute("delete from events where text = 'secret a v1 is set'")
        after = rows_of(connection, before)
    for heads in (before, after):  # they name the last event
        del heads["environments"]
    assert len(before) > 8
    assert before == after


def rows_of(connection: sqlite3.Connection, known: Tables | None = None) -> Tables:
    """All rows of all tables; of `known` ones with the columns that they had."""
    names = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
    found = {}
    for name in known or (one for one in names if not one.startswith("sqlite_")):
        cursor = connection.execute(f"select {', '.join(known[name][0]) if known else '*'} from {name}")
        found[name] = ([column for column, *_ in cursor.description], cursor.fetchall())
    return found


def test_a_file_that_cant_be_brought_up_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLDEST.read_text())
        last = re.findall(r"create table (\w+)", "".join(statements()[name] for name in SCHEMAS[1:]))[-1]
        connection.execute(f"create table {last} (somebody_elses text)")  # all before it is made, and taken back
        before = list(connection.iterdump())
    journal = Journal(path, Ticks())
    with pytest.raises(Bug, match="already exists"):
        journal.environments()
    with closing(sqlite3.connect(path)) as connection:
        assert (list(connection.iterdump()), connection.execute("pragma user_version").fetchone()[0]) == (before, 1)


def test_a_secret_is_set_and_read_in_milliseconds(vault: Vault) -> None:
    """Bounds are ten times what a small machine needs."""
    begun = time.perf_counter()
    for n in range(10):
        vault.put(LOCAL, "a", b"%d" % n * 1000)
    for _ in range(10):
        vault.value(LOCAL, pin(vault, "a"))
    assert time.perf_counter() - begun < 2.0
