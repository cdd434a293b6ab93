"""Which socket the container engine answers on.

Rules
    1  ``$DOCKER_HOST`` decides where it is set; only a socket of this machine is taken: instances are watched in
       /proc, and reached by their addresses.
    2  Else the first of `PLACES` that is a socket.
"""

from __future__ import annotations

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


def find(environ: Mapping[str, str]) -> Path:
    """Return the path of the engine's socket.

    Raises  Unsupported if the engine is on another machine, or if there is no socket.
    """
    named = environ.get(VARIABLE, "")
    if named:
        return _named(named)
    for path in PLACES:
        if is_socket(path):
            return path
    looked = " and ".join(str(path) for path in PLACES)
    raise Unsupported(
        "there is no container engine on this machine",
        where=f"looked for {looked}; {VARIABLE} is not set",
        hint=INSTALL,
    )


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
