"""What a look at a folder finds: everything that a spec says, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["python", "node", "php", "binary", "static"]
APP = "/srv/app"  # where the folder lies in the image
HEALTH = ("/healthz", "/health", "/readyz", "/livez", "/ping")


@dataclass(frozen=True, slots=True)
class Step:
    """One build step, and what it is for."""

    run: str
    why: str
    network: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """How one kind of thing is built and run. `what` completes "found …"; all texts are for people."""

    kind: Kind
    what: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    source: str = "./"  # the folder that is copied, and where to
    target: str = f"{APP}/"
    command_why: str = ""
    health: str = "/"
    health_why: str = ""
    flags: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def shell(command: str, folder: str = APP, search: str = "") -> tuple[str, ...]:
    """Return the command that runs a line of a shell in a folder, in the shell's own place: signals reach it.

    `search` is a folder with programs, which is looked into first.
    """
    path = f"export PATH={search}:$PATH && " if search else ""
    first = command.split(maxsplit=1)[0]
    start = "exec env" if "=" in first else "exec"
    return ("sh", "-c", f"cd {folder} && {path}{start} {command}")


def health_of(paths: Iterable[str]) -> str:
    """Return the path among `paths` that is made for health checks; "" if there is none.

    >>> health_of(["/", "/ping", "/healthz/"])
    '/healthz/'
    """
    known = {path.rstrip("/"): path for path in paths if path != "/"}
    return next((known[one] for one in HEALTH if one in known), "")


def chosen(health: str, said: Sequence[str]) -> tuple[str, str]:
    """Return the health path and why: the one made for it, else `/`, else the first of those that are `said`."""
    if health:
        return health, "the sources answer it"
    if "/" in said or not said:
        return "/", "" if said else "no path was found in the sources; it must answer 200"
    return said[0], "the sources have no path made for health checks, and none for /"
