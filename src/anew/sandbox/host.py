"""The machine's own root as a head: read, composed folder by folder, and with everything private masked.

anew's state lies inside the root (``/var/lib/anew``), and overlayfs refuses layers that contain each other. So every
folder is mounted on its own; one that contains a path to be avoided is taken apart, level by level, until the parts
don't contain it. So is one that is to be overlaid and in which something else is mounted, as a container engine does in
``/var/lib``: in a namespace of its own the kernel refuses it as a layer, since it would uncover what lies below.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anew.sandbox import view
from anew.sandbox.mounts import Folder, HostRoot

HOST = Path("/")
OWN = ("/proc", "/sys", "/dev", "/run", "/tmp")  # noqa: S108 - paths inside; each sandbox has its own of these
HIDDEN = ("/root", "/home", "/boot", "/lost+found", "/media", "/mnt")  # empty, but for what layers put there
PRIVATE = ("etc/shadow*", "etc/gshadow*", "etc/ssh/ssh_host_*")  # in folders that every uid may enter


def compose(layers: Sequence[Path], avoid: Sequence[Path], *, is_writable: bool = False) -> HostRoot:
    """Read the machine's own root and the `layers` above it (lowest first), and return how to mount them.

    `avoid` are paths of the host that must neither be shown nor be part of an overlay's lower layer: anew's state,
    and the upper and work folders of a build. The layers themselves are always avoided. `is_writable`: each folder is
    to be overlaid, for `mounts.writable_host`; what is mounted deeper in the root stays read-only then.
    """
    walk = _Walk(tuple(layers), tuple(_real(one) for one in (*avoid, *layers)), is_writable=is_writable)
    walk.folder("/")
    walk.empty += [path for path in (*OWN, *HIDDEN) if path not in walk.made]
    return HostRoot(
        folders=tuple(walk.folders),
        links=tuple(walk.links),
        files=tuple(walk.files),
        empty=tuple(walk.empty),
        masks=_masks(layers, walk.folders),
    )


def roots(layers: Sequence[Path]) -> tuple[Path, ...]:
    """Return the stack that a sandbox on the machine's own root shows, for `anew.sandbox.view`."""
    return (HOST, *layers)


