"""Volumes: folders of the host that outlive every instance, ``volumes/<project>.<environment>/<service>/<name>``.

Rules

1. As root, a service with volumes has one uid of the host, which all its instances run under, then and now. So the
   files that one of them makes are the next one's own, whatever their modes are, and nobody else's. A group shared by
   instances of changing uids would need a umask, or lists of access, that every application leaves as they are; many
   programs check that they own their files (PostgreSQL) or make them for themselves alone (ssh, mail, keys).
2. That uid is the group of the service's folder, and nowhere else: it goes wherever the folder is copied to with its
   owners, and no state that is lost or restored can contradict it. The folder stays when its volumes are removed.
3. Only the uid itself may enter the folder of its service.
4. A folder appears complete, with owner and mode, by one rename; it is given away by one rename, and then removed.
5. Nothing but `Volumes.remove` removes a volume.

All but `listing` are called with the engine's lock held.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from anew.core.digest import digest
from anew.core.names import is_label
from anew.engines.embedded.uids import OF_SERVICES
from anew.errors import Conflict, EngineError, SpecError
from anew.model import Bytes, Order, Scope

BLOCK: Bytes = 1024  # of du
OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Volumes:
    """The folder of all volumes."""

    folder: Path

    def place(self, scope: Scope, service: str, name: str) -> Path:
        """Return where a volume is, or would be. Raises SpecError if a name is no label: it could lead elsewhere."""
        return self._service(scope, service) / _label(name)

    def ensure(self, order: Order) -> int:
        """Make the volumes of `order` that are not there, and return the uid of the host that its instances have.

        Raises  Conflict if a folder that is there does not belong to that uid.
        """
        service = self._service(order.scope, order.service)
        for folder in (self.folder, service.parent):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # instances pass through, as uids that are not ours
        uid = self._uid(service)
        for name in sorted({one.name for one in order.volumes}):
            path = service / _label(name)
            if not os.path.lexists(path):
                _make(path, uid, uid, 0o700)
            _check_owner(path, uid)
        return uid

    @contextmanager
    def in_use(self, order: Order) -> Iterator[None]:
        """Mark the volumes of `order` as in use for as long as this lasts, or this process lives."""
        with ExitStack() as stack:
            for one in order.volumes:
                fd = os.open(self.place(order.scope, order.service, one.name), OPEN)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_SH)
            yield

    def listing(self, scope: Scope) -> tuple[tuple[str, str, Bytes], ...]:
        """Return service, name and the bytes on the disk of each volume of `scope`, sorted."""
        top = self._scope(scope)
        found = [(service, name) for service in _folders(top) for name in _folders(top / service)]
        return tuple((service, name, _size(top / service / name)) for service, name in found)

    def take_away(self, scope: Scope, service: str, name: str) -> tuple[Path, ...]:
        """Take a volume from its place, and return what is to be cleared; () if there is nothing.

        What another removal left behind when it was killed is returned, too.
        Raises  Conflict if it is marked as in use, or something is mounted there.
        """
        path = self.place(scope, service, name)
        if path.is_symlink():
            raise Conflict(f"{path} is a link", hint="remove the link, and what it leads to, by hand")
        if path.is_dir():
            _require_unused(path)
            try:
                path.rename(path.with_name(f".{name}.{uuid4().hex}"))
            except OSError as cause:
                raise Conflict(
                    f"the volume {name} of {service} can't be removed: {cause.strerror}",
                    where=str(path),
                    hint="if it is a mount point, unmount it first",
                ) from cause
        return tuple(sorted(path.parent.glob(f".{name}.*")))

    def _scope(self, scope: Scope) -> Path:
        return self.folder / f"{_label(scope.project)}.{_label(scope.environment)}"

    def _service(self, scope: Scope, service: str) -> Path:
        return self._scope(scope) / _label(service)

    def _uid(self, service: Path) -> int:
        """Return the uid of a service, which is allotted when its folder is made."""
        if os.geteuid() != 0:
            if not service.is_dir():
                _make(service, os.geteuid(), os.getegid(), 0o700)
            return os.geteuid()
        if not service.is_dir():
            _make(service, 0, self._allot(service), 0o710)
        uid = service.stat().st_gid
        if uid not in OF_SERVICES:  # never run as root, or as somebody who has an account
            raise Conflict(
                f"the folder of {service.name}'s volumes belongs to the group {uid}, which is no uid of a service",
                where=str(service),
                hint=f"give it back, with all that is in it: chgrp {self._allot(service)} {service}",
            )
        return uid

    def _allot(self, service: Path) -> int:
        """Return a uid that no service here has.

        It begins at one drawn from the path, so that those of two state folders hardly ever meet: an instance on the
        machine's own root sees the other state folder.
        """
        taken = {path.stat().st_gid for path in self.folder.glob("*.*/*") if not path.name.startswith(".")}
        start = int(digest(str(service))[-12:], 16)
        count = len(OF_SERVICES)
        return next(uid for n in range(count) if (uid := OF_SERVICES[(start + n) % count]) not in taken)


def volumes_of(home: Path) -> Volumes:
    """Return the volumes of the state folder `home`."""
    return Volumes(home / "volumes")


def clear(folders: Sequence[Path]) -> None:
    """Remove folders with all that is in them, however deep; two may clear the same.

    Raises  EngineError if something can't be removed.
    """
    for folder in folders:
        if not _rm(folder) and os.geteuid() != 0:  # folders that their owner may not enter stop their owner
            subprocess.run(["chmod", "-R", "u+rwx", folder], capture_output=True, check=False)
            _rm(folder)
        if os.path.lexists(folder):
            raise EngineError(
                f"{folder} can't be removed",
                hint="see why; then remove the volume again",
                facts={"command": f"rm -rf {folder}"},
            )


def _rm(folder: Path) -> bool:
    subprocess.run(["rm", "-rf", "--", folder], capture_output=True, check=False)
    return not os.path.lexists(folder)


def _size(folder: Path) -> Bytes:
    """Return what a folder takes on the disk; what vanishes meanwhile, or can't be entered, is not counted."""
    said = subprocess.run(["du", "-skx", "--", folder], capture_output=True, text=True, check=False).stdout
    return int(said.split()[0]) * BLOCK if said else 0


