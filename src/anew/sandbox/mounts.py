"""Arguments of bubblewrap that make a root file system. Pure: layers and folders come in as data.

Layers are unpacked trees, lowest first, with whiteouts and opaque folders as overlayfs wants them of an ordinary
user (``user.overlay.*``). The machine's own root can't be the lower layer of an overlay when anew's state lies inside
it: the kernel refuses layers that contain each other. So it is composed folder by folder, see `anew.sandbox.host`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anew.errors import Unsupported

Args = tuple[str, ...]

PAGE = 4096  # bytes that the kernel takes as the options of one mount
PREFIX = len("/oldroot:")  # bubblewrap puts this before, or the overlay between, every layer's path
RESERVE = 256  # for the other options of the same mount


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of a composed root: `sources` lowest first; a single one is bound, several are overlaid."""

    target: str
    sources: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class HostRoot:
    """The machine's own root with layers on top, composed; made by `anew.sandbox.host.compose`."""

    folders: tuple[Folder, ...]
    links: tuple[tuple[str, str], ...] = ()  # path, text of the symbolic link
    files: tuple[tuple[Path, str], ...] = ()  # source, path
    empty: tuple[str, ...] = ()  # folders that exist, and show nothing of the host
    masks: tuple[str, ...] = ()  # files that show nothing


def read_only_root(layers: Sequence[Path]) -> Args:
    """Return the arguments for a root that nobody can write to; `layers` lowest first, at least one."""
    if len(layers) == 1:  # an overlay of one layer is refused
        return ("--ro-bind", str(layers[0]), "/")
    return (*_sources(layers), "--ro-overlay", "/")


def writable_root(layers: Sequence[Path], upper: Path, work: Path, at: str = "/") -> Args:
    """Return the arguments for a root, mounted at `at`, whose changes land in `upper`.

    `work` is an empty folder on the same file system. Two sandboxes must not have the same `upper` at once: the
    kernel does not refuse it.
    """
    return (*_sources(layers), "--overlay", str(upper), str(work), at)


def read_only_host(root: HostRoot) -> Args:
    """Return the arguments for the machine's own root, read-only; put `SEAL` after the mounts that follow."""
    args = _folders(root)
    for folder in root.folders:
        if len(folder.sources) == 1:
            args += ["--ro-bind", str(folder.sources[0]), folder.target]
        else:
            args += [*_sources(folder.sources), "--ro-overlay", folder.target]
    return (*args, *_rest(root))


SEAL: Args = ("--remount-ro", "/")  # a composed root is itself a tmpfs, which must not stay writable


def writable_host(root: HostRoot, upper: Path, work: Path, at: str = "") -> Args:
    """Return the arguments for the machine's own root whose changes land in `upper`, a folder for each of its own.

    It is composed in the folder `at`, which must be empty; "": where the sandbox itself begins.

    `upper` and `work` need a folder for each of `root.folders` beforehand: `anew.sandbox.host.make_uppers` makes them.
    What is written beside these folders goes to what is mounted below: see `anew.sandbox.host.make_rest`.
    """
    args = _folders(root, at)
    for folder in root.folders:
        inside = folder.target.lstrip("/")
        args += [*_sources(folder.sources), "--overlay", str(upper / inside), str(work / inside), at + folder.target]
    return (*args, *_rest(root, at))


def _folders(root: HostRoot, at: str = "") -> list[str]:
    """Make the folders that are not mounted; first, as those that bubblewrap makes on its own are private."""
    return [part for path in root.empty for part in ("--perms", "755", "--dir", at + path)]


def _rest(root: HostRoot, at: str = "") -> Args:
    args: list[str] = []
    for source, path in root.files:
        args += ["--ro-bind", str(source), at + path]
    for path, text in root.links:
        args += ["--symlink", text, at + path]
    for path in root.masks:
        args += ["--ro-bind", "/dev/null", at + path]
    return tuple(args)


def _sources(layers: Sequence[Path]) -> Args:
    """Name the layers of the overlay that follows.

    Raises  Unsupported if their paths are longer than the kernel takes; it would only say "no such file".
    """
    length = sum(len(str(one)) + PREFIX for one in layers)
    if length > PAGE - RESERVE:
        raise Unsupported(
            f"{len(layers)} layers with paths of {length} bytes are more than one overlay can have ({PAGE - RESERVE})",
            hint="use fewer build steps and copies, or a state folder with a shorter path",
        )
    return tuple(part for one in layers for part in ("--overlay-src", str(one)))
