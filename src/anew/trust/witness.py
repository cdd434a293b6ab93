"""How far a ledger had come when something was promoted: signed, and kept apart from the state.

A chain alone can't tell that its end was cut off, and that what remembers its end was changed to fit. This can: the
newest event that was signed has to be there, as it was.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from anew.core.digest import canonical
from anew.errors import Conflict, Unsupported
from anew.model import Digest, Scope
from anew.trust.envelope import Doubt, opened, sealed
from anew.trust.keys import own_key

KIND = "application/vnd.anew.ledger-head.v1+json"  # of what is signed


class _Head(msgspec.Struct):
    project: str
    environment: str
    owner: str
    number: int
    hash: Digest


@dataclass(frozen=True, slots=True)
class Witness:
    """Signs for one environment; `heads` is the folder of signed heads, `keys` that of the keys."""

    scope: Scope
    heads: Path
    keys: Path

    def sign(self, number: int, hash_: Digest) -> None:
        """Remember that the newest event has this number and hash. Idempotent; raises as `own_key`."""
        key = own_key(self.keys, self.scope.project)
        head = _Head(self.scope.project, self.scope.environment, self.scope.owner, number, hash_)
        self._write(sealed(canonical(msgspec.to_builtins(head)), KIND, key))

    def seen(self) -> tuple[int, Digest, str] | None:
        """Return number and hash of the event that was signed last, and the id of the key; None if none ever was.

        Raises  Conflict if what is remembered is not what was signed, or is of another environment.
        """
        try:
            envelope = self._path.read_bytes()
        except FileNotFoundError:
            return None
        key = own_key(self.keys, self.scope.project).public
        try:
            payload, _ = opened(envelope, KIND, (key,))
            head = msgspec.json.decode(payload, type=_Head)
        except (Doubt, msgspec.MsgspecError) as cause:
            raise self._conflict(str(cause)) from cause
        if Scope(head.project, head.environment, head.owner) != self.scope:
            raise self._conflict("that of another environment")
        return head.number, head.hash, key.id

    @property
    def _path(self) -> Path:
        return self.heads / f"{self.scope.project}.{self.scope.environment}.json"

    def _conflict(self, why: str) -> Conflict:
        return Conflict(
            f"the signed head of the ledger is {why}",
            where=str(self._path),
            hint="somebody changed it, or the key; if that was you, move it away: the next promotion signs anew",
        )

    def _write(self, data: bytes) -> None:
        try:
            self.heads.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".head-", dir=self.heads)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self._path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    Path(name).unlink()
        except OSError as cause:
            what = f"the head of the ledger can't be signed: {cause.strerror}"
            raise Unsupported(what, where=str(self._path), hint="look at the disk, and who owns the folder") from cause
