"""The packages of a distribution that a head consists of: named by content, kept in the image store, handed out again.

A head is always made from packages that lie here, also the first time: so making it again needs no network, and what
an archive has by then does not matter.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from anew.build.blobs import Blobs
from anew.build.epoch import EPOCH
from anew.core.digest import PREFIX
from anew.errors import Conflict, EngineError
from anew.model import Bytes, Digest

# Names and versions as dpkg takes them, and no more: they become words of apt's command line, and names of files.
_LINE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9+.-]*) ([0-9A-Za-z][0-9A-Za-z.+:~-]*) ([a-z0-9][a-z0-9-]*) (sha256:[0-9a-f]{64}) ([0-9]+)"
)


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package file; one line of the lock."""

    name: str
    version: str
    architecture: str
    digest: Digest
    size: Bytes

    @property
    def text(self) -> str:
        """The package in one line; `parsed` makes the same of it."""
        return f"{self.name} {self.version} {self.architecture} {self.digest} {self.size}"

    @property
    def file_name(self) -> str:
        """What apt calls the file."""
        return f"{self.name}_{quote(self.version, safe='+~').replace('%3A', '%3a')}_{self.architecture}.deb"


def parsed(text: str) -> Package:
    """Return the package of a line of the lock.

    >>> parsed(f"curl 7.88.1-10 amd64 sha256:{64 * 'a'} 315000").version
    '7.88.1-10'

    Raises  ValueError if it is no such line.
    """
    found = _LINE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no package: NAME VERSION ARCHITECTURE DIGEST SIZE")
    return Package(found[1], found[2], found[3], found[4], int(found[5]))


def of_file(name: str, digest: Digest, size: Bytes) -> Package:
    """Return the package whose file apt calls `name`.

    >>> of_file("bash_1%3a5.2-1_amd64.deb", f"sha256:{64 * 'a'}", 3).version
    '1:5.2-1'

    Raises  ValueError if that is no name of one.
    """
    package, version, architecture = unquote(name.removesuffix(".deb")).split("_")
    return parsed(Package(package, version, architecture, digest, size).text)


def keep(package: Package, path: Path, blobs: Blobs) -> None:
    """Keep the file of a package in the store.

    Raises  Conflict if it is another one.
    """
    with path.open("rb") as file:
        actual = PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
    if actual != package.digest:
        raise Conflict(
            f"the package {package.name} {package.version} is not the one that is locked",
            where=path.name,
            hint="find out who changed it; `anew lock --update` accepts what there is now",
            facts={"locked": package.digest, "now": actual},
        )
    blobs.add_file(path)


def repository(packages: Sequence[Package], blobs: Blobs, suite: str, folder: Path) -> str:
    """Make a folder from which apt installs exactly `packages`; return its line for apt's sources.

    Raises  NotFound if a file is missing in the store; Conflict if one is not what its name says.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only what makes a head needs these
    from email.utils import formatdate  # noqa: PLC0415

    pool = folder / "pool"
    pool.mkdir()
    pool.chmod(0o755)  # whatever the umask is: apt reads it as another user
    for package in packages:
        kept_at = blobs.verify(package.digest)
        there = pool / package.file_name
        shutil.copyfile(kept_at, there)  # a link would change what is known of the blob
    with ThreadPoolExecutor(os.cpu_count()) as several:
        stanzas = several.map(_stanza, (pool / one.file_name for one in packages))
        index = [
            f"{stanza}\nFilename: ./{one.file_name}\nSize: {one.size}\nSHA256: {one.digest.removeprefix(PREFIX)}\n"
            for one, stanza in zip(packages, stanzas, strict=True)
        ]
    text = "\n".join(index).encode()
    (pool / "Packages").write_bytes(text)
    architectures = sorted({one.architecture for one in packages} - {"all"})
    release = (
        f"Origin: anew\nSuite: {suite}\nCodename: {suite}\nArchitectures: {' '.join(architectures)}\n"
        f"Date: {formatdate(EPOCH, usegmt=True)}\n"
        f"SHA256:\n {hashlib.sha256(text).hexdigest()} {len(text)} Packages\n"
    )
    (pool / "Release").write_text(release, encoding="utf-8")
    for one in pool.iterdir():
        one.chmod(0o644)
    return f"deb [trusted=yes] copy:{pool} ./"  # trusted for their digests, which the lock names


@dataclass(frozen=True, slots=True)
class Move:
    """A package whose version differs; "" for none."""

    name: str
    before: str
    after: str

    @property
    def text(self) -> str:
        """What moved, for people."""
        return f"{self.name} {self.before or '(none)'} → {self.after or '(none)'}"


def moved(before: Iterable[Package], after: Iterable[Package]) -> tuple[Move, ...]:
    """Return what differs between two lists of packages, by name."""
    old, new = ({one.name: one.version for one in ones} for ones in (before, after))
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return tuple(Move(name, old.get(name, ""), new.get(name, "")) for name in names)


def _stanza(path: Path) -> str:
    argv = ["dpkg-deb", "--field", str(path)]
    import subprocess  # noqa: PLC0415 - likewise

    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        facts = {"command": shlex.join(argv), "output": done.stderr}
        raise EngineError(f"{path.name} is no package", where=str(path), facts=facts)
    return done.stdout.strip("\n")
