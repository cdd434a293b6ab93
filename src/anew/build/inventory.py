"""What is installed in an image: packages of the distribution, of Python and of Node.js, read from its files.

A package of Python or Node.js that a package of the distribution brought is listed once, as the latter's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.parser import HeaderParser

from anew.build.listing import Node
from anew.build.owners import is_installed
from anew.build.packages import Package
from anew.build.stack import Stack
from anew.model import Digest
from anew.trust.installed import Distribution, Installed

_STATUS = re.compile(r"var/lib/dpkg/status(\.d/[^/]+)?")
_LISTS = re.compile(r"var/lib/dpkg/info/[^/]+\.list")
_PYTHON = re.compile(r"(?:.*/)?[^/]+(?:\.dist-info/METADATA|\.egg-info/PKG-INFO|\.egg-info)")
_NODE = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/@]+/package\.json")
_RELEASE = ("etc/os-release", "usr/lib/os-release")
_LINE = re.compile(r"""([A-Z_]+)=(["']?)(.*)\2""")


def distribution(files: Stack) -> Distribution:
    """Return which distribution an image is made of; its parts are "" if it doesn't say."""
    said: dict[str, str] = {}
    for path in reversed(_RELEASE):
        for line in files.content(path).decode(errors="replace").splitlines():
            found = _LINE.fullmatch(line.strip())
            if found is not None:
                said[found[1]] = found[3]
    return Distribution(said.get("ID", ""), said.get("VERSION_ID", ""))


def installed(files: Stack, packages: Sequence[Package] = ()) -> tuple[Installed, ...]:
    """Return all that is installed in an image, sorted; `packages` are the files that its head was made of."""
    tree = files.tree()
    known = {(one.name, one.version, one.architecture): one.digest for one in packages}
    owned = set(_owned(files, tree))
    found = set(_debian(files, tree, known))
    found.update(_python(files, tree, owned))
    found.update(_node(files, tree, owned))
    return tuple(sorted(found))


def _matching(tree: Mapping[str, Node], pattern: re.Pattern[str]) -> Iterator[str]:
    return (path for path, node in tree.items() if node.kind == "file" and pattern.fullmatch(path))


def _owned(files: Stack, tree: Mapping[str, Node]) -> Iterator[str]:
    """Yield what packages of the distribution brought that tells of a package of another kind."""
    for path in _matching(tree, _LISTS):
        for line in files.content(path).decode(errors="replace").splitlines():
            if line.endswith(("METADATA", "PKG-INFO", ".egg-info", "package.json")):
                yield line.removeprefix("/")


def _debian(
    files: Stack, tree: Mapping[str, Node], known: Mapping[tuple[str, str, str], Digest]
) -> Iterator[Installed]:
    for path in _matching(tree, _STATUS):
        for paragraph in re.split(rb"\n\s*\n", files.content(path)):
            said = _fields(paragraph)
            name, version = said.get("package", ""), said.get("version", "")
            if _is_package(name, version) and is_installed(said.get("status", "install ok installed")):
                architecture = said.get("architecture", "")
                digest = known.get((name, version, architecture), "")
                yield Installed("deb", name, version, architecture, digest=digest, supplier=said.get("maintainer", ""))


def _python(files: Stack, tree: Mapping[str, Node], owned: Iterable[str]) -> Iterator[Installed]:
    for path in set(_matching(tree, _PYTHON)).difference(owned):
        said = _fields(files.content(path))
        name, version = said.get("name", ""), said.get("version", "")
        if _is_package(name, version):
            name = re.sub(r"[-_.]+", "-", name).lower()  # as PyPI compares names (PEP 503)
            yield Installed("pypi", name, version, path=path, license=said.get("license-expression", ""))


def _node(files: Stack, tree: Mapping[str, Node], owned: Iterable[str]) -> Iterator[Installed]:
    for path in set(_matching(tree, _NODE)).difference(owned):
        try:
            said = json.loads(files.content(path))
            name, version = said["name"], said["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # not every such file is one of npm's
        if isinstance(name, str) and isinstance(version, str) and _is_package(name, version):
            license_ = said.get("license", "")
            known = license_ if isinstance(license_, str) and _is_text(license_) else ""
            yield Installed("npm", name, version, path=path, license=known)


def _is_package(name: str, version: str) -> bool:
    """Say whether these can be of a package: a name has something after its scope, and both can be written down."""
    return bool(name.rpartition("/")[2].strip() and version) and _is_text(name) and _is_text(version)


def _is_text(said: str) -> bool:
    """Say whether a text is one: JSON can also hold halves of characters."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fields(text: bytes) -> dict[str, str]:
    read = HeaderParser().parsestr(text.lstrip(b"\n").decode(errors="replace"), headersonly=True)
    return {name.lower(): str(value).strip() for name, value in reversed(read.items())}
