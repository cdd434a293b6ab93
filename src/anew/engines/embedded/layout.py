"""From an order to what its instance sees: layers are found, mount points made, links resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anew.engines.embedded import revealed
from anew.engines.embedded.argv import Layout
from anew.engines.embedded.volumes import volumes_of
from anew.errors import NotFound, SpecError
from anew.model import Digest, Order, Volume
from anew.sandbox import fit, host, mounts, view
from anew.sandbox.mounts import Args

OWN = ("/proc", "/dev", "/tmp")  # noqa: S108 - paths inside; every instance has its own of these
NET = ("/etc/resolv.conf", "/etc/hosts")  # of the host: instances share its network


Rooted = Callable[[Sequence[Path]], Args]  # layers, lowest first, to the arguments that mount them as the root


def lay_out(order: Order, home: Path, tree: Callable[[Digest], Path], rooted: Rooted | None = None) -> Layout:
    """Return what the instance of `order` will see; its volumes need not be there yet.

    Its root is read-only unless `rooted` mounts another one.

    Raises  NotFound if a layer is missing; SpecError if a path can't be mounted at, or a volume is in or around what
            is mounted besides; Unsupported if there are too many layers.
    """
    layers = [_layer(digest, tree) for digest in order.image.layers]
    if not layers and not order.image.is_host:
        raise NotFound(f"the image {order.image.digest} has no layers", hint="build it again: anew build")
    shown = host.roots(layers) if order.image.is_host else tuple(layers)
    stacks = _Stacks(shown, tuple(layers), order.image.is_host)
    folders = [_mount_point(path, stacks) for path in sorted(set(order.writable))]
    volumes = [_of_volume(one, stacks) for one in order.volumes]
    secrets = [_mount_point(revealed.FOLDER, stacks)] if order.secrets else []
    _require_apart(secrets, volumes, folders)
    layers += _fittings([*secrets, *volumes, *folders], stacks, home)
    sources = [str(volumes_of(home).place(order.scope, order.service, one.name)) for one in order.volumes]
    root = rooted(layers) if rooted else _read_only(layers, home, is_host=order.image.is_host)
    return Layout(
        root=root,
        is_composed=order.image.is_host and rooted is None,
        writable=_outer_first(folders),
        binds=tuple((path, path) for path in NET if _has_folder(shown, path)),
        environment=order.environment,
        command=order.command,
        secrets="".join(secrets),
        volumes=tuple(zip(sources, volumes, strict=True)),
    )


def _read_only(layers: Sequence[Path], home: Path, *, is_host: bool) -> Args:
    return mounts.read_only_host(host.compose(layers, [home])) if is_host else mounts.read_only_root(layers)


def _layer(digest: Digest, tree: Callable[[Digest], Path]) -> Path:
    path = tree(digest)
    if not path.is_dir():
        raise NotFound(f"the layer {digest} is not unpacked", where=str(path), hint="build the image again: anew build")
    return path


@dataclass(frozen=True, slots=True)
class _Stacks:
    """What an image shows: the machine's own root hides some folders, and has others of its own."""

    shown: tuple[Path, ...]
    layers: tuple[Path, ...]
    is_host: bool

    @property
    def own(self) -> tuple[str, ...]:
        return (*OWN, *host.OWN) if self.is_host else OWN

    def is_hidden(self, path: str) -> bool:
        return self.is_host and _is_below(path, host.HIDDEN)

    def at(self, path: str) -> tuple[Path, ...]:
        if _is_below(path, self.own):
            return ()
        return self.layers if self.is_hidden(path) else self.shown


def _mount_point(path: str, stacks: _Stacks) -> str:
    if not path.startswith("/") or path.rstrip("/") == "" or _is_below(path, ("/proc", "/dev")):
        raise SpecError(f"{path} can't be writable", hint="name an absolute path of a folder, not /, /proc or /dev")
    return fit.mount_point(stacks.at(path), path)


def _of_volume(volume: Volume, stacks: _Stacks) -> str:
    try:
        return _mount_point(volume.path, stacks)
    except SpecError as cause:
        hint = "choose the path of a folder in the image, or of nothing; not /, /proc or /dev"
        raise SpecError(f"the volume {volume.name} has no place: {cause.what}", hint=hint) from cause


def _require_apart(secrets: Sequence[str], volumes: Sequence[str], writable: Sequence[str]) -> None:
    """Raise SpecError where one would cover another, or would need a mount point in a volume, on the disk.

    A writable folder around that of secrets is well: it comes first, and is a tmpfs.
    """
    wrong = [(one, other) for one in writable for other in secrets if _is_below(one, (other,))]
    for number, one in enumerate(volumes):
        others = (*secrets, *writable, *volumes[:number])
        wrong += [(one, other) for other in others if _is_below(one, (other,)) or _is_below(other, (one,))]
    for one, other in wrong:
        raise SpecError(f"{one} overlaps {other}", hint="give each volume and writable folder a place of its own")


def _fittings(wanted: Sequence[str], stacks: _Stacks, home: Path) -> Iterator[Path]:
    """Yield the layer with the mount points that the image lacks, if it lacks any: the image is never written to."""
    missing = [path for path in wanted if not _is_below(path, stacks.own)]
    hidden = [path for path in missing if stacks.is_hidden(path)]
    open_ones = [path for path in missing if path not in hidden]
    points = OWN if not stacks.is_host else ()
    pieces = {
        **{one.path: one for one in fit.pieces(stacks.layers, hidden, ())},
        **{one.path: one for one in fit.pieces(stacks.shown, (*points, *open_ones), NET)},
    }
    if pieces:
        yield fit.layer(tuple(pieces[path] for path in sorted(pieces)), home / "fittings")


def _outer_first(folders: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(folders, key=lambda path: (path.count("/"), path)))


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def _has_folder(shown: tuple[Path, ...], path: str) -> bool:
    found = view.entry(shown, str(PurePosixPath(path).parent))
    return found is not None and found.kind == "folder"