def make_uppers(root: HostRoot, upper: Path, work: Path) -> None:
    """Make the folders in `upper` and `work` that `mounts.writable_host` needs, with the modes of what they cover."""
    for folder in root.folders:
        inside = folder.target.lstrip("/")
        top = folder.sources[-1].stat()
        (work / inside).mkdir(parents=True, exist_ok=True)
        made = upper / inside
        made.mkdir(parents=True, exist_ok=True)
        made.chmod(top.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.chown(made, top.st_uid, top.st_gid)


def prune_uppers(root: HostRoot, upper: Path) -> None:
    """Remove the folders of `make_uppers` that stayed empty, so that they are no part of what a build step made."""
    for folder in sorted(root.folders, key=lambda f: -len(f.target)):
        here = upper / folder.target.lstrip("/")
        while here != upper and here.is_dir() and not any(here.iterdir()):
            here.rmdir()
            here = here.parent


@dataclass(frozen=True, slots=True)
class Rest:
    """What lies between the folders of a writable root: `/` itself, what was taken apart, and what is hidden."""

    lower: Path
    upper: Path
    work: Path
    above: HostRoot  # what is still to be mounted


def make_rest(root: HostRoot, folder: Path) -> Rest:
    """Make what is to be mounted below `mounts.writable_host`, so that nothing is lost that is written there.

    Its lower layer has every place at which something is mounted, with nothing in it, and the files and links that lie
    between those; what the host itself has there stays read-only. `folder` is empty or not there.
    """
    bound: list[tuple[Path, str]] = []  # what is shown as it is: the host's own, and what only root may read
    rest = Rest(folder / "lower", folder / "upper", folder / "work", root)
    for one in (folder, rest.lower, rest.upper, rest.work):
        one.mkdir(exist_ok=True)
        one.chmod(0o755)
    for path in (*root.empty, *(one.target for one in root.folders)):
        _folder_below(rest.lower, path)
    for source, path in root.files:
        is_folder = source.is_dir()
        _folder_below(rest.lower, path if is_folder else str(Path(path).parent))
        place = rest.lower / path.lstrip("/")
        if source == HOST / path.lstrip("/") or not _is_copied(source, place):
            bound.append((source, path))
            if not is_folder:
                place.touch()
    for path, text in root.links:
        _folder_below(rest.lower, str(Path(path).parent))
        (rest.lower / path.lstrip("/")).symlink_to(text)
    return replace(rest, above=replace(root, links=(), empty=(), files=tuple(bound)))


def _folder_below(lower: Path, path: str) -> None:
    """Make a folder with its parents, with the modes of the host's own, but for those of which nothing is shown."""
    for one in (*reversed(Path(path).parents), Path(path)):
        made = lower / str(one).lstrip("/")
        if not made.is_dir():
            made.mkdir()
            is_hosts = str(one) not in (*OWN, *HIDDEN) and one.is_dir()
            made.chmod(one.stat().st_mode & 0o7777 if is_hosts else 0o755)


def merge_rest(rest: Rest, upper: Path) -> None:
    """Move what was written to the rest into `upper`; folders that only stood there empty are left out."""
    _merge(rest.upper, upper, rest.lower)


def _merge(source: Path, target: Path, lower: Path) -> None:
    for one in sorted(source.iterdir()):
        there, below = target / one.name, lower / one.name
        is_folder = one.is_dir() and not one.is_symlink()
        if not is_folder or below.is_symlink() or not below.is_dir():
            one.rename(there)
            continue
        if not there.exists():
            there.mkdir()
        _merge(one, there, below)
        if any(there.iterdir()):
            _like(one, there)
        else:
            there.rmdir()


def _is_copied(source: Path, target: Path) -> bool:
    """Copy a file or a pipe of a layer; False where an ordinary user may not read it."""
    if source.is_fifo():
        os.mkfifo(target)
    else:
        try:
            shutil.copyfile(source, target)
        except PermissionError:
            return False
    _like(source, target)
    return True


def _like(source: Path, target: Path) -> None:
    """Give a file or folder the owner of another, and then its mode and attributes, which a new owner would lose."""
    if os.geteuid() == 0:
        found = source.stat()
        os.chown(target, found.st_uid, found.st_gid)
    shutil.copystat(source, target)


class _Walk:
    """Takes the root apart; the lists are what it has found so far."""

    def __init__(self, layers: tuple[Path, ...], avoid: tuple[Path, ...], *, is_writable: bool) -> None:
        self.layers = layers
        self.avoid = avoid
        self.is_writable = is_writable
        self.mounted = mounted()
        self.folders: list[Folder] = []
        self.links: list[tuple[str, str]] = []
        self.files: list[tuple[Path, str]] = []
        self.empty: list[str] = []
        self.made: set[str] = set()

    def folder(self, path: str) -> None:
        """Take every entry of the folder at `path`, which is itself not mounted."""
        places = [one / path.lstrip("/") for one in (HOST, *self.layers)]
        for name in view.names(places):
            inside = f"{path.rstrip('/')}/{name}"
            if inside in OWN or Path(inside) in self.avoid:  # links are not followed, so `inside` is a real path
                continue
            found = view.child(places[1:] if inside in HIDDEN else places, name)
            if found is not None:
                self.take(inside, found)

    def take(self, inside: str, found: view.Entry) -> None:
        """Mount one entry, or take it apart if it contains what is to be avoided."""
        host = HOST / inside.lstrip("/")
        is_of_host = host in found.places
        if found.kind == "link":
            self.links.append((inside, str(found.top.readlink())))
        elif found.kind == "file":
            if inside.count("/") > 1 or not is_of_host:  # files directly in the host's root are no part of a system
                self.files.append((found.top, inside))
        elif is_of_host and self.must_be_taken_apart(host, found):
            self.made.add(inside)
            self.empty.append(inside)
            self.folder(inside)
        elif self.is_writable and host in self.mounted and inside.count("/") > 1:
            self.files.append((host, inside))
        else:
            self.made.add(inside)
            self.folders.append(Folder(inside, found.places))

    def must_be_taken_apart(self, host: Path, found: view.Entry) -> bool:
        """Say whether a folder contains what is to be avoided; or, where it is to be overlaid, a mount."""
        if any(one.is_relative_to(host) for one in self.avoid):
            return True
        if self.is_writable and host in self.mounted and host.parent != HOST:
            return False  # it is shown as it is
        is_overlaid = self.is_writable or len(found.places) > 1
        return is_overlaid and any(one != host and one.is_relative_to(host) for one in self.mounted)


def mounted(table: Path = Path("/proc/self/mountinfo")) -> tuple[Path, ...]:
    """Return where something is mounted on this machine."""
    points = (line.split(b" ")[4] for line in table.read_bytes().splitlines())
    return tuple(Path(os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), one))) for one in points)


def _masks(layers: Sequence[Path], folders: Sequence[Folder]) -> tuple[str, ...]:
    """Return the private files of the host that are still to be seen through the layers."""
    stack = roots(layers)
    shown = [one.target for one in folders if HOST / one.target.lstrip("/") in one.sources]
    masks = []
    for pattern in PRIVATE:
        for place in sorted(HOST.glob(pattern)):
            found = view.entry(stack, str(place))
            is_shown = any(place.is_relative_to(target) for target in shown)
            if is_shown and found is not None and found.kind == "file" and found.top == place:
                masks.append(str(place))
    return tuple(masks)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def remove_work(work: Path) -> None:
    """Remove a work folder; the kernel leaves a folder of mode 0 in it, which stops an ordinary user's removal."""
    for name, folders, _ in os.walk(work):
        for one in folders:
            (Path(name) / one).chmod(0o700)
    shutil.rmtree(work)
