"""The file under the journal: one SQLite database, opened at first use, its errors told in our words.

Rules

1. A file appears complete or not at all: it is made beside its place and linked there.
2. A file that is newer, damaged or not ours is never written to.
3. Whatever belongs together is one transaction; a transaction in a transaction joins it.
4. Every commit is on the disk before the call returns (`synchronous=FULL`, write-ahead log).
5. An older file is brought up to this version in one transaction, when it is opened.
6. What is erased is overwritten, in the file and in its log.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote

import msgspec

from anew.errors import Bug, Conflict, EngineError, NotFound, Unsupported

if TYPE_CHECKING:
    from anew.errors import AnewError
    from anew.model import Scope, Seconds

SCHEMAS = (
    "schema",
    "schema_2",
    "schema_3",
)  # the statements that lead from nothing to version 1, from 1 to 2, and so on
VERSION = len(SCHEMAS)
MARK = 0x616E6577  # "anew" in `pragma application_id`: whose file this is
PATIENCE: Seconds = 5.0  # how long a transaction waits for another process to commit
FIRST_PORT, LAST_PORT = 20000, 32767  # below the range from which the kernel takes ports for outgoing connections

Value = str | int | float | bytes
REMEMBERED = 1024  # nouns that were decoded
T = TypeVar("T")


class Stale(Conflict):
    """What a commit was decided on has changed meanwhile; read the world again and decide anew."""


# primary result code → class, what is wrong, what mends it
ERRORS: Mapping[int, tuple[type[AnewError], str, str]] = MappingProxyType(
    {
        sqlite3.SQLITE_CORRUPT: (Conflict, "the state file is damaged", "restore it from a copy, or move it away"),
        sqlite3.SQLITE_NOTADB: (Conflict, "the state file is no database", "move it away, or restore it from a copy"),
        sqlite3.SQLITE_BUSY: (Conflict, "another process holds the state", "try again when it has finished"),
        sqlite3.SQLITE_LOCKED: (Conflict, "another process holds the state", "try again when it has finished"),
        sqlite3.SQLITE_PROTOCOL: (Conflict, "another process holds the state", "try again when it has finished"),
        sqlite3.SQLITE_READONLY: (Unsupported, "the state can't be written", "act as the user who owns it"),
        sqlite3.SQLITE_PERM: (Unsupported, "the state can't be written", "act as the user who owns it"),
        sqlite3.SQLITE_CANTOPEN: (Unsupported, "the state can't be opened", "act as the user who owns its folder"),
        sqlite3.SQLITE_FULL: (EngineError, "the disk is full", "free some space on the disk that holds the state"),
        sqlite3.SQLITE_IOERR: (EngineError, "the disk failed", "look into the kernel's log; move the state elsewhere"),
    }
)


def translate(cause: sqlite3.Error, path: Path) -> AnewError:
    """Return what an error of SQLite means to a person; Bug where it can only mean that anew is wrong."""
    code = getattr(cause, "sqlite_errorcode", 0)
    kind, what, hint = ERRORS.get(code & 0xFF, (Bug, "the journal was used wrongly", ""))
    return kind(f"{what}: {cause}", where=str(path), hint=hint)


@cache
def statements() -> Mapping[str, str]:
    """Return the statements of ``journal.sql`` by name."""
    text = Path(__file__).with_name("journal.sql").read_text("utf-8")
    named = (part.partition("\n") for part in text.split("\n-- name: ")[1:])
    return MappingProxyType({name.strip(): body.strip() for name, _, body in named})


def encode(value: object) -> str:
    """Return a frozen noun as JSON."""
    return msgspec.json.encode(value).decode()


def clean(text: str) -> str:
    """Return `text` as it can be stored: a lone surrogate, as in a strange file name, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Database:
    """One connection to the state file, shared by the threads of this process, one transaction at a time."""

    def __init__(self, path: Path, *, patience: Seconds = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = ""
        self._mode: Literal["", "reading", "writing"] = ""
        self._has_erased = False
        self._openings = 0
        self._decoded: dict[str, object] = {}  # by its text

    @property
    def owner(self) -> str:
        """The id of this state: random, made once with the file."""
        with self._lock:
            self._opened()
            return self._owner

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Let everything inside see one and the same state."""
        with self._lock:
            if self._mode:
                yield
                return
            with self._transaction("begin", "reading"):
                yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Commit all that happens inside, or, if an error leaves it, nothing.

        Blocks  while another process writes, at most `patience`. Raises Conflict if that was not enough.
        """
        with self._lock:
            if self._mode == "reading":
                raise Bug("a commit was tried inside a reading", where=str(self._path))
            if self._mode == "writing":
                yield
                return
            with self._transaction("begin immediate", "writing"):
                yield

    def rows(self, name: str, /, **values: Value) -> list[sqlite3.Row]:
        """Return all rows that a named statement gives."""
        with self._lock, self._told():
            return self._opened().execute(statements()[name], values).fetchall()

    def row(self, name: str, /, **values: Value) -> sqlite3.Row | None:
        """Return the first row that a named statement gives, or None."""
        with self._lock, self._told():
            found: sqlite3.Row | None = self._opened().execute(statements()[name], values).fetchone()
            return found

    def stream(self, name: str, /, **values: Value) -> Iterator[sqlite3.Row]:
        """Yield rows one by one; to be used inside `reading`."""
        with self._lock, self._told():
            yield from self._opened().execute(statements()[name], values)

    def change(self, name: str, /, **values: Value) -> int:
        """Run a named statement that writes; return how many rows it changed. To be used inside `writing`."""
        with self._lock, self._told():
            return self._opened().execute(statements()[name], values).rowcount

    def erase(self, name: str, /, **values: Value) -> int:
        """Run a named statement that erases; return how many rows it changed. To be used inside `writing`.

        After the commit the write-ahead log is emptied too. Where other processes read all the while, for longer than
        `patience`, that is done by the next erasure, or when the last one lets go of the file.
        """
        self._has_erased = True
        return self.change(name, **values)

    def add(self, name: str, /, **values: Value) -> int:
        """Run a named statement that inserts; return the number of the new row. To be used inside `writing`."""
        with self._lock, self._told():
            return self._opened().execute(statements()[name], values).lastrowid or 0

    def place(self, scope: Scope) -> int:
        """Return the number of an environment's row.

        Raises  NotFound if it was never used; Conflict if `scope` belongs to another state.
        """
        if scope.owner not in {"", self.owner}:
            raise Conflict(f"{scope} belongs to another state", where=str(self._path), hint="name the state it is in")
        row = self.row("environment", project=scope.project, name=scope.environment)
        if row is None:
            hint = f"anew up -e {scope.environment}"
            raise NotFound(f"the environment {scope} was never used", where=str(self._path), hint=hint)
        return int(row["id"])

    def stamp(self) -> tuple[int, ...]:
        """Return what differs whenever anything was committed meanwhile, by this process or another.

        Inside `reading` it belongs to the state that is read there.
        """
        with self._lock, self._told():
            connection = self._opened()
            (others,) = connection.execute("pragma data_version").fetchone()
            return self._openings, int(others), connection.total_changes

    def decode(self, text: str, kind: type[T]) -> T:
        """Return the noun that `text` is the JSON of; Conflict if it is not.

        Nouns are frozen, so the same text need not be decoded twice.
        """
        known = self._decoded.get(text)
        if type(known) is kind:
            return known
        try:
            found = _read(text, kind)
        except msgspec.MsgspecError as cause:
            _, what, hint = ERRORS[sqlite3.SQLITE_CORRUPT]
            raise Conflict(f"{what}: {kind.__name__}: {cause}", where=str(self._path), hint=hint) from cause
        if is_dataclass(kind):
            if len(self._decoded) >= REMEMBERED:
                self._decoded.clear()
            self._decoded[text] = found
        return found

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as cause:
            raise translate(cause, self._path) from cause

    @contextlib.contextmanager
    def _transaction(self, begin: str, mode: Literal["reading", "writing"]) -> Iterator[None]:
        connection = self._opened()
        with self._told():
            connection.execute(begin)
        self._mode = mode
        try:
            yield
            with self._told():
                connection.execute("commit")
                if self._has_erased:
                    connection.execute("pragma wal_checkpoint(truncate)").fetchall()
        finally:
            self._mode = ""
            self._has_erased = False
            if connection.in_transaction:
                connection.execute("rollback")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            with self._told():
                try:
                    self._make_if_absent()
                except OSError as cause:
                    hint = "act as the user who owns its folder, or name another folder in ANEW_HOME"
                    raise Unsupported(f"the state can't be made: {cause}", where=str(self._path), hint=hint) from cause
                self._connection, self._owner = self._open()
                self._openings += 1
        return self._connection

    def _open(self) -> tuple[sqlite3.Connection, str]:
        address = f"file:{quote(str(self._path.absolute()))}?mode=rw"
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, timeout=self._patience, check_same_thread=False
        )
        try:
            (mark,) = connection.execute("pragma application_id").fetchone()
            (version,) = connection.execute("pragma user_version").fetchone()
            self._check(mark, version)
            connection.execute("pragma synchronous = full")
            connection.execute("pragma secure_delete = on")
            if version < VERSION:
                self._upgrade(connection)
            connection.execute("pragma foreign_keys = on")
            connection.row_factory = sqlite3.Row
            return connection, str(connection.execute(statements()["state"]).fetchone()["owner"])
        except BaseException:
            connection.close()
            raise

    def _check(self, mark: int, version: int) -> None:
        if mark != MARK or version < 1:
            hint = "move it away, or name another folder in ANEW_HOME"
            raise Conflict("the file is no journal of anew", where=str(self._path), hint=hint)
        if version > VERSION:
            raise Conflict(
                f"the state was written by a newer anew (format {version}; this one knows {VERSION})",
                where=str(self._path),
                hint="use that anew, or name another folder in ANEW_HOME",
            )

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        connection.execute("begin immediate")
        try:
            # Another process may have been first: this one's, or an even newer anew.
            (version,) = connection.execute("pragma user_version").fetchone()
            self._check(MARK, version)
            for name in SCHEMAS[version:]:
                for statement in statements()[name].removesuffix(";").split(";\n"):
                    connection.execute(statement)
            connection.execute(f"pragma user_version = {VERSION}")
            connection.execute("commit")
        finally:
            if connection.in_transaction:
                connection.execute("rollback")

    def _make_if_absent(self) -> None:
        if self._path.exists():
            return
        import tempfile  # noqa: PLC0415 - once in the life of a state, and not cheap

        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # SQLite would take an old log that lies beside a new file for the new file's own.
        log = Path(f"{self._path}-wal")
        if log.exists() and not self._path.exists():
            hint = "restore the file that belongs to it, or move the log away"
            raise Conflict("the state file is gone, but its write-ahead log is there", where=str(log), hint=hint)
        handle, name = tempfile.mkstemp(prefix=".journal-", dir=self._path.parent)
        os.close(handle)
        try:
            _fill(name)
            with contextlib.suppress(FileExistsError):  # another process was first, with as good a file
                os.link(name, self._path)
        finally:
            Path(name).unlink()
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(text: str, kind: type[T]) -> T:
    if '"undecided":' not in text:
        return msgspec.json.decode(text, type=kind)
    from anew.core.identity import is_called  # noqa: PLC0415 - only what an older anew wrote needs it
    from anew.model import Generation  # noqa: PLC0415 - so does this

    unsaid: Literal["", "promote"] = "promote" if kind is Generation else ""
    return msgspec.convert(is_called(msgspec.json.decode(text), unsaid=unsaid), type=kind)


def _fill(name: str) -> None:
    # Several states on one machine, one for each user say, begin at different places, or they would race for each port.
    last = FIRST_PORT + int.from_bytes(os.urandom(4)) % (LAST_PORT - FIRST_PORT + 1)
    with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.executescript(f"begin; {' '.join(statements()[name] for name in SCHEMAS)} commit;")
        connection.execute(statements()["make_state"], {"owner": os.urandom(8).hex(), "last_port": last})
        connection.execute(f"pragma application_id = {MARK}")
        connection.execute(f"pragma user_version = {VERSION}")
