"""The arguments of bubblewrap for one instance. Pure: a description in, arguments out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname
from types import MappingProxyType

from anew.sandbox.fit import UID
from anew.sandbox.mounts import SEAL, Args

HOSTNAME = "anew"  # never the instance's name: an application must not learn which one it is
DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - a path inside
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What one instance sees and runs."""

    root: Args  # of `anew.sandbox.mounts`
    is_composed: bool  # the root is the machine's own, and a tmpfs itself
    writable: tuple[str, ...]  # a tmpfs each; links are resolved
    binds: tuple[tuple[str, str], ...]  # file of the host, path inside; skipped if the host has none
    environment: tuple[tuple[str, str], ...]
    command: tuple[str, ...]
    secrets: str = ""  # where its folder of secrets is; "" if it has none
    volumes: tuple[tuple[str, str], ...] = ()  # folder of the host, path inside


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The open files that bubblewrap is handed, by number; 0 for none."""

    seccomp: int
    status: int
    alive: int = 0
    secrets: tuple[tuple[str, int], ...] = ()  # path inside, and the file with the value


INSTANCE: Args = ("--unshare-user", "--uid", str(UID), "--gid", str(UID), "--disable-userns")
POWERLESS: Args = ("--new-session", "--cap-drop", "ALL")


def options(layout: Layout, user: Args = INSTANCE, powers: Args = POWERLESS) -> Args:
    """Return everything but the command and the descriptors; `user` and `powers` tell who runs it and may do what."""
    variables = {**DEFAULTS, **dict(layout.environment)}
    return (
        *layout.root,
        *("--proc", "/proc", "--dev", "/dev"),
        *_tmpfs("/tmp"),  # noqa: S108 - a path inside
        *(part for path in layout.writable for part in _tmpfs(path)),
        *(part for source, path in layout.binds for part in ("--ro-bind-try", source, path)),
        *(("--perms", "0500", "--tmpfs", layout.secrets) if layout.secrets else ()),
        *(part for source, path in layout.volumes for part in ("--bind", source, path)),
        *(SEAL if layout.is_composed else ()),
        *user,
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup", "--hostname", HOSTNAME),
        *(*powers, "--chdir", "/", "--clearenv"),
        *(part for name, value in sorted(variables.items()) for part in ("--setenv", name, value)),
    )


def with_descriptors(args: Args, descriptors: Descriptors) -> Args:
    """Add the filter of system calls, the file for the status, that which is held open while it runs, and secrets."""
    return (
        *with_secrets(args, descriptors.secrets),
        *("--seccomp", str(descriptors.seccomp), "--json-status-fd", str(descriptors.status)),
        *(("--sync-fd", str(descriptors.alive)) if descriptors.alive else ()),
    )


def with_secrets(args: Args, files: Sequence[tuple[str, int]]) -> Args:
    """Add the files with the values of secrets."""
    return (
        *args,
        *(part for path, fd in files for part in ("--perms", "0400", "--file", str(fd), path)),
        *(part for path in sorted({dirname(path) for path, _ in files}) for part in ("--remount-ro", path)),
    )


def file_of(args: Args) -> bytes:
    """Return the arguments as ``--args`` reads them: in a list of processes nobody sees flags that way."""
    return b"".join(one.encode("utf-8", "surrogateescape") + b"\0" for one in args)


def pasteable(bwrap: Path, layout: Layout, uid: int | None) -> str:
    """Return one line for a shell that starts the same sandbox in the foreground, without the filter and secrets."""
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid is not None else []
    return shlex.join(["env", "-i", *_which(drop), str(bwrap), *options(layout), "--", *layout.command])


def _which(drop: Sequence[str]) -> Sequence[str]:
    return (f"/usr/bin/{drop[0]}", *drop[1:]) if drop else ()  # there is no PATH in an empty environment


def _tmpfs(path: str) -> Args:
    return ("--perms", "1777", "--tmpfs", path)
