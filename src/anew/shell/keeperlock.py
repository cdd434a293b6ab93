"""One keeper per environment: a lock that the kernel frees at death, and a way to wake its holder.

The lock is `flock`, exclusive, on a file that is never removed. It is close-on-exec, so instances that outlive the
keeper do not hold it. A stopped keeper keeps it. What the file says (process id and start time) is only shown.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from anew.errors import Bug, Conflict, EngineError, Unsupported

if TYPE_CHECKING:
    from anew.errors import AnewError
    from anew.model import Scope, Seconds
from anew.shell.processes import process_start

ATTEMPTS = 100  # a reader holds the lock for microseconds; so often a keeper asks again before it takes it for a keeper
PAUSE: Seconds = 0.005
PATIENCE: Seconds = 60.0  # for a keeper that was asked to end: it carries out its round first
UNNAMED = -1  # the lock is held, by a process that can't be named


class KeeperLock:
    """The right to act for one environment."""

    def __init__(self, folder: Path, scope: Scope) -> None:
        self._folder = folder
        self._scope = scope
        self._name = f"{scope.project}.{scope.environment}"
        self._handle: int | None = None
        self._socket: socket.socket | None = None

    @property
    def path(self) -> Path:
        """The file that is locked."""
        return self._folder / f"{self._name}.lock"

    def acquire(self) -> bool:
        """Take the lock and listen for `wake`; return whether this object holds it now.

        Idempotent. Blocks only while others look at it, at most half a second.
        """
        if self._handle is not None:
            return True
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as cause:
            raise self._failed(cause) from cause
        is_ours = False
        try:
            is_ours = _take(handle)
            if is_ours:
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()} {process_start(os.getpid())}\n".encode(), 0)
                self._socket = self._listen()
                self._handle = handle
        except OSError as cause:
            raise self._failed(cause) from cause
        finally:
            if self._handle is None:
                os.close(handle)
        return is_ours

    def holder(self) -> int:
        """Return the process id of the keeper, 0 if there is none, -1 if it can't be named.

        The answer comes from the lock itself; the file is only asked for a name.
        """
        if self._handle is not None:
            return os.getpid()
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        except OSError as cause:
            raise self._failed(cause) from cause
        try:
            return self._named(handle)
        finally:
            os.close(handle)

    def release(self) -> None:
        """Give the lock back; success if this object does not hold it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with self._address() as address:
                Path(address).unlink(missing_ok=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def wake(self) -> None:
        """End the keeper's `wait`, or its next one; success if nobody listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(FileNotFoundError):
            sender.setblocking(False)
            try:
                with self._address() as address:
                    sender.sendto(b"!", address)
            except (ConnectionRefusedError, BlockingIOError):
                return  # nobody listens; or so much waits to be read that it wakes anyway
            except FileNotFoundError:
                raise
            except OSError as cause:
                raise self._failed(cause) from cause

    def wait(self, timeout: Seconds, *bells: int) -> bool:
        """Block until woken, or until one of the descriptors `bells` can be read, at most `timeout`.

        Returns  whether it was not the timeout that ended it. Only for the holder.
        """
        if self._socket is None:
            raise Bug("only the holder of the lock can wait to be woken", where=str(self.path))
        poll = select.poll()
        for handle in (self._socket.fileno(), *bells):
            poll.register(handle, select.POLLIN)
        if not poll.poll(max(timeout, 0.001) * 1000):
            return False
        with contextlib.suppress(BlockingIOError):  # nothing more waits to be read: one waking is enough
            while self._socket.recv(1):
                pass
        return True

    def _named(self, handle: int) -> int:
        for _ in range(ATTEMPTS):
            if _may_lock(handle, fcntl.LOCK_SH):
                return 0  # closing the file gives it back
            pid, _, start = os.pread(handle, 64, 0).decode("ascii", "replace").strip().partition(" ")
            if pid.isdecimal() and start.isdecimal() and process_start(int(pid)) == int(start) != 0:
                return int(pid)
            time.sleep(PAUSE)  # it has the lock and is about to write its name
        return UNNAMED

    def _listen(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            with self._address() as address:
                Path(address).unlink(missing_ok=True)  # of a keeper that died; the lock says that it did
                listening.bind(address)
                listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
        return listening

    @contextlib.contextmanager
    def _address(self) -> Iterator[str]:
        """Yield a path to the socket that is short enough for the kernel, however deep the folder lies."""
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{self._name}.wake"
        finally:
            os.close(folder)

    def _failed(self, cause: OSError) -> AnewError:
        if cause.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            hint = "act as the user who owns the state"
            return Unsupported(f"the keeper's lock can't be used: {cause}", where=str(self.path), hint=hint)
        hint = "look at the folder and the disk it is on"
        return EngineError(f"the keeper's lock failed: {cause}", where=str(self.path), hint=hint)


def _may_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(handle: int) -> bool:
    """Take the lock unless a keeper has it. Who only looks shares it for a moment, and must not pass for a keeper."""
    for _ in range(ATTEMPTS):
        if _may_lock(handle, fcntl.LOCK_EX):
            return True
        if not _may_lock(handle, fcntl.LOCK_SH):
            return False
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(PAUSE)
    return False


def end_keeper(lock: KeeperLock, pid: int) -> None:
    """Ask the keeper that holds `lock` to end, and wait until it has.

    Raises  Conflict if it does not within `PATIENCE`.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while lock.holder() == pid:
        if time.monotonic() > end:
            raise Conflict(f"the keeper, process {pid}, does not end", hint=f"end it by hand: kill -9 {pid}")
        time.sleep(0.02)
