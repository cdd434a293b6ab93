"""A head made by mmdebstrap of packages in the store: the same packages give the same layer, on any machine.

mmdebstrap is deterministic under a source epoch, in every mode; what it copies from the machine (its names, its
sources of packages) and what is volatile is left out when its archive is read, and a fixed `/etc/hosts` and an
empty `/etc/resolv.conf` are put in, over which instances get the machine's own.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anew.build.archive import members
from anew.build.blobs import Blobs
from anew.build.drafts import scratch, sweep
from anew.build.entries import Entry
from anew.build.epoch import EPOCH, PATH
from anew.build.hygiene import clean
from anew.build.packages import Package, repository
from anew.build.programs import dying_whole, streamed
from anew.errors import EngineError, Unsupported
from anew.model import DebianHead
from anew.ports import Say

_FAST = Path("/dev/shm")  # noqa: S108 - a third faster than a disk; folders in it are private
SHARED = "anew-"  # begins the names of our folders in a place that is not ours alone
_ROOM = 3 << 30  # bytes: a generous head while it is being made
_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


@contextmanager
def made(
    head: DebianHead, packages: Sequence[Package], blobs: Blobs, work: Path, say: Say
) -> Iterator[tuple[Entry, ...]]:
    """Make the head from packages in the store; the entries, whose contents lie in an archive, are valid inside.

    Raises  Unsupported without mmdebstrap, or as a user without subordinate uids; NotFound or Conflict if a package
            is not in the store as it should be; EngineError with mmdebstrap's last lines for everything else.
    """
    mode = mode_of(head)
    fastest = _place(work)
    sweep(fastest, SHARED)
    with scratch(fastest, SHARED) as fast:
        archive = fast / "head.tar"
        if os.geteuid() != 0:
            fast.chmod(0o755)  # the subordinate uids work in it
        source = repository(packages, blobs, head.suite, fast)
        argv = _argv(head, mode, archive, source)
        environment = {"PATH": os.environ.get("PATH", PATH), "TMPDIR": str(fast), "SOURCE_DATE_EPOCH": str(EPOCH)}
        environment |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
        say(f"making head {head.name} of {len(packages)} packages")
        ended = streamed(dying_whole(argv), environment, say)
        if ended.code != 0:
            raise EngineError(
                f"making the head {head.name} failed: mmdebstrap ended with exit code {ended.code}",
                where=f"anew.yaml os.{head.name}",
                hint="see its last lines",
                facts={"command": shlex.join(argv), "exit": str(ended.code), "output": ended.output},
            )
        yield _finished(members(archive, f"anew.yaml os.{head.name}"))


def mode_of(head: DebianHead) -> str:
    """Return how mmdebstrap has to be run. Raises Unsupported where it can't be."""
    if shutil.which("mmdebstrap") is None:
        raise Unsupported(
            "mmdebstrap is not installed, and heads of Debian packages are made with it",
            where=f"anew.yaml os.{head.name}.{head.distribution}",
            hint="apt-get install mmdebstrap; `os: {base: {host: true}}` or a tar archive work without it",
        )
    if os.geteuid() == 0:
        return "root"
    require_subordinate_uids(f"anew.yaml os.{head.name}.{head.distribution}")
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


def _argv(head: DebianHead, mode: str, archive: Path, source: str) -> list[str]:
    return [
        "mmdebstrap",
        f"--mode={mode}",
        "--variant=minbase",
        "--format=tar",
        *(f"--include={name}" for name in ("apt", *head.packages)),  # which mmdebstrap adds only from what it knows
        head.suite,
        str(archive),
        source,
    ]


def _finished(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    cleaned = clean(entries, is_head=True)
    there = {e.path for e in cleaned}
    added = [Entry(path=b"etc/resolv.conf", kind="file", content=b"")]
    if b"etc/hosts" not in there:
        added.append(Entry(path=b"etc/hosts", kind="file", size=len(_HOSTS), content=_HOSTS))
    return (*cleaned, *added)