def _make(path: Path, uid: int, gid: int, mode: int) -> None:
    made = path.with_name(f".{path.name}")
    shutil.rmtree(made, ignore_errors=True)  # of a launcher that was killed; it is empty
    made.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(made, uid, gid)
    made.chmod(mode)
    made.rename(path)
    above = os.open(path.parent, OPEN)
    try:
        os.fsync(above)  # a uid that is forgotten could be given to another service, whose files these then were
    finally:
        os.close(above)


def _check_owner(path: Path, uid: int) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Conflict("the place of a volume is taken by something else", where=str(path), hint="move it away")
    if found.st_uid != uid:
        raise Conflict(
            f"the volume belongs to uid {found.st_uid}, and its service runs as {uid}",
            where=str(path),
            hint=f"chown -R {uid}:{uid} {path}",
        )


def _require_unused(path: Path) -> None:
    fd = os.open(path, OPEN)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        hint = "wait until it has ended"
        raise Conflict(f"a throwaway instance has the volume {path.name}", where=str(path), hint=hint) from cause
    finally:
        os.close(fd)


def _folders(top: Path) -> tuple[str, ...]:
    if not top.is_dir():
        return ()
    return tuple(sorted(one.name for one in top.iterdir() if is_label(one.name) and one.is_dir()))


def _label(name: str) -> str:
    if not is_label(name):
        raise SpecError(f"{name!r} can't be a name in the path of a volume", hint="lower case letters, digits, hyphens")
    return name
