"""Which package of the distribution each file of an image belongs to: as dpkg itself wrote it down in the image."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anew.build.listing import Node
from anew.model import Digest

_INFO = "var/lib/dpkg/info/"
_STATUS = "var/lib/dpkg/status"
_COMPILED = re.compile(r"(.*/)?__pycache__/([^/]+?)\.cpython-\d+(?:\.opt-\d)?\.pyc")


@dataclass(frozen=True, slots=True)
class Owners:
    """The packages of an image: whose each path is, and the version of each."""

    by_path: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def of(self, path: str) -> str:
        """Return the package that a path belongs to, or was made for; "" if it is no package's."""
        if path.startswith(_INFO):
            return posixpath.basename(path).rpartition(".")[0].partition(":")[0]
        compiled = _COMPILED.fullmatch(path)
        source = f"{compiled[1] or ''}{compiled[2]}.py" if compiled else path
        return self.by_path.get(path, "") or self.by_path.get(source, "")


def owners(
    layers: Sequence[Digest],
    nodes: Mapping[str, Node],
    layer: Mapping[str, int],
    tree: Callable[[Digest], Path],
) -> Owners:
    """Return the owners of the files of an image, whose unpacked layers `tree` gives; none without dpkg's records.

    `layer` tells which layer each path of `nodes` comes from.
    """

    def text(path: str) -> str:
        if nodes[path].kind != "file":
            return ""
        try:
            return _content(tree(layers[layer[path]]) / path).decode(errors="backslashreplace")
        except OSError:  # an ordinary user may not read all that is unpacked
            return ""

    if _STATUS not in nodes:
        return Owners()
    moved = {
        name: node.content.strip("/")
        for name, node in nodes.items()
        if "/" not in name and node.kind == "symlink" and node.content.strip("/").startswith("usr/")
    }
    by_path: dict[str, str] = {}
    shared: set[str] = set()
    for path in nodes:
        if path.startswith(_INFO) and path.endswith(".list"):
            package = path.removeprefix(_INFO).removesuffix(".list").partition(":")[0]
            for line in text(path).splitlines():
                listed = _merged(line.strip("/"), moved)
                if by_path.setdefault(listed, package) != package:
                    shared.add(listed)
    # A folder in which several packages have something belongs to none of them.
    by_path = {path: package for path, package in by_path.items() if path not in shared}
    return Owners(by_path, _versions(text(_STATUS)))


def is_installed(status: str) -> bool:
    """Say whether what dpkg calls the status of a package means that it is installed, and not half of it.

    >>> is_installed("install ok installed"), is_installed("install reinstreq half-installed")
    (True, False)
    """
    return status.endswith(" installed")


def _content(path: Path) -> bytes:
    """Return the content of a regular file, and nothing of what has been put in its place."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def _merged(path: str, moved: Mapping[str, str]) -> str:
    """Return where a path really lies: packages still say /lib where that is a link to /usr/lib."""
    top, slash, rest = path.partition("/")
    return f"{moved[top]}/{rest}" if slash and top in moved else path


def _versions(status: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for stanza in status.split("\n\n"):
        said = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line[:1].isspace())
        if is_installed(said.get("Status", "")) and "Package" in said:
            found[said["Package"]] = said.get("Version", "")
    return found
