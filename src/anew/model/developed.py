"""A service that runs from its sources: what is mounted into its image, and what was changed besides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from anew.model.units import Digest


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine that is seen inside, instead of what the image has there; or nothing is."""

    source: str  # absolute, of this machine; "" if what the image has there is to be gone
    target: str  # absolute, in the image; links are resolved


@dataclass(frozen=True, slots=True)
class Sources:
    """What a service copies, as mounts."""

    mounts: tuple[Mount, ...]
    watched: tuple[str, ...]  # folders and files whose changes matter, absolute


@dataclass(frozen=True, slots=True)
class Trace:
    """A path that is not as the image has it."""

    path: str  # absolute
    what: Literal["created", "changed", "deleted"]


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a person who develops a service sees of it, and wants."""

    say: Callable[[str], None]  # takes a line of ours
    show: Callable[[str], None]  # takes a line of the application's
    is_shell: bool = False  # a shell instead of the application
    may_restart: bool = True  # when a source changes
    output: int = 1  # the descriptor to which the shell writes


@dataclass(frozen=True, slots=True)
class Developed:
    """How the development of a service ended."""

    service: str
    environment: str
    image: Digest
    origin: str  # "g3 of r2, which serves in local"
    address: str  # "http://127.0.0.1:20001/"; "127.0.0.1:20001" for TCP; "" if it does not listen
    starts: int  # of the application
    ended: str  # how the application ended last; "" if it was stopped
    code: int  # exit code of the shell, or of an application that was not to be started again; 0 otherwise
    changes: tuple[Trace, ...]  # in the overlay: nothing of what is mounted, writable or a volume
