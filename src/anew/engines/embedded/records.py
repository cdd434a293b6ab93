"""What is written down of an instance, before it is started.

Rules
    1  ``<home>/instances/<name>`` appears at once and complete, by one rename: record, status, log and sign of life.
    2  A record is an intention: it counts as an instance only if something was started for it, which the locks and
       the status tell (`anew.engines.embedded.life`). An intention whose launcher was killed is nothing, and is
       replaced by the next launch.
    3  The files are opened under another name than the instance's, which is all that the application can find out
       of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anew.engines.embedded import locks
from anew.errors import Bug
from anew.model import Bytes, Digest, Order, Scope

VERSION = 3  # 1 had no service, secrets and volumes; 2 no limit of memory and no control groups
ENDED = ".ended"  # records and logs of instances that were removed
OPENING = ".opening"  # names under which files are opened
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Record:
    """The order that was given, by whom, when, and under which uid of the host it runs."""

    name: str
    group: str
    scope: Scope
    image: Digest
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    writable: tuple[str, ...]
    port: int
    uid: int
    started: float
    service: str = ""
    secrets: tuple[tuple[str, int], ...] = ()  # name and version; never a value, nor what could tell one
    volumes: tuple[str, ...] = ()  # their names
    memory: Bytes = 0  # its limit
    cgroups: tuple[str, ...] = ()  # folders of its control group, which hold that limit
    version: int = VERSION

    @classmethod
    def of(cls, order: Order, owner: str, uid: int, started: float, cgroups: tuple[str, ...] = ()) -> Record:
        """Make the record of an order."""
        return cls(
            name=order.name,
            group=order.group,
            scope=Scope(order.scope.project, order.scope.environment, owner),
            image=order.image.digest,
            command=order.command,
            environment=order.environment,
            writable=order.writable,
            port=order.port,
            uid=uid,
            started=started,
            service=order.service,
            secrets=tuple((pin.name, pin.version) for pin in order.secrets),
            volumes=tuple(one.name for one in order.volumes),
            memory=order.limits.memory,
            cgroups=cgroups,
        )

    def as_json(self) -> str:
        """Return the record as text; `from_json` makes the same record of it."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Rebuild a record; Bug if a newer anew wrote it, ValueError or KeyError if it is no record."""
        data: Mapping[str, Any] = json.loads(text)
        if data["version"] > VERSION:
            raise Bug(
                f"the record of {data['name']} has the format {data['version']}",
                hint="a newer anew wrote it: use that one",
            )
        return cls(
            **{
                **data,
                "scope": Scope(**data["scope"]),
                "command": tuple(data["command"]),
                "environment": tuple((key, value) for key, value in data["environment"]),
                "writable": tuple(data["writable"]),
                "secrets": tuple((name, version) for name, version in data.get("secrets", ())),
                "volumes": tuple(data.get("volumes", ())),
                "cgroups": tuple(data.get("cgroups", ())),
                "version": VERSION,
            }
        )


@dataclass(frozen=True, slots=True)
class Files:
    """The open files of an instance that is about to be started; all are locked or empty, and to be closed."""

    log: int
    status: int
    alive: int

    def close(self) -> None:
        """Let go of them: from here on the locks are the sandbox's alone."""
        for fd in (self.log, self.status, self.alive):
            os.close(fd)


@dataclass(slots=True)
class Store:
    """The folder of all records."""

    folder: Path
    _read: dict[str, tuple[tuple[int, int], Record]] = field(default_factory=dict)  # by name, with the file's identity

    def lock(self) -> AbstractContextManager[None]:
        """Return the lock under which instances are written down."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        return locks.holding(self.folder / LOCK)

    def place(self, name: str) -> Path:
        """Return the folder of one instance."""
        return self.folder / name

    def names(self) -> tuple[str, ...]:
        """Return the names of all that are not removed, sorted."""
        try:
            found = os.listdir(self.folder)  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return ()
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def read(self, name: str) -> Record | None:
        """Return what is written down of an instance; None if nothing is, or nothing that can be read.

        A record that the machine's crash left unreadable belongs to nothing that runs.
        """
        path = f"{self.folder}/{name}/record.json"
        try:
            at = os.stat(path)  # noqa: PTH116 - hundreds of times, ten times a second: without a Path it is twice as fast
            known = self._read.get(name)
            if known is not None and known[0] == (at.st_ino, at.st_mtime_ns):
                return known[1]
            record = Record.from_json(Path(path).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None
        self._read[name] = ((at.st_ino, at.st_mtime_ns), record)
        return record

    def write(self, record: Record) -> Files:
        """Write an instance down, and return its files; call it with the lock held.

        What was there under that name must be an intention that came to nothing: it is replaced.
        """
        opening = self.folder / OPENING
        shutil.rmtree(opening, ignore_errors=True)  # of a launcher that was killed: we have the lock, nobody uses it
        made = opening / "made"
        made.mkdir(mode=0o700, parents=True)
        (made / "record.json").write_text(record.as_json(), "utf-8")
        files = Files(
            log=_open(made / "output.log", opening / "1", record.uid),
            status=_open(made / "status.json", opening / "2", os.geteuid()),
            alive=_open(made / "alive", opening / "3", os.geteuid()),
        )
        try:
            for fd in (files.status, files.alive):
                fcntl.flock(fd, fcntl.LOCK_EX)
            shutil.rmtree(self.place(record.name), ignore_errors=True)
            made.rename(self.place(record.name))
        except OSError:
            files.close()
            raise
        return files

    def discard(self, name: str) -> None:
        """Remove an intention that came to nothing."""
        shutil.rmtree(self.place(name), ignore_errors=True)

    def archive(self, name: str) -> None:
        """Move an ended instance to where only its record and its logs are kept."""
        ended = self.folder / ENDED
        ended.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(ended / name, ignore_errors=True)
        with suppress(FileNotFoundError):  # somebody else has removed it meanwhile
            self.place(name).rename(ended / name)
        self._read.pop(name, None)

    def log(self, name: str) -> Path | None:
        """Return the file with what an instance wrote, removed ones too; None if none of that name ever ran."""
        for path in (self.place(name) / "output.log", self.folder / ENDED / name / "output.log"):
            if path.is_file():
                return path
        return None


def _open(path: Path, other: Path, uid: int) -> int:
    """Make a file that whoever has it open knows as `other`, which is gone, and return it opened for appending."""
    fd = os.open(other, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0 and uid != 0:
            os.fchown(fd, uid, uid)  # programs open /dev/stdout again, as themselves
        os.link(other, path)
        other.unlink()
    except OSError:
        os.close(fd)
        raise
    return fd
