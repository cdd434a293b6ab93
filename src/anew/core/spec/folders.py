"""The folders of one service: no two that can be written to overlap where one is a volume, and none covers secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from anew.core.spec.tree import Path, Tree, items, mapping, shortened
from anew.errors import Complaint

RUN_TOO, SECRETS_TOO = "/var/run", "/var/run/secrets"  # in most systems; of /run itself the shapes complain


@dataclass(frozen=True, slots=True)
class _Folder:
    where: Path
    path: str
    volume: str  # its name; "" if it is one of `writable`

    def __str__(self) -> str:
        noun = f"the volume `{shortened(self.volume)}`" if self.volume else "one of `writable`"
        return f"`{shortened(self.path)}`, which is {noun}"


def check(tree: Tree, path: Path, service: Mapping[str, object]) -> Iterator[Complaint]:
    """Yield a complaint for every volume that is in, at or around another volume or a writable folder."""
    first: dict[str, _Folder] = {}
    for folder in _folders(path, service):
        other = first.setdefault(folder.path, folder)
        if other is not folder and (folder.volume or other.volume):
            what = f"here is already {other}"
            yield tree.complaint(folder.where, what, _advice(folder, other))
    around: list[_Folder] = []  # those that the folder in hand lies in, outermost first
    for folder in sorted(first.values(), key=lambda one: f"{one.path}/"):
        while around and not folder.path.startswith(f"{around[-1].path}/"):
            around.pop()
        outer = next((one for one in reversed(around) if one.volume or folder.volume), None)
        if outer is not None:
            what = f"`{shortened(folder.path)}` lies inside {outer}"
            yield tree.complaint(folder.where, what, _advice(folder, outer))
        around.append(folder)


def beside_secrets(tree: Tree, path: Path, service: Mapping[str, object]) -> Iterator[Complaint]:
    """Yield a complaint for whatever would lie where the secrets of the service do, by way of the other name of /run.

    What is writable may lie around them; a volume may not, for the mount point would be made in it, on the disk.
    """
    if not items(service.get("secrets")):
        return
    for source, target in mapping(service.get("copy")).items():
        if isinstance(target, str) and _is_in(target, SECRETS_TOO):
            yield _covered(tree, (*path, "copy", source), target)
    for folder in _folders(path, service):
        if _is_in(folder.path, SECRETS_TOO) or (folder.volume and folder.path == RUN_TOO):
            yield _covered(tree, folder.where, folder.path)


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _covered(tree: Tree, where: Path, path: str) -> Complaint:
    what = f"`{shortened(path)}` is where the secrets of this service are: {RUN_TOO} is another name of /run"
    return tree.complaint(where, what, "choose another folder, such as `/srv/keys`")


def _advice(folder: _Folder, other: _Folder) -> str:
    if folder.volume and other.volume:
        return "give each volume a folder of its own"
    return "remove it from `writable`, or give each a folder of its own: a volume can be written to anyway"


def _is_folder(path: str) -> bool:
    return path.startswith("/") and path.strip("/") != ""


def _folders(path: Path, service: Mapping[str, object]) -> Iterator[_Folder]:
    for i, folder in enumerate(items(service.get("writable"))):
        if isinstance(folder, str) and _is_folder(folder):
            yield _Folder((*path, "writable", i), folder.rstrip("/"), "")
    for name, volume in mapping(service.get("volumes")).items():
        where: Path = (*path, "volumes", name)
        folder = volume
        if isinstance(volume, dict):
            where, folder = (*where, "path"), volume.get("path")
        if isinstance(folder, str) and _is_folder(folder):
            yield _Folder(where, folder.rstrip("/"), name)
