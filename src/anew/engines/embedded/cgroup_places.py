"""Where this machine lets us make control groups: for each controller the folder for them, or why there is none.

Version 1 has a tree of groups for each controller, version 2 one for all of them, and machines with both exist. Groups
of ours stand in a folder ``anew`` as high in a tree as we may write: so they do not end with the session or the unit of
whoever launched them, and its limits are not theirs. As root that is the top; for an ordinary user it is a part that
was handed over (delegated), if what launches runs inside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from anew.engines.embedded.refusals import INSIDE

OURS = "anew"
RESOURCES = ("memory", "cpu", "pids")
LIMITING: Mapping[str, tuple[str, str]] = MappingProxyType(  # the file that limits, in version 1 and in version 2
    {
        "memory": ("memory.limit_in_bytes", "memory.max"),
        "cpu": ("cpu.cfs_quota_us", "cpu.max"),
        "pids": ("pids.max", "pids.max"),
    }
)
ATTEMPTS = 3  # somebody else may take away what was just enabled
_SWITCHED_ON = "choose a kernel that has it"
_SWITCHED_OFF: Mapping[str, str] = MappingProxyType({"memory": "boot the machine with cgroup_enable=memory"})
_HANDED_OVER = "as root: systemctl edit user@.service, and write: [Service] Delegate=cpu memory pids"
_OCCUPIED = "move those processes into a group below it, or run anew outside of this container"
_AS_A_USER = "start it inside your own part: systemd-run --user --scope anew up; or run anew as root"


@dataclass(frozen=True, slots=True)
class Tree:
    """One mounted tree of groups; `own` is the group that this process is in."""

    mounted: Path
    root: str  # the part of the tree that is mounted there
    own: str
    is_v2: bool
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The folder in which groups with some controller can be made."""

    folder: Path
    is_v2: bool


@dataclass(frozen=True, slots=True)
class Lack:
    """Why there is no such place, and what to do about it."""

    why: str
    hint: str


def trees(mounts: str, groups: str) -> Mapping[str, Tree]:
    """Return the trees of version 1 by controller, and that of version 2 as "".

    `mounts` is the text of /proc/self/mountinfo, `groups` that of /proc/self/cgroup.
    Source  proc_pid_mountinfo(5), cgroups(7).

    >>> trees("31 23 0:28 / /c rw - cgroup cgroup rw,cpu,cpuacct", "2:cpu,cpuacct:/x")["cpu"].mounted
    PosixPath('/c')
    """
    own = {name: path for line in groups.splitlines() for name, path in _memberships(line)}
    found: dict[str, Tree] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(" ", 2), "", "")[:3]
        if kind not in {"cgroup", "cgroup2"}:
            continue
        root, mounted, mode = before.split(" ")[3:6]
        names = [""] if kind == "cgroup2" else [name for name in options.split(",") if name in RESOURCES]
        for name in names:
            is_read_only = "ro" in mode.split(",") or "ro" in options.split(",")
            found.setdefault(
                name, Tree(Path(_unescaped(mounted)), root, own.get(name, "/"), kind == "cgroup2", is_read_only)
            )
    return MappingProxyType(found)


def places() -> Mapping[str, Place | Lack]:
    """Return for each controller where its groups can be made, and make the folder for them.

    Idempotent. What is enabled for it stays enabled.
    """
    return _found(OURS)


def unheld() -> dict[str, str]:
    """Return what can't be limited here, and why; makes folders as `places` does."""
    return {one: found.why for one, found in places().items() if isinstance(found, Lack)}


def tried_out() -> Mapping[str, Place | Lack]:
    """Return the same, of a folder that is gone again: nothing stays changed."""
    name = f"{OURS}-doctor-{os.getpid()}"
    before = {folder: _words(folder, "cgroup.subtree_control") for folder in _tops()}
    found = _found(name)
    for folder, enabled in before.items():
        with suppress(FileNotFoundError):
            (folder / name).rmdir()
        for one in _words(folder, "cgroup.subtree_control") - enabled:
            with suppress(OSError):  # somebody has begun to use it
                (folder / "cgroup.subtree_control").write_text(f"-{one}")
    return found


