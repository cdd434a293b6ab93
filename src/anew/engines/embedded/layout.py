"""From an order to what its instance sees: layers are found, mount points made, links resolved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from anew.engines.embedded.argv import Layout
from anew.errors import NotFound, SpecError
from anew.model import Digest, Order
from anew.sandbox import fit, host, mounts, view

OWN = ("/proc", "/dev", "/tmp")  # noqa: S108 - paths inside; every instance has its own of these
NET = ("/etc/resolv.conf", "/etc/hosts")  # of the host: instances share its network


def lay_out(order: Order, home: Path, tree: Callable[[Digest], Path]) -> Layout:
    """Return what the instance of `order` will see.

    Raises  NotFound if a layer is missing; SpecError if a writable path can't be one; Unsupported if there are too
            many layers.
    """
    layers = [_layer(digest, tree) for digest in order.image.layers]
    if not layers and not order.image.is_host:
        raise NotFound(f"the image {order.image.digest} has no layers", hint="build it again: anew build")
    shown = host.roots(layers) if order.image.is_host else tuple(layers)
    folders = [_writable(path, shown, layers, is_host=order.image.is_host) for path in sorted(set(order.writable))]
    own = (*OWN, *host.OWN) if order.image.is_host else OWN
    wanted = [path for path in folders if not _is_below(path, own)]
    hidden = [path for path in wanted if order.image.is_host and _is_below(path, host.HIDDEN)]
    open_ones = [path for path in wanted if path not in hidden]
    points = OWN if not order.image.is_host else ()
    pieces = {
        **{one.path: one for one in fit.pieces(layers, hidden, ())},
        **{one.path: one for one in fit.pieces(shown, (*points, *open_ones), NET)},
    }
    if pieces:
        layers.append(fit.layer(tuple(pieces[path] for path in sorted(pieces)), home / "fittings"))
    return Layout(
        root=mounts.read_only_host(host.compose(layers, [home]))
        if order.image.is_host
        else mounts.read_only_root(layers),
        is_composed=order.image.is_host,
        writable=tuple(sorted(folders, key=lambda path: (path.count("/"), path))),  # outer ones first
        binds=tuple((path, path) for path in NET if _has_folder(shown, path)),
        environment=order.environment,
        command=order.command,
    )


def _layer(digest: Digest, tree: Callable[[Digest], Path]) -> Path:
    path = tree(digest)
    if not path.is_dir():
        raise NotFound(f"the layer {digest} is not unpacked", where=str(path), hint="build the image again: anew build")
    return path


def _writable(path: str, shown: tuple[Path, ...], layers: list[Path], *, is_host: bool) -> str:
    if not path.startswith("/") or path.rstrip("/") == "" or _is_below(path, ("/proc", "/dev")):
        raise SpecError(f"{path} can't be writable", hint="name an absolute path of a folder, not /, /proc or /dev")
    return fit.mount_point(tuple(layers) if is_host and _is_below(path, host.HIDDEN) else shown, path)


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def _has_folder(shown: tuple[Path, ...], path: str) -> bool:
    found = view.entry(shown, str(PurePosixPath(path).parent))
    return found is not None and found.kind == "folder"
