"""What runs: the order of an instance, and what an engine says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anew.model.made import Image
from anew.model.sealed import Pin
from anew.model.units import Scope
from anew.model.wish import Limits, Volume


@dataclass(frozen=True, slots=True)
class Order:
    """All that an engine needs to run one instance; nothing in it is computed by the engine."""

    name: str  # "shop-local-web-g43-2"
    group: str
    scope: Scope
    image: Image
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    writable: tuple[str, ...] = ()
    port: int = 0  # 0: it listens on nothing
    secrets: tuple[Pin, ...] = ()  # files of mode 0400 under /run/secrets; the engine asks for their values
    volumes: tuple[Volume, ...] = ()
    service: str = ""  # whose volumes they are
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as an engine reports it."""

    name: str
    group: str
    is_alive: bool
    is_listening: bool = False  # it accepts connections on its port, on a socket of its own
    host: str = "127.0.0.1"  # where its port is reached from this machine; "" while it has no address
    port: int = 0
    pid: int = 0  # of the process that the engine watches; 0 when ended
    started: float = 0.0
    ended: str = ""  # "exit code 1", "signal 9 (SIGKILL)", "unknown"; "" while alive
    warden: int = 0  # a second process whose end is the instance's end too; 0: there is none


@dataclass(frozen=True, slots=True)
class Touched:
    """What one look found of those who touched instances from outside."""

    evidence: Mapping[str, tuple[str, ...]]  # by instance; one that nothing touched is left out
    until: float  # up to when is told what happened, in UTC seconds of the engine
    gap: str = ""  # why something may have happened since the look before that nobody can tell; "": nothing did


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command in a throwaway instance ended."""

    code: int  # exit code; -N for signal N
    output: str  # stdout and stderr together, the last 64 KiB
    is_late: bool = False  # it was ended because its bound was over
