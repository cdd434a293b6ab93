"""Which socket the container engine answers on.

Rules
    1  ``$DOCKER_HOST`` decides where it is set; only a socket of this machine is taken: instances are watched in
       /proc, and reached by their addresses.
    2  Else the first of `PLACES` that is a socket.
    3  A state that has anything on an engine stays with it, by a note in its folder: on another one all instances would
       seem to be gone, and would be started a second time.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from anew.errors import Unsupported
from anew.model import Seconds

VARIABLE = "DOCKER_HOST"
UNIX = "unix://"
PLACES = (Path("/var/run/docker.sock"), Path("/run/podman/podman.sock"))
PATIENCE: Seconds = 5.0
INSTALL = "as root: apt-get install podman && systemctl start podman.socket; or install Docker as its makers say"


def find(environ: Mapping[str, str], note: Path | None = None) -> Path:
    """Return the path of the engine's socket; `note` is the file that says with which one this state stays.

    Raises  Unsupported if the engine is on another machine or is not the one of the note, or if there is no socket.
    """
    named, noted = environ.get(VARIABLE, ""), _noted(note) if note else ""
    if named:
        path = _named(named)
        if noted and os.path.realpath(noted) != os.path.realpath(path):
            raise Unsupported(
                f"what this state runs is on the container engine at {noted}, and {VARIABLE} names {path}",
                where=f"${VARIABLE}",
                hint=f"unset {VARIABLE}; to change engines, `anew dispose` first, or rm {note} if it is gone for good",
            )
        return path
    if noted:
        if not is_socket(Path(noted)):
            raise Unsupported(
                f"no container engine answers at {noted}, where what this state runs is: there is no socket",
                where=noted,
                hint=f"start that engine; if it is gone for good, rm {note}",
            )
        return Path(noted)
    for path in PLACES:
        if is_socket(path):
            return path
    looked = " and ".join(str(path) for path in PLACES)
    raise Unsupported(
        "there is no container engine on this machine",
        where=f"looked for {looked}; {VARIABLE} is not set",
        hint=INSTALL,
    )


def keep(note: Path, path: Path) -> None:
    """Let this state stay with the engine at `path`. Idempotent."""
    if _noted(note) != str(path):
        fresh = note.with_name(f"{note.name}.{os.getpid()}")
        fresh.write_text(f"{path}\n", "utf-8")
        fresh.replace(note)


def _noted(note: Path) -> str:
    try:
        return note.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""


def _named(address: str) -> Path:
    if not address.startswith(UNIX):
        raise Unsupported(
            f"the container engine at {address} is not on this machine",
            where=f"${VARIABLE}",
            hint=f"run anew on that machine, or unset {VARIABLE} to use the engine of this one",
        )
    path = Path(address.removeprefix(UNIX))
    if not is_socket(path):
        raise Unsupported(
            f"no container engine answers at {path}: there is no socket",
            where=f"${VARIABLE}",
            hint=f"start the engine that makes it, or unset {VARIABLE}; or, {INSTALL}",
        )
    return path


def knock(path: Path) -> None:
    """Raise the system's error if nobody answers at a socket; the SDK would leave one open."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(PATIENCE)
        one.connect(str(path))


def is_socket(path: Path) -> bool:
    """Say whether there is a socket; what we may not see is none."""
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
