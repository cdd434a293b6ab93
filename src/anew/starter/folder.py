"""Reading a folder that is not a project yet: its files as text, as data, as programs. Nothing of it is run."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from anew.errors import SpecError
from anew.model import Bytes

DEEPEST = 5  # folders below the top that are read
MOST_FILES = 2000  # of source, in all
MOST_TEXT: Bytes = 256 * 1024  # of one file

# Folders that hold what others wrote, or what is made again.
SKIPPED = frozenset(
    "__pycache__ bower_components build dist env htmlcov node_modules out site-packages target vendor venv".split()  # noqa: SIM905 - a list of words
)
TESTS = re.compile(r"(?:^|/)(?:tests?|__tests__|spec|examples?|docs?|migrations)/|(?:^|/)(?:test_|conftest)|[._]test\.")
# Where programs lie that were built here.
PROGRAM_FOLDERS = (".", "bin", "build", "dist", "out", "target/release")
ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Source:
    """One file of source: its path below the folder, with slashes, and its text."""

    path: str
    text: str
    neighbours: tuple[str, ...] = ()  # modules beside it, if its folder is no package: imports may begin there

    @property
    def folder(self) -> str:
        """The folder it lies in; "" for the top."""
        return self.path.rpartition("/")[0]

    @property
    def stem(self) -> str:
        """Its name without the ending."""
        return PurePosixPath(self.path).stem


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder to be looked at; paths given to its methods are relative to it."""

    root: Path

    def has(self, path: str) -> bool:
        """Say whether there is a file at `path`."""
        return (self.root / path).is_file()

    def first(self, *paths: str) -> str:
        """Return the first of `paths` that is a file; "" if none is."""
        return next((path for path in paths if self.has(path)), "")

    def text(self, path: str) -> str:
        """Return the text of a file, its first `MOST_TEXT` bytes; "" if it is not there.

        Raises  SpecError if it may not be read.
        """
        try:
            with (self.root / path).open("rb") as file:
                return file.read(MOST_TEXT).decode("utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ""
        except OSError as cause:
            raise SpecError(
                f"{path} can't be read: {cause.strerror}", where=str(self.root / path), hint=f"chmod u+r {path}"
            ) from cause

    def json(self, path: str) -> Mapping[str, Any]:
        """Return what a JSON file says; nothing if it is not there. Raises SpecError if it is no JSON object."""
        try:
            found = json.loads(self.text(path) or "{}")
        except ValueError as cause:
            raise self._broken(path, "JSON", cause) from cause
        return found if isinstance(found, dict) else {}

    def toml(self, path: str) -> Mapping[str, Any]:
        """Return what a TOML file says; nothing if it is not there. Raises SpecError if it is no TOML."""
        try:
            return tomllib.loads(self.text(path))
        except tomllib.TOMLDecodeError as cause:
            raise self._broken(path, "TOML", cause) from cause

    def _broken(self, path: str, kind: str, cause: Exception) -> SpecError:
        return SpecError(f"{path} is no {kind}: {cause}", where=str(self.root / path), hint="correct it, and try again")

    def sources(self, *endings: str) -> tuple[Source, ...]:
        """Return the files that end so, without tests and what others wrote; the shallow ones first."""
        paths = [path for path in self._walk() if path.endswith(endings) and not TESTS.search(path)]
        paths.sort(key=lambda path: (path.count("/"), path))
        return tuple(Source(path, self.text(path), _neighbours(path, paths)) for path in paths[:MOST_FILES])

    def _walk(self) -> Iterator[str]:
        for place, folders, names in os.walk(self.root):
            inside = os.path.relpath(place, self.root)
            prefix = "" if inside == "." else f"{inside}/"
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".") and name not in SKIPPED and prefix.count("/") < DEEPEST
            )
            yield from (prefix + name for name in names)

    def folders(self) -> tuple[str, ...]:
        """Return the folders directly below that are neither hidden nor made by programs."""
        found = (one.name for one in self.root.iterdir() if one.is_dir() and not one.name.startswith("."))
        return tuple(sorted(name for name in found if name not in SKIPPED))

    def programs(self) -> tuple[str, ...]:
        """Return the ELF programs that may be executed, in the places where programs are built."""
        found = []
        for place in PROGRAM_FOLDERS:
            folder = self.root / place
            names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names, not paths
            found += [os.path.normpath(f"{place}/{name}") for name in names if _is_program(folder / name)]
        return tuple(dict.fromkeys(found))


def _neighbours(path: str, paths: Sequence[str]) -> tuple[str, ...]:
    folder, slash, _ = path.rpartition("/")
    if not slash or f"{folder}/__init__.py" in paths:
        return ()
    inside = {one[len(folder) + 1 :].partition("/")[0] for one in paths if one.startswith(f"{folder}/") and one != path}
    return tuple(sorted(name.partition(".")[0] for name in inside))


def _is_program(path: Path) -> bool:
    if not path.is_file() or not os.access(path, os.X_OK) or ".so" in path.suffixes:
        return False
    with path.open("rb") as file:
        return file.read(4) == ELF
