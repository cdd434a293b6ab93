"""What the tests of building share: needs of this machine, and small projects."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from anew.build.builder import Builder
from anew.build.store import ImageStore
from anew.model import BuildStep, Copy, Head, HostHead, Image, Service, Spec, TarHead
from anew.views import Rebuilt

SHELL = "/bin/sh"


def need(what: str, *, is_there: bool) -> None:
    """Skip a test on a machine that lacks something."""
    if is_there:
        return
    pytest.skip(f"needs {what}")


def need_root() -> None:
    need("root", is_there=os.geteuid() == 0)


def need_program(name: str) -> None:
    need(name, is_there=shutil.which(name) is not None)


def quiet(_line: str) -> None:
    """Take a line of progress."""


def shell_head(target: Path) -> None:
    """Write a tar archive of the least root file system with a shell: the machine's own, and its libraries."""
    with tarfile.open(target, "w") as tar:
        for folder in ("bin", "etc", "srv", "usr", "usr/bin", "var", "var/mail", "tmp"):
            _add_folder(tar, folder, 0o1777 if folder == "tmp" else 0o2775 if folder == "var/mail" else 0o755)
        programs = [
            shutil.which(n)
            for n in ("sh", "cat", "chmod", "chown", "ln", "ls", "mkdir", "mv", "rm", "env", "mknod", "touch")
        ]
        paths = {p for p in programs if p is not None}
        for path in list(paths):
            told = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
            paths |= {word for word in told.split() if word.startswith("/")}
        for path in sorted(paths):
            _add_file(tar, path.lstrip("/").replace("usr/bin/", "bin/"), Path(path).read_bytes(), 0o755)
        _add_file(tar, "etc/motd", b"welcome\n", 0o644)


def _add_folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uname, info.mtime = len(data), mode, "somebody", 1_000_000_000
    tar.addfile(info, io.BytesIO(data))


class Project:
    """A project in `folder`, its builder and its store, and one service that may be changed between builds."""

    def __init__(self, folder: Path, head: Head | None = None) -> None:
        self.root = folder / "project"
        self.home = folder / "home"
        self.root.mkdir(parents=True)
        self.home.mkdir()
        self.head = head or HostHead("base")
        self.store = ImageStore(self.home / "images")
        self.lines: list[str] = []

    def service(self, *steps: str | BuildStep, copy: tuple[Copy, ...] = ()) -> Service:
        build = tuple(BuildStep(step) if isinstance(step, str) else step for step in steps)
        return Service("web", "base", ("/bin/sh",), copy=copy, build=build)

    @property
    def spec(self) -> Spec:
        return Spec("shop", (self.head,), (), ())

    @property
    def builder(self) -> Builder:
        return Builder(self.home, self.store, self.root)


def tar_project(folder: Path) -> Project:
    """Make a project on a tar head that has a shell."""
    project = Project(folder, TarHead("base", "head.tar"))
    shell_head(project.root / "head.tar")
    return project


def proved(builder: Builder, image: Image, service: str = "web", *, is_offline: bool = True) -> Rebuilt:
    """Make an image again, and return what came of it."""
    with builder.proving(is_offline=is_offline) as prove:
        return prove(service, image, quiet)


def python() -> str:
    """Return this interpreter: for tests that need a process of their own."""
    return sys.executable
