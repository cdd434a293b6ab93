"""The vault: secrets of all environments, encrypted at rest, each version under a number of its own.

Rules

1. A value is encrypted before it reaches the state, and is in no error, no event and no `repr`.
2. The key stands in a file of its own, apart from the state: who copies only one of the two has no value.
3. A version is never changed and its number never given again; revoking erases what it holds, and nothing else.
4. A pin tells another value without revealing this one: its MAC needs the key, and covers project, environment, name.
5. A key file is made once, whole or not at all, and never overwritten. None is made while values need another one.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anew import views
from anew.errors import Conflict, GateClosed, NotFound, SpecError
from anew.model import BUILD, Scope

if TYPE_CHECKING:  # most commands need no key, and what encrypts takes long to import
    from anew.model import Bytes, Pin
    from anew.ports import Clock
    from anew.shell.database import Database
    from anew.shell.keyfile import Key
    from anew.shell.ledger import Ledger

LARGEST: Bytes = 1024 * 1024
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Vault:
    """Secrets by environment, name and version.

    Values are 1 byte to 1 MiB; names are a letter a-z, then up to 62 letters a-z, digits and underscores. `key` is the
    path of the key file: made for its owner alone when the first secret is set, and then only read.
    """

    def __init__(self, database: Database, clock: Clock, ledger: Ledger, key: Path) -> None:
        self._database = database
        self._clock = clock
        self._ledger = ledger
        self._path = key

    def put(self, scope: Scope, name: str, value: bytes) -> int:
        """Keep `value` as a new version of secret `name`; return its number.

        Idempotent  the value that the newest version in force has already makes no new one.
        Raises      SpecError for a name or a value that can't be; NotFound if the environment was never used, or the
                    key file is gone while other secrets need it; Conflict if it is another key than theirs.
        """
        _check(scope, name, value)
        with self._database.writing():
            place = self._database.place(scope)
            key = self._key_to_set()
            versions = [row for row in self._database.rows("secrets", environment=place) if row["name"] == name]
            in_force = [row for row in versions if not row["is_revoked"]]
            if in_force and key.has_made(in_force[-1]["mac"], scope, name, value):
                return int(in_force[-1]["version"])
            version = int(versions[-1]["version"]) + 1 if versions else 1
            self._database.change(
                "add_secret",
                environment=place,
                name=name,
                version=version,
                at=self._clock.now(),
                recipient=key.recipient,
                mac=key.mac(scope, name, value),
                ciphertext=key.encrypt(value),
            )
            self._tell(place, "is set", name, version)
        return version

    def pins(self, scope: Scope, names: Sequence[str]) -> tuple[Pin, ...]:
        """Return the newest version in force of each secret, sorted by name, each name once; needs no key.

        Raises  NotFound that names all that have none.
        """
        from anew.model import Pin

        rows = [row for row in self._rows(scope) if not row["is_revoked"]]
        newest = {row["name"]: Pin(row["name"], row["version"], row["mac"]) for row in rows}
        wanted = sorted(set(names))
        missing = [name for name in wanted if name not in newest]
        if missing:
            noun = "secret" if len(missing) == 1 else "secrets"
            owner = f"the builds of {scope.project} have" if scope.environment == BUILD else f"{scope} has"
            hint = "; ".join(_how_to_set(scope, name) for name in missing)
            raise NotFound(f"{owner} no {noun} {', '.join(missing)}", where=str(scope), hint=hint)
        return tuple(newest[name] for name in wanted)

    def value(self, scope: Scope, pin: Pin) -> bytes:
        """Return what `pin` stands for.

        Raises  NotFound if that version never was, or the key file is gone; GateClosed if the version is revoked;
                Conflict if what is stored is not what was pinned, or the key is not its own; Unsupported if the key
                file can't be read.
        """
        from anew.shell import keyfile

        row = self._row(scope, pin)
        if row is None:
            what = f"{scope} has no v{pin.version} of secret {pin.name}"
            raise NotFound(what, where=_where(scope, pin), hint=_how_to_set(scope, pin.name))
        if row["is_revoked"]:
            then = "anew build" if scope.environment == BUILD else f"anew up -e {scope.environment}"
            hint = f"{_how_to_set(scope, pin.name)}; then {then}"
            raise GateClosed(f"secret {pin.name} v{pin.version} is revoked", where=_where(scope, pin), hint=hint)
        key = keyfile.read_key(self._path)
        if key is None:
            raise keyfile.is_gone(self._path, f"secret {pin.name} v{pin.version} is encrypted for it")
        if key.recipient != row["recipient"]:
            raise keyfile.is_another(
                self._path, f"secret {pin.name} v{pin.version} is encrypted for {row['recipient']}"
            )
        hint = f"revoke it, and set it again: {_how_to_set(scope, pin.name)}"
        try:
            value = key.decrypt(row["ciphertext"])
        except ValueError as cause:
            what = f"secret {pin.name} v{pin.version} is damaged: {cause}"
            raise Conflict(what, where=_where(scope, pin), hint=hint) from cause
        if not key.has_made(pin.mac, scope, pin.name, value):
            what = f"what is stored as secret {pin.name} v{pin.version} is not what was pinned"
            raise Conflict(what, where=_where(scope, pin), hint=hint)
        return value

    def of_builds(self, project: str, name: str) -> bytes:
        """Return the newest value in force of a secret that steps of a project's builds may be lent.

        Raises  NotFound if there is none; else as `value`.
        """
        scope = Scope(project, BUILD)
        (pin,) = self.pins(scope, [name])
        return self.value(scope, pin)

    def revoke(self, scope: Scope, name: str, version: int = 0) -> int:
        """Erase what a version (0: the newest, revoked or not) holds, for good; return its number. Needs no key.

        An older version that is not revoked is in force again.

        Idempotent. Raises NotFound if that version never was.
        """
        with self._database.writing():
            versions = [row["version"] for row in self._rows(scope) if row["name"] == name]
            number = version or max(versions, default=0)
            if number not in versions:
                what = f"{scope} has no v{version} of secret {name}" if version else f"{scope} has no secret {name}"
                known = ", ".join(f"v{one}" for one in versions)
                hint = f"there are {known}" if known else _how_to_set(scope, name)
                raise NotFound(what, where=f"{scope} {name}", hint=hint)
            is_news = (name, number) not in self.revoked(scope)
            place = self._database.place(scope)
            self._database.erase("revoke_secret", environment=place, name=name, version=number, at=self._clock.now())
            if is_news:
                self._tell(place, "is revoked", name, number)
        return number

    def revoked(self, scope: Scope) -> frozenset[tuple[str, int]]:
        """Return name and version of all that is revoked."""
        return frozenset((row["name"], row["version"]) for row in self._rows(scope) if row["is_revoked"])

    def all(self, scope: Scope) -> tuple[views.SecretView, ...]:
        """Return every version of every secret, revoked ones too, in the order they were set: newest last."""
        rows = self._rows(scope)
        return tuple(views.SecretView(row["name"], row["version"], row["at"], bool(row["is_revoked"])) for row in rows)

    # ------------------------------------------------------------ rows

    def _place(self, scope: Scope) -> int:
        try:
            return self._database.place(scope)
        except NotFound:
            return 0  # an environment that was never used has no secrets, and no row has this number

    def _rows(self, scope: Scope) -> list[sqlite3.Row]:
        with self._database.reading():
            return self._database.rows("secrets", environment=self._place(scope))

    def _row(self, scope: Scope, pin: Pin) -> sqlite3.Row | None:
        with self._database.reading():
            return self._database.row("secret", environment=self._place(scope), name=pin.name, version=pin.version)

    def _tell(self, place: int, what: str, name: str, version: int) -> None:
        facts = {"secret": name, "version": f"v{version}"}
        self._ledger.append(place, "note", f"secret {name} v{version} {what}", facts)

    # ------------------------------------------------------------ the key

    def _key_to_set(self) -> Key:
        """Return the key for a new value; it must be the one that all values in force need, or there are none."""
        from anew.shell import keyfile

        key = keyfile.read_key(self._path)
        others = self._made_for_others(key.recipient if key else "")
        if key is None and others:
            raise keyfile.is_gone(self._path, f"{others} in force {'is' if others == 1 else 'are'} encrypted for it")
        if key is None:
            keyfile.make_key(self._path)
            key = keyfile.read_key(self._path)
        if key is None:
            raise keyfile.is_gone(self._path, "somebody took it away just now")
        others = self._made_for_others(key.recipient)
        if others:
            raise keyfile.is_another(
                self._path, f"{others} in force {'is' if others == 1 else 'are'} encrypted for another one"
            )
        return key

    def _made_for_others(self, recipient: str) -> int:
        row = self._database.row("made_for_other_keys", recipient=recipient)
        return int(row["number"]) if row else 0


def _check(scope: Scope, name: str, value: bytes) -> None:
    if not NAME.fullmatch(name):
        hint = "begin with a letter a-z, go on with letters a-z, digits and _, at most 63 in all"
        raise SpecError(f"{name!r} can't be the name of a secret", where=str(scope), hint=hint)
    if not value:
        hint = f"give it on standard input: {_how_to_set(scope, name)} < FILE"
        raise SpecError(f"the value of secret {name} is empty", where=f"{scope} {name}", hint=hint)
    if len(value) > LARGEST:
        what = f"the value of secret {name} has {len(value)} bytes; {LARGEST} are the most"
        raise SpecError(what, where=f"{scope} {name}", hint="keep large files in the image or in a volume")


def _how_to_set(scope: Scope, name: str) -> str:
    where = "--build" if scope.environment == BUILD else f"-e {scope.environment}"
    return f"anew secret set {name} {where}"


def _where(scope: Scope, pin: Pin) -> str:
    return f"{scope} {pin.name} v{pin.version}"