def _found(name: str) -> Mapping[str, Place | Lack]:
    here = _here()
    return MappingProxyType({one: _place(one, here, name) for one in RESOURCES})


def _here() -> Mapping[str, Tree]:
    mounts, groups = (Path(f"/proc/self/{name}").read_text("utf-8") for name in ("mountinfo", "cgroup"))
    return trees(mounts, groups)


def _tops() -> Iterator[Path]:
    """Yield the highest folder of each tree that we may write to."""
    yield from dict.fromkeys(top for tree in _here().values() if (top := _top(tree)) is not None)


def _place(resource: str, here: Mapping[str, Tree], name: str) -> Place | Lack:
    tree = here.get(resource) or here.get("")
    if tree is None:
        return Lack("there are no control groups here: no cgroup2 is mounted", INSIDE)
    if tree.is_read_only:
        return Lack(f"{tree.mounted} is mounted read-only", INSIDE)
    top = _top(tree)
    if top is None:
        return Lack(f"{_start(tree)} belongs to somebody else", _AS_A_USER if os.geteuid() else INSIDE)
    lack = _enabled(top, name, resource) if tree.is_v2 else _made(top / name)
    if lack is None and not (top / name / LIMITING[resource][tree.is_v2]).exists():
        lack = Lack("this kernel has no such limit", _SWITCHED_ON)
    return lack or Place(top / name, tree.is_v2)


def _start(tree: Tree) -> Path:
    """Return the folder of the group that this process is in; the top where that can't be seen."""
    own = PurePosixPath(tree.own)
    inner = own.relative_to(tree.root) if own.is_relative_to(tree.root) and ".." not in own.parts else PurePosixPath()
    return tree.mounted / inner


def _top(tree: Tree) -> Path | None:
    found, start = None, _start(tree)
    for folder in (start, *start.parents):
        if not os.access(folder, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
            break
        found = folder
        if folder == tree.mounted:
            break
    return found


def _made(folder: Path) -> Lack | None:
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
    except OSError as cause:
        return Lack(f"no group can be made in {folder.parent}: {cause.strerror}", "look at: mount -t cgroup,cgroup2")
    return None


def _enabled(top: Path, name: str, resource: str) -> Lack | None:
    """Make the folder below `top`, and let its groups have the controller; return why that can't be."""
    if resource not in _words(top, "cgroup.controllers"):
        hint = _SWITCHED_OFF.get(resource, _SWITCHED_ON) if os.geteuid() == 0 else _HANDED_OVER
        return Lack(f"{top} has no controller for it", hint)
    if (top / "cgroup.type").exists() and (top / "cgroup.procs").read_text("ascii"):  # only the root itself has no type
        return Lack(f"processes run in {top} itself, so it hands on no controllers", _OCCUPIED)
    lack = None
    for _ in range(ATTEMPTS):
        lack = _enable(top, resource) or _made(top / name) or _enable(top / name, resource)
        if lack is None:
            break
    return lack


def _enable(folder: Path, resource: str) -> Lack | None:
    if resource in _words(folder, "cgroup.subtree_control"):
        return None
    try:
        (folder / "cgroup.subtree_control").write_text(f"+{resource}")
    except OSError as cause:
        why = f"{folder} does not hand on its controller: {cause.strerror}"
        return Lack(why, f"look at: cat {folder}/cgroup.controllers {folder}/cgroup.procs")
    return None


def _words(folder: Path, file: str) -> frozenset[str]:
    try:
        return frozenset((folder / file).read_text("ascii").split())
    except FileNotFoundError:  # a tree of version 1
        return frozenset()


def _memberships(line: str) -> Iterator[tuple[str, str]]:
    """Yield (controller, group) of a line like ``4:cpu,cpuacct:/x``; of version 2 the controller is ""."""
    _, names, path = line.split(":", 2)
    yield from ((name, path) for name in names.split(","))


def _unescaped(path: str) -> str:
    """Return a path as it is: blanks and the like stand there in octal."""
    for code in ("\\040", "\\011", "\\012", "\\134"):
        path = path.replace(code, chr(int(code[1:], 8)))
    return path
