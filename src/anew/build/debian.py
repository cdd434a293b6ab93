"""A head made from a Debian suite by mmdebstrap: the same packages give the same layer, on any machine.

mmdebstrap is deterministic under a source epoch, in every mode; what it copies from the machine (its names, its
sources of packages) and what is volatile is left out when its archive is read, and a fixed `/etc/hosts` and an
empty `/etc/resolv.conf` are put in, over which instances get the machine's own.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anew.build import apt
from anew.build.archive import members
from anew.build.drafts import scratch, sweep
from anew.build.entries import Entry, chunks
from anew.build.epoch import EPOCH, PATH
from anew.build.hygiene import clean
from anew.build.programs import Ended, streamed
from anew.errors import AnewError, EngineError, SpecError, Unsupported
from anew.model import DebianHead
from anew.ports import Say

_FAST = Path("/dev/shm")  # noqa: S108 - a third faster than a disk; folders in it are private
SHARED = "anew-"  # begins the names of our folders in a place that is not ours alone
_ROOM = 3 << 30  # bytes: a generous head while it is being made
_STATUS = b"var/lib/dpkg/status"
_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_NO_PACKAGE = re.compile(
    r"E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate"
    r"|Couldn't find any package by (?:glob|regex) '([^']+)'|Version '[^']*' for '([^']+)' was not found)"
)
_NO_SUITE = re.compile(r"does not have a Release file|E: cannot determine mirror|unknown suite")
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Made:
    """A head under way: its entries, whose contents still lie in the archive, and its packages (``name=version``)."""

    entries: tuple[Entry, ...]
    packages: tuple[str, ...]


@contextmanager
def made(head: DebianHead, work: Path, say: Say) -> Iterator[Made]:
    """Make the head from today's packages; what is yielded is valid inside the block.

    Raises  Unsupported without mmdebstrap, or as a user without subordinate uids; SpecError for an unknown suite or
            package; EngineError with mmdebstrap's last lines for everything else.
    """
    mode = _mode(head)
    place = _place(work)
    sweep(place, SHARED)
    with scratch(place, SHARED) as fast, scratch(work) as folder:
        archive = folder / "head.tar"
        if os.geteuid() != 0:
            fast.chmod(0o755)  # the subordinate uids work in it
        argv = _argv(head, mode, archive)
        environment = {"PATH": os.environ.get("PATH", PATH), "TMPDIR": str(fast), "SOURCE_DATE_EPOCH": str(EPOCH)}
        environment |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
        environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        say(f"making head {head.name}: Debian {head.suite}, {len(head.packages)} named packages")
        ended = streamed(argv, environment, say)
        if ended.code != 0:
            raise _failure(head, argv, ended)
        entries = members(archive, f"anew.yaml os.{head.name}")
        yield Made(_finished(entries), _packages(entries))


def _mode(head: DebianHead) -> str:
    if shutil.which("mmdebstrap") is None:
        raise Unsupported(
            "mmdebstrap is not installed, and heads of Debian packages are made with it",
            where=f"anew.yaml os.{head.name}.debian",
            hint="apt-get install mmdebstrap; `os: {base: {host: true}}` or a tar archive work without it",
        )
    if os.geteuid() == 0:
        return "root"
    require_subordinate_uids(f"anew.yaml os.{head.name}.debian")
    return "unshare"


def require_subordinate_uids(where: str) -> None:
    """Raise Unsupported unless this ordinary user has subordinate uids and the programs to use them."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user that only has a number
        user = str(os.geteuid())
    keys = (f"{user}:", f"{os.geteuid()}:")
    for file in ("/etc/subuid", "/etc/subgid"):
        path = Path(file)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if not any(line.startswith(keys) for line in lines):
            raise Unsupported(
                f"{user} has no subordinate ids in {file}, so the files of an image can't get their owners",
                where=where,
                hint=f"run as root, or: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
    if shutil.which("newuidmap") is None:
        raise Unsupported("newuidmap is not installed", where=where, hint="apt-get install uidmap, or run as root")


def _place(work: Path) -> Path:
    """Return the folder to make the head in: memory if there is room and programs may run there."""
    try:
        room = os.statvfs(_FAST)
    except FileNotFoundError:
        return work
    is_fit = not room.f_flag & (os.ST_NOEXEC | os.ST_NODEV | os.ST_NOSUID) and os.access(_FAST, os.W_OK)
    return _FAST if is_fit and room.f_bavail * room.f_frsize > _ROOM else work


def _argv(head: DebianHead, mode: str, archive: Path) -> list[str]:
    return [
        "mmdebstrap",
        f"--mode={mode}",
        "--variant=minbase",
        "--format=tar",
        *(f"--include={name}" for name in head.packages),
        *(f"--aptopt={option}" for option in apt.proxy_options()),
        # An index that can't be had must fail the build, not thin it out.
        '--aptopt=APT::Update::Error-Mode "any"',
        head.suite,
        str(archive),
        *apt.source_lines(head.suite),
    ]


def _failure(head: DebianHead, argv: list[str], ended: Ended) -> AnewError:
    facts = {"command": shlex.join(argv), "exit": str(ended.code), "output": ended.output}
    missing = [next(filter(None, found)) for found in _NO_PACKAGE.findall(ended.output)]
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        return SpecError(
            f"Debian {head.suite} has no package {names}",
            where=f"anew.yaml os.{head.name}.packages",
            hint=f"correct the name; `apt-cache search {missing[0]}` lists what there is",
            facts=facts,
        )
    if _NO_SUITE.search(ended.output):
        return SpecError(
            f"there is no Debian suite {head.suite} where packages come from",
            where=f"anew.yaml os.{head.name}.debian",
            hint="write a release's code name, like bookworm",
            facts=facts,
        )
    return EngineError(
        f"making the head {head.name} failed: mmdebstrap ended with exit code {ended.code}",
        where=f"anew.yaml os.{head.name}",
        hint="see its last lines; can this machine reach the sources of its packages?",
        facts=facts,
    )


def _finished(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    cleaned = clean(entries, is_head=True)
    there = {e.path for e in cleaned}
    added = [Entry(path=b"etc/resolv.conf", kind="file", content=b"")]
    if b"etc/hosts" not in there:
        added.append(Entry(path=b"etc/hosts", kind="file", size=len(_HOSTS), content=_HOSTS))
    return (*cleaned, *added)


def _packages(entries: tuple[Entry, ...]) -> tuple[str, ...]:
    status = next((b"".join(chunks(e)) for e in entries if e.path == _STATUS), b"")
    found = []
    for stanza in status.decode(errors="replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line[0].isspace())
        if "Package" in fields:
            found.append(f"{fields['Package']}={fields.get('Version', '')}")
    return tuple(sorted(found))
