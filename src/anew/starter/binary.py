"""A binary: an ELF program in the folder that listens where $PORT or an option says; found by reading it."""

from __future__ import annotations

import mmap
import platform
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from anew.errors import SpecError
from anew.starter.folder import Folder
from anew.starter.found import Found, health_of, shell
from anew.starter.ports import READS_PORT

_MACHINES: Mapping[int, str] = MappingProxyType({3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"})
_SOURCES = (".go", ".rs", ".c", ".cc", ".cpp", ".zig", ".nim", ".d", ".swift")
GLIBC = 36  # 2.36, of Debian bookworm
# Shared libraries by the beginning of their names, and the packages of bookworm that bring them.
_LIBRARIES: Mapping[str, str] = MappingProxyType(
    {
        "libcrypto.so.3": "libssl3",
        "libcurl.so.4": "libcurl4",
        "libgcc_s.so.1": "libgcc-s1",
        "libpq.so.5": "libpq5",
        "libsqlite3.so.0": "libsqlite3-0",
        "libssl.so.3": "libssl3",
        "libstdc++.so.6": "libstdc++6",
        "libuv.so.1": "libuv1",
        "libz.so.1": "zlib1g",
    }
)
_ADDRESSES = ("listen", "addr", "http", "bind", "address")
_HOSTS = ("host", "bind", "address")


@dataclass(frozen=True, slots=True)
class _Program:
    """What the bytes of a program tell."""

    machine: str
    strings: frozenset[str]  # the words that it holds, whole

    def option(self, *names: str) -> str:
        """Return the first of `names` that it takes as an option, with its dashes; "" if none."""
        return next((f"{dash}{name}" for name in names for dash in ("--", "-") if f"{dash}{name}" in self.strings), "")


def look(folder: Folder, command: str) -> Found | None:
    """Return how the program in `folder` is run; None if there is none.

    `command` names one of several. Raises  SpecError if there are several and none is named, or it is for another
    machine.
    """
    names = folder.programs()
    if not names:
        return None
    words = {word.removeprefix("./") for word in command.split()}
    named = [name for name in names if name in words]
    if len(names) > 1 and not named:
        if command:
            return None
        raise SpecError(
            f"there are several programs here: {', '.join(names)}",
            where=str(folder.root),
            hint=f'name the one that serves, and how: anew init --command "./{names[0]} --port $PORT"',
        )
    name = named[0] if named else names[0]
    program = _read(folder.root / name)
    if program.machine and program.machine != platform.machine():
        raise SpecError(
            f"{name} is for {program.machine}, and this machine is {platform.machine()}",
            where=str(folder.root / name),
            hint="build it for this machine",
        )
    told, why = _told(folder, program)
    health = health_of(sorted(_paths(folder, program)))
    return Found(
        "binary",
        f"a program: {name}",
        shell(command or f"./{name} {told}".rstrip()),
        packages=tuple(sorted({package for library, package in _LIBRARIES.items() if library in program.strings})),
        command_why="" if command else why,
        health=health or "/",
        health_why="the program holds it" if health else "no path made for health checks was found in the program",
        notes=_notes(name, program),
    )


def _read(path: Path) -> _Program:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (number,) = struct.unpack("<H", data[18:20])
        strings = {one.decode("ascii") for one in re.findall(rb"[\w./+-]{3,64}", data)}
    return _Program(_MACHINES.get(number, ""), frozenset(strings))


def _told(folder: Folder, program: _Program) -> tuple[str, str]:
    """Return the arguments that tell the program where to listen, and why these."""
    sources = folder.sources(*_SOURCES)
    texts = [one.text for one in sources]
    if any(READS_PORT.search(text) for text in texts):
        return "", "its sources read $PORT"
    port = program.option("port", "http-port", "listen-port")
    listen = program.option(*_ADDRESSES)
    if not port and not listen:
        taken = [name for name in ("port", *_ADDRESSES) if any(_is_flag(name, text) for text in texts)]
        port, listen = ("-port" if "port" in taken else ""), next((f"-{n}" for n in taken if n != "port"), "")
    if port:
        host = listen if listen.lstrip("-") in _HOSTS else program.option(*_HOSTS)
        return f"{port} $PORT" + (f" {host} $HOST" if host else ""), f"the program takes {port}"
    if listen:
        return f"{listen} $HOST:$PORT", f"the program takes {listen}"
    if "PORT" in program.strings:
        return "", "the program reads $PORT"
    return "", "nothing shows how it is told its port, so it is expected to read $PORT: else add its option here"


def _is_flag(name: str, text: str) -> bool:
    return re.search(rf'(?:flag\.\w+\((?:&\w+,\s*)?|long\s*=\s*)"{name}"', text) is not None


def _paths(folder: Folder, program: _Program) -> set[str]:
    said = {one for text in (s.text for s in folder.sources(*_SOURCES)) for one in re.findall(r'"(/[a-z]+)"', text)}
    return said | {one for one in program.strings if one.startswith("/")}


def _notes(name: str, program: _Program) -> tuple[str, ...]:
    versions = [int(found[1]) for one in program.strings if (found := re.match(r"GLIBC_2\.(\d+)\Z", one))]
    notes = []
    if versions and max(versions) > GLIBC:
        notes.append(
            f"{name} wants glibc 2.{max(versions)}, and Debian bookworm has 2.{GLIBC}: build it there, or static"
        )
    others = sorted(one for one in program.strings if re.match(r"lib[\w+-]+\.so\.\d+\Z", one))
    unknown = [one for one in others if one not in _LIBRARIES and one not in {"libc.so.6", "libm.so.6"}]
    unknown = [one for one in unknown if not re.match(r"lib(?:pthread|dl|rt|resolv|util)\.so", one)]
    if unknown:
        notes.append(f"{name} uses {', '.join(unknown)}: add the Debian packages that bring them to `packages`")
    return tuple(notes)
