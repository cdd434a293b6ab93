"""PUBLIC: the least root file system that runs something, as a tar archive: some programs and their libraries.

For tests and measurements that need a head of their own, and can't wait for one of a distribution's packages.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from anew.errors import NotFound

_FOLDERS = ("bin", "etc", "srv", "usr", "usr/bin", "var", "tmp")
_AT = 1_000_000_000  # seconds since 1970: long ago, and the same each time


def write_root(target: Path, programs: Sequence[str] = ("sh", "sleep", "cat"), more: Mapping[str, Path] = {}) -> None:
    """Write a root file system with some programs, and with more files: path in it, then where they are.

    Raises  NotFound if this machine lacks a program.
    """
    with tarfile.open(target, "w") as tar:
        for folder in _FOLDERS:
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755, _AT
            tar.addfile(info)
        for needed in sorted({one for program in programs for one in _needed(program)}):
            _add(tar, needed.lstrip("/").replace("usr/bin/", "bin/"), Path(needed))
        for name, path in more.items():
            _add(tar, name, path)
        info = tarfile.TarInfo("etc/motd")
        info.size, info.mtime = 8, _AT
        tar.addfile(info, io.BytesIO(b"welcome\n"))


def _needed(program: str) -> Iterator[str]:
    found = shutil.which(program)
    if found is None:
        raise NotFound(f"this machine has no {program}", hint="install it")
    yield found
    told = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
    yield from (word for word in told.split() if word.startswith("/"))


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = path.stat().st_size, _AT, 0o755 if os.access(path, os.X_OK) else 0o644
    with path.open("rb") as file:
        tar.addfile(info, file)
